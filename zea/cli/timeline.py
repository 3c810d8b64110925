"""How an execution goes on a terminal: its steps as they happen, and how what it waited for came out."""

from collections.abc import Callable
from time import monotonic, sleep
from typing import Final

from pydantic import TypeAdapter
from rich.console import Console
from rich.live import Live
from rich.table import Table

from workflows.engine.models import ENDED
from workflows.engine.status import ApprovalView, ExecutionView
from zea.cli.display import began, coloured, duration, took
from zea.cli.people import PATIENCE_SECONDS, Caller, check

VIEW: Final = TypeAdapter(ExecutionView)
LOOK_AGAIN_SECONDS: Final = 0.1
OUTCOMES: Final = {
    "approved": "answered",
    "expired": "no answer in time",
    "rejected": "declined",
    "cancelled": "not asked any more",
}


def read(admin: Caller, execution_id: str) -> ExecutionView:
    """The execution as the API shows it to an admin."""
    return VIEW.validate_python(admin.get(f"/api/executions/{execution_id}"))


def wait(admin: Caller, execution_id: str, until: Callable[[ExecutionView], bool]) -> ExecutionView:
    """The execution once ``until`` holds.

    Raises:
        WalkFailed: it does not within half a minute.
    """
    return _look(admin, execution_id, until, lambda _: None)


def follow(console: Console, admin: Caller, execution_id: str) -> ExecutionView:
    """Show the execution's steps as they happen; answers it once it is completed.

    Raises:
        WalkFailed: it fails, or does not end within half a minute.
    """
    draw = _drawn_live if console.is_terminal else _drawn_at_the_end
    view = draw(console, admin, execution_id)
    check(view.status == "completed", f"execution {execution_id} is {view.status}: {view.error and view.error.message}")
    return view


def _drawn_live(console: Console, admin: Caller, execution_id: str) -> ExecutionView:
    with Live(console=console, auto_refresh=False) as live:
        return _look(admin, execution_id, _has_ended, lambda view: live.update(table(view), refresh=True))


def _drawn_at_the_end(console: Console, admin: Caller, execution_id: str) -> ExecutionView:
    view = wait(admin, execution_id, _has_ended)
    console.print(table(view))
    return view


def _has_ended(view: ExecutionView) -> bool:
    return view.status in ENDED


def _look(
    admin: Caller, execution_id: str, until: Callable[[ExecutionView], bool], show: Callable[[ExecutionView], None]
) -> ExecutionView:
    deadline = monotonic() + PATIENCE_SECONDS
    while True:
        view = read(admin, execution_id)
        show(view)
        if until(view):
            return view
        check(monotonic() < deadline, f"execution {execution_id} is still {view.status} after {PATIENCE_SECONDS} s")
        sleep(LOOK_AGAIN_SECONDS)


def table(view: ExecutionView) -> Table:
    """The steps: how each stands, when it began, how long it took and, if it waited for somebody, how that ended."""
    drawn = Table("Step", "Status", "Began", "Took", title=f"{view.workflow_name}  {view.execution_id}")
    for column in drawn.columns[2:]:
        column.justify = "right"
    waits = {each.step_name: wait_outcome(each) for each in view.approvals}
    if waits:
        drawn.add_column("Answer")
    for step in view.steps:
        answer = [waits.get(step.step_name, "")] if waits else []
        drawn.add_row(step.step_name, coloured(step.status), began(view, step), took(step), *answer)
    return drawn


def wait_outcome(approval: ApprovalView) -> str:
    """In a few words."""
    left = approval.remaining_seconds
    return OUTCOMES.get(approval.status, "") if left is None else f"{duration(left)} left"
