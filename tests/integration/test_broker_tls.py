"""A broker behind TLS: its certificate is checked by whoever talks to it, unless its address says otherwise."""

from collections.abc import Callable, Iterator
from pathlib import Path
from runpy import run_path
from urllib.parse import urlsplit

import pytest
import redis
from kombu import Connection
from kombu.exceptions import OperationalError

from tests.tls_proxy import TlsDoor, tls_in_front_of
from workflows.engine import dispatch
from zea import config
from zea.api import limits
from zea.errors import ConfigurationError
from zea.stack.servers import EmbeddedServers

CELERYCONFIG = Path(__file__).parents[2] / "celeryconfig.py"
Ping = Callable[[str], None]


@pytest.fixture(scope="module")
def door(servers: EmbeddedServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsDoor]:
    port = urlsplit(servers.redis_url).port
    assert port is not None
    with tls_in_front_of(port, tmp_path_factory.mktemp("tls")) as door:
        yield door


@pytest.fixture
def address(door: TlsDoor, servers: EmbeddedServers) -> str:
    password = urlsplit(servers.redis_url).password
    return f"rediss://:{password}@127.0.0.1:{door.port}/0"


def by_the_api(_url: str) -> None:
    limits.broker().ping()


def by_a_worker(_url: str) -> None:
    dispatch._redis.cache_clear()
    dispatch._redis().ping()


def by_celery(_url: str) -> None:
    """As whoever reads celeryconfig.py does it."""
    configured = run_path(str(CELERYCONFIG))
    with Connection(configured["broker_url"], ssl=configured["broker_use_ssl"]) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=2)
        with connection.channel() as channel:
            channel.client.ping()


@pytest.fixture(params=[by_the_api, by_a_worker, by_celery], ids=["api", "worker", "celery"])
def ping(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ping]:
    def ask(url: str) -> None:
        monkeypatch.setenv("REDIS_URL", url)
        config.settings.cache_clear()
        request.param(url)

    yield ask
    config.settings.cache_clear()
    dispatch._redis.cache_clear()


def test_a_certificate_that_somebody_known_vouches_for_is_taken(ping: Ping, address: str, door: TlsDoor) -> None:
    ping(f"{address}?ssl_ca_certs={door.authority}")


def test_another_is_not(ping: Ping, address: str) -> None:
    with pytest.raises((redis.ConnectionError, OperationalError), match="CERTIFICATE_VERIFY_FAILED"):
        ping(address)


@pytest.mark.parametrize("said", ["?ssl_cert_reqs=none", "?ssl_cert_reqs=CERT_NONE"])
def test_whoever_says_so_takes_any(ping: Ping, address: str, said: str) -> None:
    ping(address + said)


def test_whoever_cannot_change_the_address_says_so_beside_it(
    ping: Ping, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some hosts sign their own certificates, and set the address themselves."""
    monkeypatch.setenv("ZEA_REDIS_VERIFY", "false")
    ping(address)


def test_an_option_that_means_nothing_is_named(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("REDIS_URL", f"{address}?ssl_min_version=TLSv1_2")
    config.settings.cache_clear()
    try:
        with pytest.raises(ConfigurationError, match=r"REDIS_URL cannot be understood: .*ssl_min_version"):
            config.broker_tls()
    finally:
        config.settings.cache_clear()


def test_a_plain_address_has_no_tls(monkeypatch: pytest.MonkeyPatch, servers: EmbeddedServers) -> None:
    monkeypatch.setenv("REDIS_URL", servers.redis_url)
    config.settings.cache_clear()
    try:
        assert config.broker_tls() is None
    finally:
        config.settings.cache_clear()
