"""`zea list`, `zea active`, `zea status` and `zea events`: what runs, what ended how, and what happened."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import typer

from workflows.catalog import registry
from workflows.engine.client import ExecutionClient, ExecutionPage
from workflows.engine.models import ExecutionStatus
from workflows.engine.search import Filter
from zea.cli import display

app = typer.Typer()
client = ExecutionClient(registry)

MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
ExecutionId = Annotated[UUID, typer.Argument(metavar="ID", help="The execution's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Limit = Annotated[int, typer.Option(min=1, max=200, help="How many at the most.")]
Cursor = Annotated[str | None, typer.Option(help="The next_cursor of the page before.")]


def workflow_names() -> list[str]:
    """What a shell completes the name of a workflow to."""
    return sorted({each.name for each in registry})


@app.command("list", epilog="Example: zea list --status failed --from 2026-11-24")
def list_executions(
    status: Annotated[ExecutionStatus | None, typer.Option(help="Only those that stand like this.")] = None,
    workflow: Annotated[
        str | None,
        typer.Option(help="Only of this workflow, as zea_sport.BookingRequest.", autocompletion=workflow_names),
    ] = None,
    subject: Annotated[str | None, typer.Option(help="Only about this, as booking:ID.")] = None,
    error_kind: Annotated[str | None, typer.Option(metavar="KIND", help="Only those that failed like this.")] = None,
    since: Annotated[
        datetime | None, typer.Option("--from", formats=MOMENTS, help="Started from then on, UTC.")
    ] = None,
    before: Annotated[datetime | None, typer.Option("--to", formats=MOMENTS, help="Started before then, UTC.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List executions, newest first."""
    wanted = Filter(status, workflow, subject, error_kind, since=_in_utc(since), before=_in_utc(before))
    _print(client.list_executions(wanted, limit, cursor), as_json)


def _in_utc(moment: datetime | None) -> datetime | None:
    return moment and moment.replace(tzinfo=UTC)


@app.command(epilog="Example: zea active")
def active(limit: Limit = 50, cursor: Cursor = None, as_json: AsJson = False) -> None:
    """List executions that have not ended, newest first."""
    _print(client.list_active_workflows(limit, cursor), as_json)


def _print(page: ExecutionPage, as_json: bool) -> None:
    if as_json:
        display.print_json(asdict(page))
    else:
        display.print_page(page)


@app.command(epilog="Example: zea status ID")
def status(execution_id: ExecutionId, as_json: AsJson = False) -> None:
    """Show one execution: its steps with their times, what it waits for, and why it failed or was cancelled."""
    view = client.get_execution_status(execution_id)
    if as_json:
        display.print_json(asdict(view))
    else:
        display.print_execution(view)


@app.command(epilog="Example: zea events ID --json")
def events(execution_id: ExecutionId, as_json: AsJson = False) -> None:
    """Show what happened in an execution, oldest first."""
    found = client.events(execution_id)
    if as_json:
        display.print_json({"items": [asdict(event) for event in found], "next_cursor": None})
    else:
        display.print_table(display.events_table(found))
