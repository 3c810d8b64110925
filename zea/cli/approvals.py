"""`zea approvals`, `zea approve` and `zea reject`: what people are asked, and answers in their place."""

import json
import sys
from dataclasses import asdict
from typing import Annotated, Any
from uuid import UUID

import typer

from workflows.engine.status import ExecutionView
from zea.cli import display
from zea.cli.executions import AsJson, Cursor, Limit, client
from zea.cli.interventions import Reason, actor, intervention

app = typer.Typer()

ApprovalId = Annotated[UUID, typer.Argument(metavar="ID", help="The approval's id.")]
Data = Annotated[str, typer.Option(metavar="JSON", help="The answer; - reads it from standard input.")]


@app.command("approvals", epilog="Example: zea approvals --pending")
def list_approvals(
    pending: Annotated[bool, typer.Option("--pending", help="Only those that are not decided.")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List what people are asked: what is pending first, and otherwise the newest."""
    page = client.list_approvals(pending=pending, limit=limit, cursor=cursor)
    if as_json:
        display.print_json(asdict(page))
        return
    display.print_table(display.approvals_table(page.items))
    if page.next_cursor:
        display.print_line(f"More: add --cursor {page.next_cursor}")


@app.command(epilog='Example: zea approve ID --data \'{"rating": 5, "objectives_met": true}\'')
def approve(approval_id: ApprovalId, data: Data = "{}", as_json: AsJson = False) -> None:
    """Give the answer that an approval asks for, in the place of whoever is asked."""
    answer = _answer(sys.stdin.read() if data == "-" else data)
    with intervention() as db:
        view = client.approve(approval_id, answer, actor=actor(), db=db)
    _print(view, f"Approved {approval_id}: {view.execution_id} is {view.status}.", as_json)


@app.command(epilog='Example: zea reject ID --reason "the coach has left"')
def reject(approval_id: ApprovalId, reason: Reason, as_json: AsJson = False) -> None:
    """Have the execution go on without an answer, or fail, as its workflow says."""
    with intervention() as db:
        view = client.reject(approval_id, actor=actor(), reason=reason, db=db)
    _print(view, f"Rejected {approval_id}: {view.execution_id} is {view.status}.", as_json)


def _answer(written: str) -> dict[str, Any]:
    """The answer as an object.

    Raises:
        BadParameter: it is none.
    """
    try:
        answer = json.loads(written)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"this is no JSON: {error}", param_hint="--data") from None
    if not isinstance(answer, dict):
        raise typer.BadParameter('write an object, as in {"rating": 5}', param_hint="--data")
    return answer


def _print(view: ExecutionView, done: str, as_json: bool) -> None:
    if as_json:
        display.print_json(asdict(view))
    else:
        display.print_line(f"{done} Follow it: zea watch {view.execution_id}")
