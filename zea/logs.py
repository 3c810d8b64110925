"""Log lines: JSON where programs read them, text where people do. Each says what it is about, and nothing private.

What a line is about (its execution, step, request …) is kept beside the code that runs, by ``about``, and not written
into each message. Whoever logs writes ids, never what people said or who they are.
"""

import json
import logging
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType
from typing import Final, TextIO

import psycopg
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from zea import config
from zea.db import first_line

# Where Celery says that a task raised.
CELERY_ERRORS: Final = "celery.app.trace"
CELERY_FAILED: Final = "Task %(name)s[%(id)s] %(description)s"
# What libraries say of each thing that they do is said better by zea itself, or by nobody.
QUIET: Final = (CELERY_ERRORS, "celery.worker.strategy", "httpx", "alembic")
# What beat says of everything that it sends, several times a second.
TICK: Final = "Scheduler: Sending due task"
# These set up handlers of their own before zea is asked.
TAKEN_OVER: Final = ("uvicorn", "uvicorn.error", "uvicorn.access")

_about: ContextVar[Mapping[str, object]] = ContextVar("about", default=MappingProxyType({}))


@contextmanager
def about(**things: object) -> Iterator[None]:
    """What is logged in the block says these things too, as the block's own names for them; None says nothing."""
    token = _about.set({**_about.get(), **{name: thing for name, thing in things.items() if thing is not None}})
    try:
        yield
    finally:
        _about.reset(token)


def now_about(**things: object) -> None:
    """From here to the end of the surrounding ``about``, what is logged says these things too."""
    _about.set({**_about.get(), **things})


def configure(level: int = logging.INFO) -> None:
    """Have everything that this process logs go to standard error, as the settings say; again changes nothing."""
    root = logging.getLogger()
    # Libraries set up plain ones before they are told.
    root.handlers = [each for each in root.handlers if type(each) not in (ToStandardError, logging.StreamHandler)]
    root.addHandler(ToStandardError())
    root.setLevel(level)
    for name in TAKEN_OVER:
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = name != "uvicorn.access"
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("celery.beat").addFilter(_is_no_tick)
    logging.getLogger(CELERY_ERRORS).addFilter(_without_its_error)


def _is_no_tick(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(TICK)


def _without_its_error(record: logging.LogRecord) -> bool:
    """Celery writes the error into the message as well, with whatever it quotes."""
    if record.exc_info and isinstance(record.args, Mapping) and "exc" in record.args:
        record.msg = CELERY_FAILED
    return True


class ToStandardError(logging.StreamHandler[TextIO]):
    """A handler of what standard error is now, in the format that the settings ask for."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(JsonLines() if config.settings().logs_json else ReadableLines())


class Lines(logging.Formatter):
    """What the formats have in common: errors are told without values."""

    def formatException(self, ei: object) -> str:
        return without_values(ei[1], ei[2]) if isinstance(ei, tuple) and ei[1] else ""


class JsonLines(Lines):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": _moment(record).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
            **_about.get(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class ReadableLines(Lines):
    """Moment (UTC), level, logger, message, and at the end what it is about."""

    def format(self, record: logging.LogRecord) -> str:
        said = " ".join(f"{name}={thing}" for name, thing in _about.get().items())
        moment = f"{_moment(record):%H:%M:%S}.{record.msecs:03.0f}"
        line = f"{moment} {record.levelname:<7} {record.name}: {record.getMessage()}" + (f"  [{said}]" if said else "")
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _moment(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def without_values(error: BaseException, came_from: TracebackType | None) -> str:
    """The error and where it came from, without what libraries quote of the values at hand: they may be personal."""
    return "".join(_parts(error, came_from, set())).rstrip()


def _parts(error: BaseException, came_from: TracebackType | None, told: set[int]) -> Iterator[str]:
    """What led to the error comes first, as Python prints it; each once, since errors can lead to each other."""
    told.add(id(error))
    for cause in _causes(error):
        if id(cause) not in told:
            yield from _parts(cause, cause.__traceback__, told)
            yield "\nwhich led to:\n\n"
    yield from traceback.format_tb(came_from)
    yield f"{type(error).__name__}: {_said_by(error)}\n"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """A group, as of tasks that ran side by side, says nothing itself."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield cause
    if isinstance(error, BaseExceptionGroup):
        yield from error.exceptions


def _said_by(error: BaseException) -> str:
    match error:
        case psycopg.DataError() as refused:
            # Its first line is about the value.
            return f"SQLSTATE {refused.sqlstate}"
        case DBAPIError(orig=psycopg.DataError() as refused):
            return _said_by(refused)
        case DBAPIError() | psycopg.Error():
            return first_line(error)
        case ValidationError():
            found = error.errors(include_url=False, include_context=False, include_input=False)
            return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['type']}" for each in found)
    return str(error)
