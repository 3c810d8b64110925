"""A statement is waited for as long as the server answers anybody, and no longer."""

import socket
import time
from collections.abc import Iterator

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import text

from tests.waiting import wait_until
from zea import db
from zea.api import silence
from zea.api.silence import ANSWER_WITHIN, SILENCE, Newcomers, Server, attend

LONGER = f"SELECT pg_sleep({SILENCE + 0.3})::text"


@pytest.fixture
def attended(unpooled: None, database: str) -> Iterator[None]:
    attend(db.engine())
    yield
    Newcomers.silent = None


@pytest.fixture
def nobody_is_answered(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that accepts connections and says nothing, in the place of the one that is asked."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        server = Server("127.0.0.1", mute.getsockname()[1])
        monkeypatch.setattr(silence, "Server", lambda host, port: server)
        yield server


def run(statement: str) -> None:
    with db.transaction() as handle:
        handle.execute(text(statement))


@pytest.mark.usefixtures("attended")
def test_a_long_statement_of_a_server_that_answers_runs_to_its_end() -> None:
    run(LONGER)


@pytest.mark.usefixtures("attended", "nobody_is_answered")
def test_a_statement_of_a_silent_server_is_given_up() -> None:
    begun = time.monotonic()
    with pytest.raises(sqlalchemy.exc.OperationalError, match="does not answer"):
        run("SELECT pg_sleep(20)")
    assert time.monotonic() - begun < 2


@pytest.mark.usefixtures("attended", "nobody_is_answered")
def test_what_was_given_up_is_rolled_back(database: str) -> None:
    with pytest.raises(sqlalchemy.exc.OperationalError):
        run(f"CREATE TABLE half AS {LONGER} AS slept")
    with psycopg.connect(database, autocommit=True) as connection:
        at_work = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE TABLE half%'"
        wait_until(lambda: connection.execute(at_work).fetchone() == (0,))
        assert connection.execute("SELECT to_regclass('half')").fetchone() == (None,)


@pytest.mark.usefixtures("attended")
def test_nobody_connects_to_a_silent_server_until_it_answers(nobody_is_answered: Server) -> None:
    run("SELECT 1")
    db.engine().dispose()
    Newcomers.silent = nobody_is_answered
    begun = time.monotonic()
    with pytest.raises(sqlalchemy.exc.OperationalError, match="does not answer yet"):
        run("SELECT 1")
    assert time.monotonic() - begun < ANSWER_WITHIN + 0.5
    url = db.engine().url
    Newcomers.silent = Server(str(url.host), int(url.port or 0))
    run("SELECT 1")
    assert Newcomers.silent is None
