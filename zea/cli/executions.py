"""`zea list`, `zea status` and `zea events`: what runs, what ended how, and what happened."""

import json
from dataclasses import asdict
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from workflows.catalog import registry
from workflows.engine.client import ExecutionClient
from workflows.engine.models import ExecutionStatus, StepStatus
from workflows.engine.status import ExecutionView
from workflows.engine.store import Filter

app = typer.Typer()
client = ExecutionClient(registry)

COLOURS = {"completed": "green", "failed": "red", "cancelled": "red", "pending": "dim", "skipped": "dim"}

ExecutionId = Annotated[UUID, typer.Argument(metavar="ID", help="The execution's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_executions(
    status: Annotated[ExecutionStatus | None, typer.Option(help="Only those that stand like this.")] = None,
    workflow: Annotated[str | None, typer.Option(help="Only of this workflow, as zea_sport.BookingRequest.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only about this, as booking:ID.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many at the most.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="The next_cursor of the page before.")] = None,
    as_json: AsJson = False,
) -> None:
    """List executions, newest first."""
    page = client.list_executions(Filter(status=status, workflow=workflow, subject=subject), limit, cursor)
    if as_json:
        print_json(asdict(page))
        return
    table = Table("Execution", "Workflow", "Status", "Step", "Done", "Subject", "Started", box=None, pad_edge=False)
    # An id that is cut off is of no use to the other commands.
    table.columns[0].min_width = len(str(UUID(int=0)))
    for each in page.items:
        table.add_row(
            str(each.execution_id),
            each.workflow_name.rsplit(".", 1)[-1],
            coloured(each.status),
            each.current_step_name or each.error_kind or "",
            f"{each.completed_steps}/{each.total_steps}",
            each.subject or "",
            f"{each.started_at:%Y-%m-%d %H:%M:%S}",
        )
    console().print(table)
    if page.next_cursor:
        console().print(f"More: add --cursor {page.next_cursor}", soft_wrap=True)


@app.command()
def status(execution_id: ExecutionId, as_json: AsJson = False) -> None:
    """Show one execution: its steps with their times, and why it failed."""
    view = client.get_execution_status(execution_id)
    if as_json:
        print_json(asdict(view))
        return
    console().print(f"{view.workflow_name} version {view.workflow_version}  {view.execution_id}", soft_wrap=True)
    console().print(
        f"{coloured(view.status)}, {view.progress_percentage:g} %, {view.elapsed_seconds:.3f} s"
        f"{f', {view.subject}' if view.subject else ''}, started by {view.started_by}",
        soft_wrap=True,
    )
    console().print(steps_table(view))
    if view.error:
        console().print(f"[red]{view.error.kind}[/]: {view.error.message}", soft_wrap=True)
    if view.error and view.error.traceback:
        console().print(view.error.traceback, markup=False, soft_wrap=True)


@app.command()
def events(execution_id: ExecutionId, as_json: AsJson = False) -> None:
    """Show what happened in an execution, oldest first."""
    found = client.events(execution_id)
    if as_json:
        print_json({"items": [asdict(event) for event in found], "next_cursor": None})
        return
    table = Table("#", "At (UTC)", "Event", "Step", "Actor", box=None, pad_edge=False)
    for event in found:
        table.add_row(str(event.position), f"{event.at:%H:%M:%S.%f}", event.type, event.step or "", event.actor)
    console().print(table)


def steps_table(view: ExecutionView) -> Table:
    """The steps with their status, when they began after the start, and how long they took."""
    table = Table("Step", "Status", "Attempt", "Began", "Took", box=None, pad_edge=False)
    for column in table.columns[2:]:
        column.justify = "right"
    for step in view.steps:
        began = f"+{(step.started_at - view.started_at).total_seconds() * 1000:.1f} ms" if step.started_at else ""
        took = f"{step.duration_seconds * 1000:.1f} ms" if step.duration_seconds is not None else ""
        attempt = "" if step.status == StepStatus.PENDING else str(step.attempt)
        table.add_row(step.step_name, coloured(step.status), attempt, began, took)
    return table


def coloured(status: str) -> str:
    return f"[{COLOURS.get(status, 'yellow')}]{status}[/]"


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, default=str, indent=2))


def console() -> Console:
    return Console(highlight=False)
