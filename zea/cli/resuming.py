"""`zea resume`: lets failed executions go on, one by its id, or all that failed for one reason."""

from collections.abc import Iterator
from typing import Annotated, Any
from uuid import UUID

import typer

from workflows.engine.models import ExecutionStatus
from workflows.engine.search import Filter
from workflows.engine.status import ExecutionSummary
from zea.cli import display
from zea.cli.app import REFUSED
from zea.cli.executions import AsJson, client
from zea.cli.interventions import actor, intervention, print_done
from zea.errors import ZeaError

app = typer.Typer()

PAGE = 200


@app.command(epilog='Example: zea resume ID --reason "the disk has space again"')
def resume(
    execution_id: Annotated[UUID | None, typer.Argument(metavar="[ID]", help="The execution's id.")] = None,
    error_kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="All that failed with this kind of error, instead of one.")
    ] = None,
    reason: Annotated[str | None, typer.Option(metavar="WHY", help="Why, for whoever reads its events.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Resume them; without it they are only shown.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let a failed execution go on at what failed; or all that failed alike, shown first and resumed with --yes."""
    if (execution_id is None) == (error_kind is None):
        raise typer.BadParameter("name one execution, or an --error-kind")
    if execution_id is not None:
        _resume_one(execution_id, reason, as_json)
        return
    failed = list(_failed(error_kind))
    if yes:
        _resume_all(failed, reason, as_json)
    else:
        _show(failed, error_kind, as_json)


def _resume_one(execution_id: UUID, reason: str | None, as_json: bool) -> None:
    with intervention() as db:
        view = client.resume(execution_id, actor=actor(), reason=reason, db=db)
    if as_json:
        display.print_json(view)
        return
    print_done(f"Resumed {execution_id}: it is {view.status}, next is {view.current_step_name}.", execution_id)


def _failed(error_kind: str | None) -> Iterator[ExecutionSummary]:
    """All of them, newest first; what is resumed meanwhile is not among those that follow."""
    cursor = None
    while True:
        page = client.list_executions(Filter(status=ExecutionStatus.FAILED, error_kind=error_kind), PAGE, cursor)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return


def _show(failed: list[ExecutionSummary], error_kind: str | None, as_json: bool) -> None:
    if as_json:
        display.print_json({"items": failed, "next_cursor": None})
        return
    display.print_table(display.executions_table(failed))
    advice = f" To resume them: zea resume --error-kind {error_kind} --reason WHY --yes" if failed else ""
    display.print_line(f"{len(failed)} failed like this; nothing was changed.{advice}")


def _resume_all(failed: list[ExecutionSummary], reason: str | None, as_json: bool) -> None:
    """Each in a transaction of its own: one that cannot be resumed stops no other."""
    outcomes = [_attempted(each.execution_id, reason) for each in failed]
    refused = [each for each in outcomes if each["error"]]
    if as_json:
        display.print_json({"items": outcomes, "next_cursor": None})
    else:
        for each in refused:
            display.print_line(str(each["error"]), "red")
        display.print_line(f"Resumed {len(outcomes) - len(refused)} of {len(outcomes)}. Follow them: zea active")
    if refused:
        raise typer.Exit(REFUSED)


def _attempted(execution_id: UUID, reason: str | None) -> dict[str, Any]:
    try:
        with intervention() as db:
            view = client.resume(execution_id, actor=actor(), reason=reason, db=db)
    except ZeaError as error:
        return {"execution_id": execution_id, "status": None, "error": error.message}
    return {"execution_id": execution_id, "status": view.status, "error": None}
