"""How executions look on a terminal: as tables, as lines, and as JSON.

What comes from elsewhere, such as a reason or an error, is read neither as Rich's markup nor as a terminal's commands.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import typer
from rich.console import Console, Group
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from workflows.engine.client import ExecutionPage
from workflows.engine.models import ExecutionStatus, StepStatus
from workflows.engine.status import ApprovalView, EventView, ExecutionSummary, ExecutionView, StepView, TimerView

COLOURS: Final = {
    "completed": "green",
    "approved": "green",
    "rejected": "red",
    "failed": "red",
    "cancelled": "red",
    "compensated": "magenta",
    "pending": "dim",
    "skipped": "dim",
}
CONTROL: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")
UNTRIED: Final = (StepStatus.PENDING, StepStatus.SKIPPED)
# Wide enough for every column: nothing is cut off or left out, and a narrower terminal wraps the lines.
WIDTH: Final = 300
LONGEST_DETAIL: Final = 160


def console() -> Console:
    return Console(highlight=False, width=WIDTH)


def print_line(text: str, style: str = "") -> None:
    """One line, which the terminal may wrap but nothing breaks, so that it can be copied."""
    console().print(Text(on_one_line(text), style), soft_wrap=True)


def print_table(table: Table | Tree) -> None:
    """A table, or a tree, whose lines end where their text does, so that a narrow terminal shows no empty lines."""
    wide = console()
    with wide.capture() as drawn:
        wide.print(table)
    for line in drawn.get().splitlines():
        typer.echo(line.rstrip())


def print_json(value: Any) -> None:
    """JSON; dataclasses are objects, everything else that JSON does not know is text."""
    typer.echo(json.dumps(value, default=_as_json, indent=2))


def print_json_line(value: Any) -> None:
    """The same on one line, at once: whoever follows reads line by line."""
    typer.echo(json.dumps(value, default=_as_json))


def _as_json(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def on_one_line(text: str) -> str:
    return printable(text.replace("\n", " "))


def printable(text: str) -> str:
    """The text without what a terminal would obey; lines stay lines."""
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def coloured(status: str) -> Text:
    return Text(status, COLOURS.get(status, "yellow"))


def workflow_title(name: str, version: int, *, known: bool) -> str:
    """As ``BookingRequest v1``; a version that this release cannot run says so."""
    return f"{name} v{version}{'' if known else ' (unknown here)'}"


def print_page(page: ExecutionPage) -> None:
    """A part of a list, and how to see the rest."""
    print_table(executions_table(page.items))
    if page.next_cursor:
        print_line(f"More: add --cursor {page.next_cursor}")


def executions_table(executions: Iterable[ExecutionSummary]) -> Table:
    """One line for each execution."""
    table = new_table("Execution", "Workflow", "Status", "Step", "Done", "Subject", "Started (UTC)")
    for each in executions:
        short_name = each.workflow_name.rsplit(".", 1)[-1]
        add_row(
            table,
            str(each.execution_id),
            workflow_title(short_name, each.workflow_version, known=each.workflow_known),
            coloured(each.status),
            each.current_step_name or each.error_kind or "",
            f"{each.completed_steps}/{each.total_steps}",
            each.subject or "",
            f"{each.started_at:%Y-%m-%d %H:%M:%S}",
        )
    return table


def print_execution(view: ExecutionView) -> None:
    """One execution: its steps, what it waits for, why it failed or was cancelled, and what can be done about it."""
    title = workflow_title(view.workflow_name, view.workflow_version, known=view.workflow_known)
    print_line(f"{title}  {view.execution_id}")
    about = f", {view.subject}" if view.subject else ""
    how_far = f", {view.progress_percentage:g} %, {view.elapsed_seconds:.3f} s{about}, started by {view.started_by}"
    console().print(coloured(view.status).append(on_one_line(how_far), ""), soft_wrap=True)
    if view.rerun_of:
        print_line(f"Reruns {view.rerun_of}: zea status {view.rerun_of}")
    print_table(steps_table(view))
    for line in waits(view):
        print_line(line)
    print_end(view)


def print_end(view: ExecutionView) -> None:
    """Why it failed or was cancelled, and what can be done about it; nothing about any other."""
    if view.cancellation:
        print_line(f"Cancelled by {view.cancellation.cancelled_by}: {view.cancellation.reason}", "red")
    elif view.error:
        print_line(f"{view.error.kind}: {view.error.message}", "red")
    if view.error and view.error.traceback:
        console().print(Text(printable(view.error.traceback)), soft_wrap=True)
    if next_command := what_can_be_done(view):
        print_line(next_command)


def waits(view: ExecutionView) -> list[str]:
    """What it waits for, and what it was told when it waited."""
    return [*(asked(each) for each in view.approvals), *(waiting(timer) for timer in view.timers)]


def waiting(timer: TimerView) -> str:
    return f"{timer.timer} waits until {_until(timer.fires_at, timer.remaining_seconds)}"


def asked(approval: ApprovalView) -> str:
    """What somebody is asked and until when, or how that ended."""
    if approval.remaining_seconds is not None:
        until = _until(approval.expires_at, approval.remaining_seconds)
        return f"{approval.step_name} asks {approval.assignee} until {until}: zea approve {approval.approval_id}"
    return f"{approval.step_name} asked {approval.assignee}: {outcome(approval)}"


def outcome(approval: ApprovalView) -> str:
    """How it ended, by whom and why; nothing while it is pending."""
    if approval.decided_at is None:
        return ""
    reason = f", “{approval.reason}”" if approval.reason else ""
    by = "" if approval.status == "expired" else f" by {approval.decided_by}"
    return f"{approval.status}{by}{reason}"


def _until(moment: datetime, remaining_seconds: float) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC ({timedelta(seconds=round(remaining_seconds))} from now)"


def approvals_table(approvals: Iterable[ApprovalView]) -> Table:
    """One line for each approval."""
    table = new_table("Approval", "Type", "Assignee", "Status", "Left", "Execution", "Subject")
    for each in approvals:
        left = "" if each.remaining_seconds is None else str(timedelta(seconds=round(each.remaining_seconds)))
        add_row(
            table,
            str(each.approval_id),
            each.approval_type,
            each.assignee,
            coloured(each.status),
            left,
            str(each.execution_id),
            each.subject or "",
        )
    return table


def picture(view: ExecutionView) -> Group:
    """An execution on one screen: how far it is, its steps, and what it waits for."""
    title = workflow_title(view.workflow_name, view.workflow_version, known=view.workflow_known)
    done = f"{view.status}, {view.progress_percentage:g} %, {timedelta(seconds=round(view.elapsed_seconds))}"
    # A bar does not end its line by itself.
    bar = Padding(ProgressBar(total=100, completed=view.progress_percentage, width=40), 0)
    lines = [Text(on_one_line(line)) for line in waits(view)]
    return Group(
        Text(f"{title}  {view.execution_id}"), coloured_line(view.status, done), bar, steps_table(view), *lines
    )


def coloured_line(status: str, text: str) -> Text:
    return Text(on_one_line(text), COLOURS.get(status, "yellow"))


def event_line(event: EventView) -> str:
    """An event on a line of its own."""
    parts = (f"{event.at:%Y-%m-%d %H:%M:%S}", event.type, event.step or "", details(event.data))
    return "  ".join(part for part in parts if part)


def what_can_be_done(view: ExecutionView) -> str | None:
    """What to do about an execution that ended badly; None about any other."""
    if view.status not in (ExecutionStatus.FAILED, ExecutionStatus.CANCELLED):
        return None
    if not view.workflow_known:
        return "This release does not know its version: resume or rerun it with the one that does."
    if view.resumable:
        return f"It can be resumed: zea resume {view.execution_id}"
    return f"It cannot be resumed. To run it anew: zea rerun {view.execution_id} --reason WHY"


def steps_table(view: ExecutionView) -> Table:
    """The steps with their status, when they began after the start, and how long they took."""
    table = new_table("Step", "Status", "Attempt", "Began", "Took")
    for column in table.columns[2:]:
        column.justify = "right"
    for step in view.steps:
        attempt = "" if step.status in UNTRIED else str(step.attempt)
        add_row(table, step.step_name, coloured(step.status), attempt, began(view, step), took(step))
    return table


def began(view: ExecutionView, step: StepView) -> str:
    """How long after the start."""
    return f"+{duration((step.started_at - view.started_at).total_seconds())}" if step.started_at else ""


def took(step: StepView) -> str:
    return "" if step.duration_seconds is None else duration(step.duration_seconds)


def duration(seconds: float) -> str:
    """Milliseconds, seconds, or days and hours: steps run for the first, people are waited for for the last."""
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def events_table(events: Sequence[EventView]) -> Table:
    """What happened, in order, by whom, and what matters of it."""
    table = new_table("#", "At (UTC)", "Event", "Step", "Actor", "Details")
    for event in events:
        at = f"{event.at:%Y-%m-%d %H:%M:%S.%f}"[:-3]
        add_row(table, str(event.position), at, event.type, event.step or "", event.actor, details(event.data))
    return table


def details(data: Mapping[str, Any]) -> str:
    """What an event's data says to a person; all of it is in the JSON."""
    known = {name: value for name, value in data.items() if value and (name, value) != FIRST_ATTEMPT}
    if "kind" in known:
        known["problem"] = f"{data['kind']}: {data['message']}"
    said = ", ".join(show(known[name]) for name, show in DETAILS.items() if name in known)
    return said if len(said) <= LONGEST_DETAIL else f"{said[: LONGEST_DETAIL - 1]}…"


def _names(names: Sequence[str]) -> str:
    return " and ".join(names)


def _moment(text: str) -> str:
    return f"until {datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S}"


FIRST_ATTEMPT: Final = ("attempt", 1)
CAUSES: Final = {"failed": "because it failed", "cancelled": "because it was cancelled"}
# In the order in which they are said.
DETAILS: Final[Mapping[str, Callable[[Any], str]]] = {
    "attempt": "attempt {}".format,
    "rerun_of": "reruns {}".format,
    "from_step": "from {}".format,
    "cause": CAUSES.__getitem__,
    "steps": _names,
    "dispatched": _names,
    "timer": str,
    "approval": str,
    "assignee": "asks {}".format,
    "fires_at": _moment,
    "expires_at": _moment,
    "problem": str,
    "delay_seconds": "again in {:.1f} s".format,
    "reason": "“{}”".format,
}


def new_table(*columns: str) -> Table:
    return Table(*columns, box=None, pad_edge=False)


def add_row(table: Table, *cells: str | Text) -> None:
    table.add_row(*(Text(on_one_line(cell)) if isinstance(cell, str) else cell for cell in cells))
