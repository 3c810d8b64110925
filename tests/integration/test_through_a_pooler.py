"""PgBouncer in transaction mode between zea and PostgreSQL: connections are shared, and the promises hold."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import text

from tests.other_servers import OtherServers
from tests.waiting import wait_until
from zea import config, db
from zea.api.checks import beside_the_pool
from zea.api.silence import Newcomers, attend
from zea.cli.checkup import Checkup
from zea.errors import ConfigurationError
from zea.stack import schema
from zea.stack.servers import EmbeddedServers

# PgBouncer keeps a newcomer waiting whose server it has not asked yet.
GIVEN_UP = "does not answer|connection timeout expired"


@pytest.fixture(autouse=True)
def pooled(servers: EmbeddedServers) -> OtherServers:
    if not isinstance(servers, OtherServers) or servers.pgbouncer is None:
        pytest.skip("the pooler is one of `make test-matrix`")
    return servers


def run(statement: str) -> str:
    with db.transaction() as handle:
        return str(handle.execute(text(statement)).scalar_one())


@contextmanager
def frozen(servers: OtherServers) -> Iterator[None]:
    """PostgreSQL and all of its processes stand still: it accepts connections and answers nobody."""
    leader = servers.postgres.pid
    assert leader is not None
    with psycopg.connect(servers.postgres.superuser_url, autocommit=True) as connection:
        backends = [pid for (pid,) in connection.execute("SELECT pid FROM pg_stat_activity")]
    for pid in (leader, *backends):
        _signal(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in (leader, *backends):
            _signal(pid, signal.SIGCONT)


def _signal(pid: int, what: signal.Signals) -> None:
    try:
        os.kill(pid, what)
    except ProcessLookupError:
        return


def test_nothing_is_prepared_where_a_transaction_may_find_another_server_process(database: str) -> None:
    with db.transaction() as handle:
        assert db.is_pooled_elsewhere(db.driver_connection(handle))
        for _ in range(20):
            db.driver_connection(handle).execute("SELECT %s::int", [1])
        assert handle.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar_one() == 0


def test_a_limit_of_one_transaction_is_not_found_by_the_next(database: str, servers: EmbeddedServers) -> None:
    assert run("SHOW idle_in_transaction_session_timeout") == "1min"
    with psycopg.connect(servers.url_of(database.rpartition("/")[2]), autocommit=True) as somebody_else:
        assert somebody_else.execute("SHOW idle_in_transaction_session_timeout").fetchone() == ("0",)


def test_transactions_that_are_open_together_have_processes_of_their_own_and_others_share_them(database: str) -> None:
    processes = {run("SELECT pg_backend_pid()") for _ in range(5)}
    with db.transaction() as one, db.transaction() as other:
        asked = text("SELECT pg_backend_pid()")
        assert one.execute(asked).scalar_one() != other.execute(asked).scalar_one()
    assert len(processes) == 1


def test_the_doctor_says_that_there_is_a_pooler(database: str) -> None:
    said = next(each.said for each in Checkup()._database())
    assert said.endswith(", through a pooler")


def test_migrations_are_refused_because_their_lock_is_the_connections(servers: EmbeddedServers, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    servers.create_database("empty_behind_a_pooler")
    monkeypatch.setenv("DATABASE_URL", servers.url_of("empty_behind_a_pooler"))
    config.settings.cache_clear()
    with pytest.raises(ConfigurationError, match="through a pooler: set DATABASE_URL to PostgreSQL itself"):
        schema.upgrade()
    config.settings.cache_clear()


def test_where_nothing_is_to_be_migrated_nobody_minds(database: str) -> None:
    assert schema.upgrade() == schema.newest()


@pytest.fixture
def attended(database: str) -> Iterator[None]:
    attend(db.engine())
    yield
    Newcomers.silent = None


def given_up_within(seconds: float) -> None:
    begun = time.monotonic()
    with pytest.raises(sqlalchemy.exc.OperationalError, match=GIVEN_UP):
        run("SELECT 1")
    assert time.monotonic() - begun < seconds


@pytest.mark.usefixtures("attended")
def test_a_database_that_stands_still_behind_a_pooler_that_answers_is_given_up(pooled: OtherServers) -> None:
    run("SELECT 1")
    with frozen(pooled):
        given_up_within(2)
        given_up_within(2)
    wait_until(_is_answered, what="the database answers again")


def _is_answered() -> bool:
    try:
        return run("SELECT 1") == "1"
    except sqlalchemy.exc.OperationalError:
        return False


@pytest.mark.usefixtures("attended")
def test_so_is_one_that_stands_still_before_anybody_knows_that_there_is_a_pooler(pooled: OtherServers) -> None:
    with frozen(pooled):
        given_up_within(3)
        begun = time.monotonic()
        with pytest.raises(sqlalchemy.exc.OperationalError, match=GIVEN_UP), beside_the_pool() as handle:
            handle.execute(text("SELECT 1"))
        assert time.monotonic() - begun < 3
    wait_until(_is_answered, what="the database answers again")


@pytest.mark.usefixtures("attended")
def test_a_long_statement_of_a_database_that_answers_runs_to_its_end() -> None:
    assert run("SELECT pg_sleep(2)::text") == ""
