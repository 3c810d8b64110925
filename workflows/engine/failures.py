"""What an exception of a step means: try again, or fail; and in words that hold nothing personal."""

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy.exc import DBAPIError

from workflows.engine.values import without
from zea.errors import Busy, Refusal, Unreachable, ZeaError

TIMEOUT = "timeout"
# What passes: PostgreSQL's error code (its manual, appendix A) → the kind that is recorded.
TRANSIENT_KINDS = {
    "40001": "serialization_failure",
    "40P01": "deadlock",
    "55P03": TIMEOUT,  # waiting for a lock
    "57014": TIMEOUT,  # of a statement
    "25P03": TIMEOUT,  # idle in its transaction
    "25P04": TIMEOUT,  # of the whole transaction
}


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception, classified."""

    kind: str
    message: str
    transient: bool = False
    resumable: bool = True
    traceback: str | None = None


def classify(error: Exception, read_private: Callable[[], Mapping[str, Any]]) -> Failure:
    """What ``error`` means for its step; the execution's private values are read, and blanked out, where needed."""
    match error:
        case Busy() | Unreachable():
            return Failure(error.kind, without(read_private(), error.message), transient=True)
        case ZeaError():
            return Failure(error.kind, without(read_private(), error.message), resumable=not isinstance(error, Refusal))
        case DBAPIError(orig=psycopg.Error() as cause):
            return _of_database(error, cause, is_lost=error.connection_invalidated)
        # The engine's own statements come without SQLAlchemy's wrapping.
        case psycopg.Error():
            return _of_database(error, error, is_lost=_ends_connection(error))
    return _unexpected(error, read_private())


def _unexpected(error: Exception, private: Mapping[str, Any]) -> Failure:
    trace = "".join(traceback.format_exception(error))
    message = f"{type(error).__name__}: {error}"
    return Failure("unexpected_error", without(private, message), traceback=without(private, trace))


def _ends_connection(error: psycopg.Error) -> bool:
    """Whether nothing was answered, or the server said that it is going away."""
    return isinstance(error, psycopg.OperationalError) and (error.sqlstate or "08").startswith(("08", "57P"))


def _of_database(error: Exception, cause: psycopg.Error, *, is_lost: bool) -> Failure:
    """The primary message only: detail and parameters quote the row, which may be personal."""
    state = cause.sqlstate or ""
    if state in TRANSIENT_KINDS:
        return Failure(TRANSIENT_KINDS[state], f"{cause.diag.message_primary} ({state})", transient=True)
    if is_lost:
        return Failure("connection_lost", "The connection to the database was lost.", transient=True)
    message = cause.diag.message_primary or type(cause).__name__
    where = "".join(traceback.format_tb(error.__traceback__))
    return Failure("database_error", f"{message} ({state})", traceback=where)
