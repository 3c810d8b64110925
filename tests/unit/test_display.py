"""What the terminal shows of events and of text from elsewhere."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from rich.console import Console, RenderableType
from rich.text import Text

from workflows.engine.models import StepStatus
from workflows.engine.status import ApprovalView, EventView, ExecutionView, StepView, TimerView
from zea.cli.display import (
    LONGEST_DETAIL,
    approvals_table,
    asked,
    coloured,
    details,
    duration,
    events_table,
    on_one_line,
    picture,
    print_line,
    print_table,
    printable,
    waiting,
    workflow_title,
)
from zea.cli.timeline import table, wait_outcome

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
        (
            {
                "approval": "ask_coach",
                "approval_id": "0190",
                "approval_type": "judgement",
                "assignee": "user:0191",
                "attempt": 1,
                "expires_at": "2026-03-02T12:00:00.5+00:00",
                "remind_at": None,
            },
            "ask_coach, asks user:0191, until 2026-03-02 12:00:00",
        ),
        ({"approval": "ask_coach", "reason": "she has left"}, "ask_coach, “she has left”"),
        ({"approval": "ask_coach", "data": {"stars": 5}}, "ask_coach"),
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


PENDING = ApprovalView(
    approval_id=UUID(int=1),
    approval_type="judgement",
    assignee="user:0191",
    status="pending",
    data=None,
    reason=None,
    requested_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
    expires_at=datetime(2026, 3, 2, 12, tzinfo=UTC),
    reminded_at=None,
    remaining_seconds=3723.4,
    decided_at=None,
    decided_by=None,
    execution_id=UUID(int=2),
    workflow_name="test.Review",
    step_name="ask_coach",
    subject="paper:7",
)


def settled(status: str, reason: str | None = None) -> ApprovalView:
    at = datetime(2026, 3, 2, tzinfo=UTC)
    return replace(PENDING, status=status, reason=reason, remaining_seconds=None, decided_at=at, decided_by="cli:ana")


def test_what_is_asked_says_of_whom_until_when_and_how_to_answer() -> None:
    assert asked(PENDING) == (
        f"ask_coach asks user:0191 until 2026-03-02 12:00:00 UTC (1:02:03 from now): zea approve {UUID(int=1)}"
    )


@pytest.mark.parametrize(
    ("approval", "shown", "in_a_few_words"),
    [
        (settled("approved"), "approved by cli:ana", "answered"),
        (settled("rejected", "no time"), "rejected by cli:ana, “no time”", "declined"),
        (settled("expired"), "expired", "no answer in time"),
        (settled("cancelled"), "cancelled by cli:ana", "not asked any more"),
    ],
    ids=lambda value: value.status if isinstance(value, ApprovalView) else "",
)
def test_what_was_asked_says_how_it_ended(approval: ApprovalView, shown: str, in_a_few_words: str) -> None:
    assert asked(approval) == f"ask_coach asked user:0191: {shown}"
    assert wait_outcome(approval) == in_a_few_words
    assert wait_outcome(PENDING) == "1:02:03 left"


def test_approvals_are_listed_with_the_time_that_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(approvals_table([PENDING, settled("expired")]))
    heading, first, second = (line.split() for line in capsys.readouterr().out.splitlines())
    assert heading == ["Approval", "Type", "Assignee", "Status", "Left", "Execution", "Subject"]
    assert first == [str(UUID(int=1)), "judgement", "user:0191", "pending", "1:02:03", str(UUID(int=2)), "paper:7"]
    assert second[3:5] == ["expired", str(UUID(int=2))]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0014, "1.4 ms"),
        (0.9994, "999.4 ms"),
        (3.21, "3.2 s"),
        (59.9, "59.9 s"),
        (60, "0:01:00"),
        (5 * 86400 + 3, "5 days, 0:00:03"),
    ],
)
def test_a_duration_is_shown_as_people_say_it(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def an_execution() -> ExecutionView:
    """It waits for the coach."""
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    step = StepView("submit", 0, StepStatus.COMPLETED, 1, at, at, 0.0031, {}, None)
    waits = replace(step, step_name="ask_coach", status=StepStatus.WAITING, completed_at=None, duration_seconds=None)
    return ExecutionView(
        execution_id=UUID(int=2),
        workflow_name="test.Review",
        workflow_version=1,
        workflow_known=True,
        status="waiting_for_approval",
        subject=None,
        started_by="cli:ana",
        started_at=at,
        completed_at=None,
        elapsed_seconds=3661.2,
        current_step_index=1,
        total_steps=2,
        current_step_name="ask_coach",
        progress_percentage=50.0,
        steps=[step, waits],
        inputs={},
        output={},
        error=None,
        cancellation=None,
        approvals=[PENDING],
        timers=[],
        resumable=False,
        rerun_of=None,
    )


def drawn(renderable: RenderableType) -> list[str]:
    console = Console(width=200, highlight=False)
    with console.capture() as captured:
        console.print(renderable)
    return [line.rstrip() for line in captured.get().splitlines()]


def test_a_picture_has_how_far_it_is_its_steps_and_what_it_waits_for() -> None:
    title, how_far, bar, heading, submit, ask_coach, waits = drawn(picture(an_execution()))
    assert title == f"test.Review v1  {UUID(int=2)}"
    assert how_far == "waiting_for_approval, 50 %, 1:01:01"
    assert set(bar) <= {"━", "╸", "╺"}
    assert heading.split() == ["Step", "Status", "Attempt", "Began", "Took"]
    assert submit.split() == ["submit", "completed", "1", "+0.0", "ms", "3.1", "ms"]
    assert ask_coach.split()[:2] == ["ask_coach", "waiting"]
    assert waits == asked(PENDING)


def test_a_timeline_says_of_a_wait_how_it_ended() -> None:
    shown = "\n".join(drawn(table(an_execution())))
    assert "1:02:03 left" in shown
    ended = "\n".join(drawn(table(replace(an_execution(), approvals=[settled("expired")]))))
    assert "no answer in time" in ended
    assert "Answer" not in "\n".join(drawn(table(replace(an_execution(), approvals=[]))))


@pytest.mark.parametrize("status", ["waiting", "skipped", "compensated", "sleeping", "compensating", "cancelled"])
def test_every_status_has_a_colour(status: str) -> None:
    assert isinstance(coloured(status), Text)
    assert coloured(status).style
