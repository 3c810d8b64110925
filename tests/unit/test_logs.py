"""Log lines: what each says, in which format, and what none ever says."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy.exc
from celery import Celery
from celery.app.trace import build_tracer
from pydantic import BaseModel, ValidationError

from zea import config, logs
from zea.logs import JsonLines, ReadableLines

log = logging.getLogger("zea.somewhere")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What is logged, as JSON."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    monkeypatch.setenv("ZEA_LOG_FORMAT", "json")
    config.settings.cache_clear()
    logs.configure()
    yield written
    root.handlers = before
    root.setLevel(level)
    config.settings.cache_clear()


def lines(written: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_a_line_says_what_it_is_about(said: io.StringIO) -> None:
    with logs.about(request_id="r-1"):
        logs.now_about(user_id="u-1")
        with logs.about(execution_id="e-1", step="debit_credit", attempt=2):
            log.info("took %d", 3)
        log.warning("after")
    log.info("elsewhere")
    first, second, third = lines(said)
    assert (first["level"], first["logger"], first["message"]) == ("info", "zea.somewhere", "took 3")
    about = ("request_id", "user_id", "execution_id", "step", "attempt")
    assert [first[name] for name in about] == ["r-1", "u-1", "e-1", "debit_credit", 2]
    assert {name for name in about if name in second} == {"request_id", "user_id"}
    assert not any(name in third for name in about)
    assert first["at"].endswith("+00:00")


def test_nothing_is_said_twice_however_often_it_is_set_up(said: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    logging.getLogger().addHandler(logging.StreamHandler(said))
    monkeypatch.setattr(sys, "stderr", said)
    logs.configure()
    log.info("once")
    assert [line["message"] for line in lines(said)] == ["once"]


def test_what_libraries_say_is_left_out_where_zea_says_it_itself(said: io.StringIO) -> None:
    logging.getLogger("celery.beat").info("Scheduler: Sending due task %s (%s)", "sweep.fire", "sweep.fire")
    logging.getLogger("celery.beat").info("beat: Starting...")
    logging.getLogger("uvicorn.access").info("GET /api/me?email=ana@example.com")
    for name in ("httpx", "alembic", "celery.app.trace", "celery.worker.strategy"):
        logging.getLogger(name).info("says much")
        logging.getLogger(name).warning("%s is worried", name)
    assert [line["message"] for line in lines(said)] == [
        "beat: Starting...",
        "httpx is worried",
        "alembic is worried",
        "celery.app.trace is worried",
        "celery.worker.strategy is worried",
    ]


def test_a_server_that_set_up_lines_of_its_own_says_them_as_all_others(
    said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    logging.getLogger("uvicorn").addHandler(logging.StreamHandler(said))
    monkeypatch.setattr(sys, "stderr", said)
    logs.configure()
    logging.getLogger("uvicorn.error").info("once")
    assert [line["message"] for line in lines(said)] == ["once"]


def test_a_line_for_people_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    record = logging.LogRecord("zea.somewhere", logging.INFO, __file__, 1, "took %d", (3,), None)
    with logs.about(execution_id="e-1", attempt=1):
        text = ReadableLines().format(record)
    assert text.endswith("INFO    zea.somewhere: took 3  [execution_id=e-1 attempt=1]")


@pytest.mark.parametrize(
    ("environment", "chosen", "is_json"),
    [
        ("local", "", False),
        ("staging", "", True),
        ("production", "", True),
        ("local", "json", True),
        ("production", "readable", False),
    ],
)
def test_programs_read_them_outside_local(
    environment: str, chosen: str, is_json: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZEA_SECRET_KEY", "x" * 32)
    monkeypatch.setenv("ZEA_ENVIRONMENT", environment)
    monkeypatch.setenv("ZEA_FLOWER_BASIC_AUTH", "zea:flower-password")
    if chosen:
        monkeypatch.setenv("ZEA_LOG_FORMAT", chosen)
    assert config.Settings().logs_json is is_json


PERSONAL = "left knee"


class Profile(BaseModel):
    injury_history: int


def invalid() -> ValidationError:
    try:
        Profile.model_validate({"injury_history": PERSONAL})
    except ValidationError as error:
        return error
    raise AssertionError


QUOTING = psycopg.errors.CheckViolation("it violates a check\nDETAIL:  Failing row contains (left knee).")
WRAPPED = sqlalchemy.exc.IntegrityError("UPDATE bookings SET notes = 'left knee'", {"notes": "left knee"}, QUOTING)
DATA = psycopg.errors.InvalidTextRepresentation('invalid input syntax for type uuid: "left knee"')
LED_TO = RuntimeError("it could not be saved")
LED_TO.__cause__ = QUOTING
ONE, OTHER = ValueError("one"), ValueError("the other")
ONE.__cause__, OTHER.__cause__ = OTHER, ONE


@pytest.mark.parametrize("formatter", [JsonLines, ReadableLines])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (QUOTING, "it violates a check"),
        (WRAPPED, "it violates a check"),
        (invalid(), "injury_history: int_parsing"),
        (LED_TO, "it could not be saved"),
        (DATA, "SQLSTATE 22P02"),
        (sqlalchemy.exc.DataError("SELECT", {}, DATA), "SQLSTATE 22P02"),
        (ExceptionGroup("side by side", [LED_TO, QUOTING]), "it could not be saved"),
        (ONE, "the other"),
    ],
    ids=["driver", "sqlalchemy", "pydantic", "cause", "data", "data in sqlalchemy", "group", "circle"],
)
def test_an_error_is_told_without_the_values_at_hand(
    formatter: type[logging.Formatter], error: Exception, told: str
) -> None:
    try:
        raise error
    except Exception:
        record = logging.LogRecord("zea", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())
    text = formatter().format(record)
    assert told in text
    assert "test_logs.py" in text, "where it came from"
    assert PERSONAL not in text


def test_celery_tells_no_values_of_a_task_that_raised(said: io.StringIO) -> None:
    app = Celery("of this test", set_as_current=False)

    @app.task(name="raises")  # type: ignore[untyped-decorator]  # Celery has no types
    def raises() -> None:
        raise WRAPPED

    build_tracer("raises", raises, app=app)("an id", (), {}, {"id": "an id", "task": "raises"})
    [line] = lines(said)
    assert (line["level"], line["message"]) == ("error", "Task raises[an id] raised unexpected")
    assert "it violates a check" in line["exception"]
    assert PERSONAL not in said.getvalue()
