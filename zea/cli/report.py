"""`zea report`: a payment report, made now, shown, and its file kept on this machine."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

import typer
from rich.table import Table
from sqlalchemy import select
from sqlalchemy.orm import Session

from workflows.engine.models import ExecutionStatus
from workflows.payment_report import ReportRequest, payment_report
from zea.accounts.models import User
from zea.accounts.service import email_key
from zea.cli import display
from zea.cli.app import REFUSED
from zea.cli.executions import AsJson, client
from zea.cli.interventions import actor
from zea.config import settings
from zea.db import transaction
from zea.errors import Busy, InvalidInput
from zea.reports import archive
from zea.reports.schemas import CoachTotal, ReportView, WeekTotal
from zea.reports.service import check_request

app = typer.Typer()

PATIENCE: Final = timedelta(minutes=10)
NO_SUCH_COACH: Final = InvalidInput("There is no such coach: leave --coach out for all of them.", "coach")


@app.command(epilog="Example: zea report --from 2026-01-01 --to 2026-01-31 --coach camila@example.com")
def report(
    start: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="The first day.")],
    end: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="The last day, included.")],
    coach: Annotated[str | None, typer.Option(help="Only of this coach: their id or email.")] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where the CSV is kept; a folder of ZEA_DATA_DIR if left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a payment report of a period, on the calendar of ZEA_TIMEZONE, and keep its file here."""
    execution_id = _begun(start.date(), end.date(), coach)
    view = client.wait(execution_id, PATIENCE, lambda view: view.completed_at is not None)
    if view.completed_at is None:
        raise Busy(f"It is not done yet, and goes on: zea watch {execution_id}")
    if view.status != ExecutionStatus.COMPLETED:
        display.print_execution(view)
        raise typer.Exit(REFUSED)
    with transaction() as db:
        found = archive.get_report(db, view.output["report_id"], view.output["revision"])
        file = archive.get_file(db, view.output["report_id"], view.output["revision"])
    made, path = ReportView.of(*found), keep(file.name, file.content(), output)
    if as_json:
        display.print_json({**made.model_dump(mode="json"), "csv_path": str(path)})
    else:
        show(made, path)


def _begun(start: date, end: date, coach: str | None) -> UUID:
    with transaction() as db:
        coach_id = _coach_id(db, coach) if coach else None
        check_request(db, start, end, coach_id)
        return client.start(payment_report, ReportRequest(start, end, coach_id), actor=actor(), db=db).execution_id


def _coach_id(db: Session, coach: str) -> UUID:
    if "@" in coach:
        found = db.scalar(select(User.id).where(User.email_key == email_key(coach)))
        if found is None:
            raise NO_SUCH_COACH
        return found
    try:
        return UUID(coach)
    except ValueError:
        raise NO_SUCH_COACH from None


def keep(name: str, content: Iterable[bytes], folder: Path | None = None) -> Path:
    """Write a report's file, in whole or not at all; answers where it is."""
    folder = folder or settings().data_dir / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    path = (folder / name).resolve()
    unfinished = path.with_name(f".{path.name}.unfinished")
    with unfinished.open("wb") as file:
        file.writelines(content)
    return unfinished.replace(path)


def show(made: ReportView, path: Path) -> None:
    """The report as tables, and where its file is."""
    period, summary = made.period, made.summary
    display.print_line(f"{made.report_id}, revision {made.revision}", "bold")
    display.print_line(
        f"{period.start_date} to {period.end_date} ({period.timezone}): {summary.total_sessions} sessions,"
        f" {summary.total_hours:.2f} h, {summary.average_session_minutes:g} min on average,"
        f" {summary.sessions_awaiting_feedback} awaiting feedback"
    )
    display.print_table(totals("Week", ((each.week, each) for each in made.weekly_breakdown)))
    display.print_table(totals("Coach", ((each.coach_name, each) for each in made.coaches)))
    display.print_line(f"CSV: {path}")


def totals(what: str, rows: Iterable[tuple[str, WeekTotal | CoachTotal]]) -> Table:
    """One line for each week, or each coach."""
    table = display.new_table(what, "Sessions", "Minutes", "Hours")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, total in rows:
        display.add_row(table, name, str(total.sessions), str(total.total_minutes), f"{total.total_hours:.2f}")
    return table
