"""`zea cancel` and `zea rerun`: what operators do to executions."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated
from uuid import UUID

import typer
from sqlalchemy.orm import Session

from workflows.catalog import registry
from workflows.engine.client import ExecutionClient
from workflows.engine.models import ExecutionStatus
from workflows.engine.status import ExecutionView
from zea.cli import display
from zea.cli.executions import AsJson, ExecutionId
from zea.db import transaction
from zea.errors import InvalidInput

app = typer.Typer()
client = ExecutionClient(registry)

OPTIONS = {"reason": "--reason", "from_step": "--from", "data": "--data"}

Reason = Annotated[str, typer.Option(metavar="WHY", help="Why, for whoever reads its events.")]


@app.command(epilog='Example: zea cancel ID --reason "booked by mistake"')
def cancel(execution_id: ExecutionId, reason: Reason, as_json: AsJson = False) -> None:
    """End an execution that has not ended, and undo what was completed."""
    with intervention() as db:
        view = client.cancel(execution_id, actor=actor(), reason=reason, db=db)
    undoing = "; what was completed is being undone" if view.status == ExecutionStatus.COMPENSATING else ""
    _print(view, f"Cancelled {execution_id}{undoing}.", as_json)


@app.command(epilog='Example: zea rerun ID --from notify_coach --reason "the coach was not told"')
def rerun(
    execution_id: ExecutionId,
    reason: Reason,
    from_step: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="STEP", help="Begin at this step, or the block it is in; keep what was done before it."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Begin a new execution with the inputs of one that has ended."""
    with intervention() as db:
        started = client.rerun(execution_id, actor=actor(), reason=reason, from_step=from_step, db=db)
    if as_json:
        display.print_json({"execution_id": started.execution_id})
    else:
        beginning = f" from {from_step}" if from_step else ""
        print_done(f"Reruns {execution_id}{beginning} as {started.execution_id}.", started.execution_id)


def actor() -> str:
    """Who calls, as the operating system has them."""
    user_id = os.getuid()
    try:
        return f"cli:{pwd.getpwuid(user_id).pw_name}"
    except KeyError:
        return f"cli:{user_id}"


@contextmanager
def intervention() -> Iterator[Session]:
    """A transaction for one intervention; what is wrong with an option's value is a usage error.

    Raises:
        FingerprintChanged: this release has other definitions than those that the executions run on.
    """
    try:
        with transaction() as db:
            registry.verify(db)
            yield db
    except InvalidInput as error:
        option, _, within = (error.field or "").partition(".")
        said = f"{within}: {error.message}" if within else error.message
        # It may name a field as it was written, by whoever wrote it.
        raise typer.BadParameter(display.on_one_line(said), param_hint=OPTIONS.get(option)) from None


def _print(view: ExecutionView, done: str, as_json: bool) -> None:
    if as_json:
        display.print_json(asdict(view))
    else:
        print_done(done, view.execution_id)


def print_done(done: str, execution_id: UUID) -> None:
    """What was done, and how to follow what comes of it."""
    display.print_line(f"{done} Follow it: zea status {execution_id}")
