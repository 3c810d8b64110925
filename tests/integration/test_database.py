"""Connections: never shared with a forked child, given back in time, made once, and replaced when they have ended."""

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.waiting import wait_until
from zea import db


def backend() -> int:
    """The number that the server, or a pooler in front of it, has given to the connection that is used now."""
    with db.transaction() as handle:
        return db.driver_connection(handle).info.backend_pid


def in_a_fork(call: Callable[[], int]) -> int:
    """What ``call`` answers in a forked child."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, str(call()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as answer:
        return int(answer.read())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(database: str) -> None:
    ours = backend()

    def child() -> int:
        db.release_connections_of_parent()
        return backend()

    assert in_a_fork(child) != ours
    assert backend() == ours


def test_a_process_that_did_not_fork_keeps_its_connections(database: str) -> None:
    ours = backend()
    db.release_connections_of_parent()
    assert backend() == ours


def test_what_was_to_follow_a_commit_does_not_follow_a_rollback(database: str) -> None:
    called: list[str] = []

    def fail() -> None:
        with db.transaction() as handle:
            db.after_commit(handle, lambda: called.append("never"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with db.transaction() as handle:
        db.after_commit(handle, lambda: called.append("once"))
        assert called == []
    assert called == ["once"]


def end_all_connections(database: str) -> None:
    """What a restart of the server does to a process that is not looking."""
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"SELECT pg_terminate_backend(pid) {others}")
        wait_until(lambda: connection.execute(f"SELECT count(*) {others}").fetchone() == (0,))


def backends(count: int) -> list[int]:
    """The same of so many connections that are in use at the same time."""
    with ExitStack() as open_handles:
        handles = [open_handles.enter_context(db.transaction()) for _ in range(count)]
        return [db.driver_connection(handle).info.backend_pid for handle in handles]


@pytest.mark.usefixtures("unpooled")
def test_connections_that_the_server_has_ended_are_replaced_before_they_are_used(database: str) -> None:
    before = backends(3)
    end_all_connections(database)
    assert set(backends(3)).isdisjoint(before)


@pytest.mark.usefixtures("unpooled")
def test_a_connection_is_replaced_as_soon_as_the_server_has_said_that_it_ends(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with db.transaction() as handle:
        pooled = db.driver_connection(handle)
        before = pooled.info.backend_pid
    end_all_connections(database)
    wait_until(lambda: db._has_something_to_read(pooled))
    # As it looks in the moment between the server's last words and the end of its process.
    looks = iter([True])
    monkeypatch.setattr(db, "_has_something_to_read", lambda _: next(looks, False))
    assert backend() != before


@pytest.mark.usefixtures("unpooled")
def test_what_the_server_says_unasked_does_not_end_a_connection(database: str) -> None:
    ours = backend()
    with db.transaction() as handle:
        pooled = db.driver_connection(handle)
        handle.execute(text("LISTEN something"))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("NOTIFY something")
    wait_until(lambda: db._has_something_to_read(pooled))
    assert backend() == ours


def test_whoever_stands_still_in_a_transaction_loses_the_connection(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "LONGEST_IDLE", "100ms")
    db.close_connections()

    def freeze() -> None:
        with db.transaction() as frozen, psycopg.connect(database, autocommit=True) as other:
            frozen.execute(text("SELECT pg_advisory_xact_lock(1)"))
            take = "SELECT pg_try_advisory_lock(1)"
            wait_until(lambda: other.execute(take).fetchone() == (True,), 5, "the lock to be free")
            frozen.execute(text("SELECT 1"))

    with pytest.raises(DBAPIError, match="idle-in-transaction"):
        freeze()
    db.close_connections()


def test_behind_a_pooler_each_transaction_says_how_long_it_may_stand_still(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limit() -> str:
        with db.transaction() as handle:
            return str(handle.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one())

    assert limit() == "1min"
    with monkeypatch.context() as pooled:
        pooled.setattr(db, "is_pooled_elsewhere", lambda _: True)
        pooled.setattr(db, "LONGEST_IDLE", "7s")
        assert limit() == "7s"
    assert limit() == "1min"


def test_a_server_that_answers_nothing_is_given_up_after_ten_seconds(database: str) -> None:
    with db.transaction() as handle:
        descriptor = db.driver_connection(handle).fileno()
        with socket.socket(fileno=os.dup(descriptor)) as seen:
            assert seen.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000


def test_a_connection_that_is_lost_in_use_does_not_hide_what_failed(database: str) -> None:
    def fail() -> None:
        with db.transaction() as handle:
            handle.execute(text("SELECT 1"))
            end_all_connections(database)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert backend()


@pytest.mark.parametrize("noticed", [True, False], ids=["noticed before", "noticed by undoing"])
def test_of_a_lost_connection_nothing_is_left_to_undo(database: str, noticed: bool) -> None:
    def fail() -> None:
        with db.transaction() as handle:
            driver = db.driver_connection(handle)
            driver.execute(db.SAVEPOINT)
            end_all_connections(database)
            if noticed:
                with pytest.raises(psycopg.OperationalError):
                    driver.execute("SELECT 1")
            assert not db.undo_to_savepoint(handle)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
