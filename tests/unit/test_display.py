"""What the terminal shows of events and of text from elsewhere."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from rich.text import Text

from workflows.engine.status import EventView, TimerView
from zea.cli.display import (
    LONGEST_DETAIL,
    coloured,
    details,
    events_table,
    on_one_line,
    print_line,
    print_table,
    printable,
    waiting,
    workflow_title,
)

MESSAGE = "deadlock detected (40P01)"


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ({}, ""),
        ({"inputs": {"athlete_id": "1"}, "rerun_of": None, "from_step": None, "reason": None}, ""),
        (
            {"rerun_of": "0190", "from_step": "notify_coach", "reason": "no mail"},
            "reruns 0190, from notify_coach, “no mail”",
        ),
        ({"attempt": 1, "duration_seconds": 0.1, "output": {}}, ""),
        ({"attempt": 3, "duration_seconds": 0.1, "output": {}}, "attempt 3"),
        (
            {"attempt": 1, "kind": "database_error", "message": MESSAGE, "delay_seconds": 0.21},
            f"database_error: {MESSAGE}, again in 0.2 s",
        ),
        (
            {"attempt": 2, "kind": "refused", "message": "No.", "resumable": False, "traceback": "…"},
            "attempt 2, refused: No.",
        ),
        (
            {"timer": "notify_coach", "fires_at": "2026-03-02T12:00:00.5+00:00"},
            "notify_coach, until 2026-03-02 12:00:00",
        ),
        ({"cancelled_by": "cli:ana", "reason": "by mistake"}, "“by mistake”"),
        ({"cause": "cancelled", "reason": "by mistake"}, "because it was cancelled, “by mistake”"),
        ({"cause": "failed", "reason": None}, "because it failed"),
        ({"steps": ["notify_athlete", "notify_coach"], "reason": None}, "notify_athlete and notify_coach"),
        ({"dispatched": ["notify_coach"]}, "notify_coach"),
    ],
)
def test_an_event_shows_what_matters_of_it(data: dict[str, Any], shown: str) -> None:
    assert details(data) == shown


def test_what_is_long_is_cut() -> None:
    shown = details({"kind": "unexpected_error", "message": "x" * 1000})
    assert len(shown) == LONGEST_DETAIL
    assert shown.endswith("x…")


def test_a_terminal_is_not_given_commands() -> None:
    assert printable("\x1b[2Jsí,\tno\nñ\x9b") == "\ufffd[2Jsí,\ufffdno\nñ\ufffd"
    assert on_one_line("two\nlines") == "two lines"


def test_brackets_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    print_line("ValueError: cannot read [personal] [/red] \\")
    assert capsys.readouterr().out == "ValueError: cannot read [personal] [/red] \\\n"


def test_a_line_is_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    print_line("word " * 100)
    assert capsys.readouterr().out.count("\n") == 1


def test_nothing_is_cut_off_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    actor, data = f"user:{UUID(int=0)}", {"kind": "unexpected_error", "message": "x" * 1000}
    failed = EventView(1, "execution.failed", None, datetime(2026, 3, 2, 12, tzinfo=UTC), actor, data)
    completed = EventView(2, "execution.completed", None, datetime(2026, 3, 2, 12, tzinfo=UTC), actor, {})
    print_table(events_table([failed, completed]))
    _, first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(f"execution.failed           {actor}  {details(data)}")
    assert second.endswith(actor)


def test_an_unknown_version_says_so() -> None:
    assert workflow_title("BookingRequest", 1, known=True) == "BookingRequest v1"
    assert workflow_title("BookingRequest", 7, known=False) == "BookingRequest v7 (unknown here)"


def test_a_wait_says_until_when_and_how_long_that_is() -> None:
    timer = TimerView("notify_coach", datetime(2026, 3, 2, 12, tzinfo=UTC), 93784.4)
    assert waiting(timer) == "notify_coach waits until 2026-03-02 12:00:00 UTC (1 day, 2:03:04 from now)"


@pytest.mark.parametrize("status", ["waiting", "skipped", "compensated", "sleeping", "compensating", "cancelled"])
def test_every_status_has_a_colour(status: str) -> None:
    assert isinstance(coloured(status), Text)
    assert coloured(status).style
