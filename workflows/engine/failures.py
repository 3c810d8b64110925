"""What an exception of a step means: try again, or fail; and in words that hold nothing personal."""

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import DBAPIError

from workflows.engine.values import without
from zea.errors import Refusal, ZeaError

# serialization failure, deadlock, lock not available, statement cancelled by its timeout
TRANSIENT_STATES = {"40001", "40P01", "55P03", "57014"}
MAXIMUM_ATTEMPTS = 5
FIRST_DELAY_SECONDS = 0.2


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
        case Refusal():
            return Failure(error.kind, error.message, resumable=False)
        case ZeaError():
            return Failure(error.kind, error.message)
        case DBAPIError():
            return _of_database(error)
    return _unexpected(error, read_private())


def _unexpected(error: Exception, private: Mapping[str, Any]) -> Failure:
    trace = "".join(traceback.format_exception(error))
    message = f"{type(error).__name__}: {error}"
    return Failure("unexpected_error", without(private, message), traceback=without(private, trace))


def _of_database(error: DBAPIError) -> Failure:
    """The primary message only: detail and parameters quote the row, which may be personal."""
    if error.connection_invalidated:
        return Failure("connection_lost", "The connection to the database was lost.", transient=True)
    state = getattr(error.orig, "sqlstate", None)
    diagnostic = getattr(error.orig, "diag", None)
    message = getattr(diagnostic, "message_primary", None) or type(error.orig).__name__
    where = "".join(traceback.format_tb(error.__traceback__))
    return Failure("database_error", f"{message} ({state})", transient=state in TRANSIENT_STATES, traceback=where)


def delay_before(attempt: int) -> float:
    """Seconds to wait before this attempt (2 or later): doubling from a fifth of a second."""
    return float(FIRST_DELAY_SECONDS * 2 ** (attempt - 2))
