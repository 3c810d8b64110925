"""`zea archive`: moves what ended long ago into a file, removes what has outlived its use, and shows what is kept."""

import re
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import typer
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from workflows.catalog import registry
from workflows.engine import archive as engine
from zea.accounts import sign_ins
from zea.api import idempotency
from zea.bookings import answers
from zea.cli import display
from zea.cli.archive_file import ArchiveFile, find_line
from zea.cli.executions import AsJson, ExecutionId
from zea.config import Duration, settings
from zea.db import transaction

app = typer.Typer()

# No request's Idempotency-Key may stand for an execution that is gone, and keys are kept for a day.
SHORTEST: Final = idempotency.KEPT
LONGEST: Final = timedelta(days=36_500)
DAYS: Final = re.compile(r"(\d{1,6})d", re.ASCII)
PRUNED_AT_ONCE: Final = 1000


def age(text: str) -> timedelta:
    """As ``90d``, as an ISO 8601 duration, or in seconds."""
    days = DAYS.fullmatch(text)
    try:
        given: timedelta = TypeAdapter(Duration).validate_python(f"P{days[1]}D" if days else text)
    except ValidationError:
        raise typer.BadParameter("write it as 90d, as P90D or in seconds") from None
    if not SHORTEST <= given <= LONGEST:
        raise typer.BadParameter("it is a day at the least, and a hundred years at the most")
    return given


@app.callback(invoke_without_command=True, epilog="Example: zea archive --older-than 90d --yes")
def archive(
    context: typer.Context,
    older_than: Annotated[
        timedelta | None,
        typer.Option(parser=age, metavar="AGE", help="What ended longer ago than this: 90d, P90D or seconds."),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where the file is kept; a folder of ZEA_DATA_DIR if left out."),
    ] = None,
    failed_too: Annotated[
        bool, typer.Option("--failed-too", help="Also what failed and could be resumed; it cannot be, afterwards.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without it, it is only shown what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Move executions that ended long ago, with their events, into a compressed file of JSON lines.

    Idempotency keys and refresh tokens whose time is over are removed along with them. Personal values are erased, not
    kept.
    """
    if context.invoked_subcommand:
        return
    if older_than is None:
        raise typer.BadParameter("state how old, as --older-than 90d, or show what is in a file: zea archive show")
    old = engine.older_than(older_than, failed_too=failed_too)
    if yes:
        _archive(old, to or settings().data_dir / "archive", as_json)
    else:
        _show_what_may_go(old, as_json)


def _show_what_may_go(old: engine.Old, as_json: bool) -> None:
    groups = engine.count(old)
    number = sum(each.number for each in groups)
    if as_json:
        items = [each._asdict() for each in groups]
        display.print_json({"ended_before": old.before, "executions": number, "file": None, "items": items})
        return
    if groups:
        table = display.new_table("Workflow", "Status", "Executions")
        for each in groups:
            display.add_row(table, each.workflow, display.coloured(each.status), str(each.number))
        display.print_table(table)
    advice = " To archive them, add --yes." if groups else ""
    display.print_line(f"{number} ended before {old.before:%Y-%m-%d %H:%M:%S} UTC; nothing was changed.{advice}")


def _archive(old: engine.Old, folder: Path, as_json: bool) -> None:
    # First what needs no room: the disk may be full.
    keys, tokens = _prune(idempotency.prune), _prune(sign_ins.prune)
    file = ArchiveFile(folder)
    number = engine.archive(old, file.append, answers.forget)
    if as_json:
        done = {"ended_before": old.before, "executions": number, "file": file.path}
        display.print_json({**done, "idempotency_keys": keys, "refresh_tokens": tokens})
        return
    where = f" in {file.path}" if file.path else ""
    display.print_line(f"Archived {number} executions{where}.")
    display.print_line(f"Removed {keys} idempotency keys and {tokens} refresh tokens whose time was over.")


def _prune(prune: Callable[[Session, int], int]) -> int:
    """Batch by batch, so that nobody waits for long."""
    removed = 0
    while True:
        with transaction() as db:
            batch = prune(db, PRUNED_AT_ONCE)
        removed += batch
        if batch < PRUNED_AT_ONCE:
            return removed


@app.command(epilog="Example: zea archive show .zea/archive/FILE ID")
def show(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="An archived file.")],
    execution_id: ExecutionId,
    as_json: AsJson = False,
) -> None:
    """Show an archived execution and its events, as `zea status` and `zea events` showed them."""
    archived = engine.read_back(find_line(file, execution_id), registry)
    if as_json:
        execution, events = asdict(archived.execution), [asdict(event) for event in archived.events]
        display.print_json({"execution": execution, "events": events})
        return
    display.print_execution(archived.execution)
    display.print_table(display.events_table(archived.events))
