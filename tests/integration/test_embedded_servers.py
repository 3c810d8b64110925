"""The embedded PostgreSQL and Valkey: what they keep over a crash, who may use them, and as which user they run."""

import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import redis

from zea.errors import ConfigurationError, Unreachable
from zea.stack import ordinary_user, postgres
from zea.stack.ports import LOOPBACK
from zea.stack.servers import EmbeddedServers

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    """Servers that these tests may kill."""
    with EmbeddedServers(tmp_path_factory.mktemp("own")) as running:
        yield running


@pytest.fixture
def running(own: EmbeddedServers) -> EmbeddedServers:
    own.start()
    return own


@pytest.fixture
def passable_directory() -> Iterator[Path]:
    """pytest's own directories let no other user through."""
    path = Path(tempfile.mkdtemp(prefix="zea-"))
    yield path
    shutil.rmtree(path)


def execute(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)  # type: ignore[call-overload]  # literals of this file
        return cursor.fetchall() if cursor.description else []


def broker(url: str) -> redis.Redis:
    return redis.Redis.from_url(url)


def test_committed_rows_survive_a_kill(running: EmbeddedServers) -> None:
    execute(running.database_url, "CREATE TABLE kept AS SELECT 1 AS value")
    running.postgres.kill()
    running.postgres.start()
    assert execute(running.database_url, "SELECT value FROM kept") == [(1,)]


def test_a_kill_while_clients_work_is_survived_every_time(running: EmbeddedServers) -> None:
    execute(running.database_url, "CREATE TABLE counted (value int)")
    for value in range(4):
        # Closed without a commit: a server's process may outlive its killed parent for a moment, and would make one.
        with closing(psycopg.connect(running.database_url)) as busy:
            busy.execute("INSERT INTO counted VALUES (%s)", [value])
            busy.commit()
            busy.execute("INSERT INTO counted VALUES (-1)")
            running.postgres.kill()
        running.postgres.start()
    assert execute(running.database_url, "SELECT value FROM counted ORDER BY value") == [(0,), (1,), (2,), (3,)]


def test_queued_messages_survive_a_kill(running: EmbeddedServers) -> None:
    with broker(running.redis_url) as client:
        client.rpush("queue", "message")
    running.valkey.kill()
    running.valkey.start()
    with broker(running.redis_url) as client:
        assert client.lrange("queue", 0, -1) == [b"message"]


def test_a_restart_keeps_the_address(running: EmbeddedServers) -> None:
    before = running.database_url, running.redis_url
    running.postgres.restart()
    running.valkey.restart()
    assert (running.database_url, running.redis_url) == before


def test_the_next_run_finds_data_and_addresses_again(tmp_path: Path) -> None:
    with EmbeddedServers(tmp_path) as first:
        execute(first.database_url, "CREATE TABLE kept AS SELECT 1 AS value")
        addresses = first.database_url, first.redis_url
    with EmbeddedServers(tmp_path) as second:
        assert execute(second.database_url, "SELECT value FROM kept") == [(1,)]
        assert (second.database_url, second.redis_url) == addresses


def test_a_taken_port_is_left_to_its_owner(tmp_path: Path) -> None:
    port = EmbeddedServers(tmp_path).postgres.port
    with socket.create_server((LOOPBACK, port)), EmbeddedServers(tmp_path) as servers:
        assert servers.postgres.port != port
        assert execute(servers.database_url, "SELECT 1") == [(1,)]


@pytest.mark.parametrize("stranger", [os.getpid(), 1, 2**22 - 1], ids=["this one", "init", "nobody"])
def test_a_pid_file_that_names_another_process_is_no_obstacle(running: EmbeddedServers, stranger: int) -> None:
    pid_file = running.postgres.directory / "postmaster.pid"
    lines = pid_file.read_text().split("\n")
    running.postgres.kill()
    pid_file.write_text("\n".join([str(stranger), *lines[1:]]))
    running.postgres.start()
    assert execute(running.database_url, "SELECT 1") == [(1,)]


def test_a_second_server_on_the_same_data_is_refused(running: EmbeddedServers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "LEAVES_WITHIN", 0.1)
    second = EmbeddedServers(running.postgres.directory.parent)
    with pytest.raises(Unreachable, match=rf"Another PostgreSQL \(process {running.postgres.pid}\) runs in"):
        second.postgres.start()
    assert execute(running.database_url, "SELECT 1") == [(1,)]


def test_an_interrupted_first_start_is_no_obstacle(tmp_path: Path) -> None:
    half_made = tmp_path / "postgresql.unfinished"
    half_made.mkdir()
    (half_made / "PG_VERSION").write_text("18")
    with EmbeddedServers(tmp_path) as servers:
        assert execute(servers.database_url, "SELECT 1") == [(1,)]
    assert not half_made.exists()


def test_a_wrong_password_is_refused(running: EmbeddedServers) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        execute(f"postgresql://zea:wrong@{LOOPBACK}:{running.postgres.port}/zea", "SELECT 1")
    with broker(f"redis://:wrong@{LOOPBACK}:{running.valkey.port}/0") as client, pytest.raises(redis.RedisError):
        client.ping()


def test_passwords_are_readable_by_their_owner_alone(running: EmbeddedServers) -> None:
    directory = running.postgres.directory.parent
    holders = [directory / "generated.json", directory / "valkey" / "valkey.conf"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in holders] == [0o600, 0o600]


def test_the_application_is_bound_by_triggers_and_permissions(running: EmbeddedServers) -> None:
    assert execute(running.database_url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == [(False,)]


def test_every_commit_is_on_disk_and_messages_are_never_evicted(running: EmbeddedServers) -> None:
    assert execute(running.database_url, "SHOW fsync") == [("on",)]
    assert execute(running.database_url, "SHOW synchronous_commit") == [("on",)]
    with broker(running.redis_url) as client:
        settings = client.config_get("appendonly", "appendfsync", "maxmemory-policy")
    assert settings == {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}


def test_an_extra_database_is_empty_or_a_copy(running: EmbeddedServers) -> None:
    first = running.create_database("original")
    execute(first, "CREATE TABLE kept AS SELECT 1 AS value")
    copy = running.create_database("copy", template="original")
    assert execute(copy, "SELECT value FROM kept") == [(1,)]
    assert execute(running.create_database("empty"), "SELECT to_regclass('kept')") == [(None,)]


def test_what_the_schema_needs_is_there(running: EmbeddedServers) -> None:
    execute(running.create_database("extended"), "CREATE EXTENSION btree_gist")


@needs_root
def test_root_without_user_namespaces_runs_postgresql_as_nobody(
    passable_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordinary_user, "_in_user_namespace", lambda _program: None)
    with EmbeddedServers(passable_directory) as servers:
        assert Path(f"/proc/{servers.postgres.pid}").stat().st_uid != 0
        servers.postgres.kill()
        servers.postgres.start()
        assert execute(servers.database_url, "SELECT 1") == [(1,)]


@needs_root
def test_root_with_no_way_to_run_postgresql_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordinary_user, "_in_user_namespace", lambda _program: None)
    (tmp_path / "closed").mkdir(mode=0o700)
    with pytest.raises(ConfigurationError, match="start zea as an ordinary user, or set DATABASE_URL"):
        EmbeddedServers(tmp_path / "closed" / "zea").start()


START_AND_ASK = """
import os, pathlib, sys
from zea.stack.servers import EmbeddedServers
import psycopg
with EmbeddedServers(pathlib.Path(sys.argv[1]) / "zea") as servers:
    with psycopg.connect(servers.database_url) as connection:
        print(os.getuid(), connection.execute("SELECT 'works'").fetchone()[0])
"""


# An ordinary user but for one thing: it may read everywhere, because this test's own Python may be in root's home.
AS_NOBODY = (
    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)


@needs_root
def test_an_ordinary_user_runs_them(passable_directory: Path) -> None:
    if subprocess.run([*AS_NOBODY, sys.executable, "-c", ""], capture_output=True, check=False).returncode != 0:
        pytest.skip("setpriv cannot run this Python as nobody here")
    os.chown(passable_directory, 65534, 65534)
    result = subprocess.run(
        [*AS_NOBODY, sys.executable, "-c", START_AND_ASK, str(passable_directory)],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert result.stdout.split() == ["65534", "works"], result.stderr
