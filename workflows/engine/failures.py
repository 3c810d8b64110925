"""What an exception of a step means: try again, or fail; and in words that hold nothing personal."""

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import DBAPIError

from workflows.engine.values import without
from zea.errors import Refusal, ZeaError

# serialization failure, deadlock, lock not available, statement cancelled by its timeout
TRANSIENT_STATES = {"40001", "40P01", "55P03", "57014"}


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception, classified."""

    kind: str
    message: str
    transient: bool = False
    resumable: bool = True
    traceback: str | None = None


def classify(error: Exception, private: Mapping[str, Any]) -> Failure:
    """What ``error`` means for its step; the ``private`` values that it quotes are blanked out."""
    match error:
        case ZeaError():
            return Failure(error.kind, without(private, error.message), resumable=not isinstance(error, Refusal))
        case DBAPIError():
            return _of_database(error)
    return _unexpected(error, private)


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
