"""Connections: never shared with a forked child, given back in time, and made once."""

import os
from collections.abc import Callable

import pytest
from sqlalchemy import text

from zea import db


def backend() -> int:
    with db.transaction() as handle:
        return int(handle.execute(text("SELECT pg_backend_pid()")).scalar_one())


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
