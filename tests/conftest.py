"""One embedded stack per test run; one fresh database, made from a migrated template, per test that asks for it."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.orm import Session

from tests.other_servers import OtherServers, Programs
from tests.waiting import wait_until
from zea import config, db
from zea.stack import schema
from zea.stack.servers import EmbeddedServers

TEMPLATE = "zea_template"
# What somebody keeps here for the containers is not for the tests.
config.Settings.model_config["env_file"] = None
numbers = count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Other servers for the tests that bring none of their own: `make test-matrix` says which."""
    for name, what in (
        ("postgresql", "the directory of another PostgreSQL's programs"),
        ("broker", "another broker's program"),
        ("pgbouncer", "a pooler's program, through which the database is reached"),
    ):
        parser.addoption(f"--other-{name}", type=Path, metavar="PATH", help=what)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[EmbeddedServers]:
    directory = tmp_path_factory.mktemp("servers")
    other = Programs(*(pytestconfig.getoption(f"--other-{name}") for name in Programs._fields))
    with OtherServers(directory, other) if any(other) else EmbeddedServers(directory) as running:
        yield running


@pytest.fixture
def unpooled(servers: EmbeddedServers) -> None:
    """For what is true of connections to PostgreSQL itself; of those to a pooler, see test_through_a_pooler.py."""
    if isinstance(servers, OtherServers) and servers.pgbouncer:
        pytest.skip("it is about PostgreSQL's own connections")


def _use(environment: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        environment.setenv(name, value)
    _forget()


def _forget() -> None:
    """Settings and connections are read and made anew when they are needed."""
    db.close_connections()
    config.settings.cache_clear()


@pytest.fixture(scope="session")
def template(servers: EmbeddedServers) -> str:
    return migrated_template(servers)


def migrated_template(servers: EmbeddedServers) -> str:
    """The name of a database with the schema that the migrations make."""
    with pytest.MonkeyPatch.context() as environment:
        servers.create_database(TEMPLATE)
        # Not through a pooler: a database that it keeps a connection to cannot be copied.
        _use(environment, DATABASE_URL=servers.postgres.url_of(TEMPLATE), REDIS_URL=servers.redis_url)
        schema.upgrade()
    _forget()
    return TEMPLATE


@pytest.fixture
def database(servers: EmbeddedServers, template: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The address of a fresh database; this process's settings and engine use it."""
    name = f"test_{next(numbers)}"
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    url = servers.url_of(name)
    _use(monkeypatch, DATABASE_URL=url, REDIS_URL=servers.redis_url, ZEA_DATA_DIR=str(tmp_path / "zea"))
    yield url
    _forget()
    wait_until(lambda: _dropped(servers, name), timeout=60, what=f"{name} to be dropped")


def _dropped(servers: EmbeddedServers, name: str) -> bool:
    """Not while PostgreSQL itself is at work in it, which only a superuser could end."""
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        try:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectInUse):
            return False
    return True


@pytest.fixture
def handle(database: str) -> Iterator[Session]:
    """A database handle whose transaction is committed at the end of the test."""
    with db.transaction() as open_handle:
        yield open_handle
