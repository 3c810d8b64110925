"""Payment reports: what coaches are paid for a period. Lines are copied once, and all that follows reads only those."""

from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import DateTime, exists, func, insert, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from zea.accounts.models import Role, User
from zea.bookings.models import HELD, Booking
from zea.config import settings
from zea.context import StepContext
from zea.db import connection
from zea.errors import InvalidInput
from zea.reports import lines
from zea.reports.csv_file import Packer, render
from zea.reports.models import PaymentReport, ReportFilePart, ReportRevision
from zea.reports.periods import check_period, csv_name_of, report_id_of
from zea.reports.schemas import CoachTotal, Period, Summary, WeekTotal


@dataclass(frozen=True, slots=True)
class FetchedSessions:
    """Under which id the lines were copied, when, on whose calendar their dates are, and how many there are."""

    fetch_id: UUID
    data_at: datetime
    timezone: str
    fetched_sessions: int


@dataclass(frozen=True, slots=True)
class Hours:
    """What all sessions come to; hours are the summed minutes / 60, with two decimals."""

    total_minutes: int
    total_hours: float
    total_sessions: int
    average_session_minutes: float
    sessions_awaiting_feedback: int


@dataclass(frozen=True, slots=True)
class Weeks:
    """The weeks in which there were sessions, earliest first."""

    weekly_breakdown: list[WeekTotal]


@dataclass(frozen=True, slots=True)
class GeneratedReport:
    """The whole report, as it is saved."""

    report_id: str
    period: Period
    summary: Summary
    coaches: list[CoachTotal]
    weekly_breakdown: list[WeekTotal]
    generated_at: datetime


@dataclass(frozen=True, slots=True)
class SavedReport:
    """Which of the report's revisions this run has made."""

    revision: int


@dataclass(frozen=True, slots=True)
class ExportedReport:
    """The revision's file: what it is called, and its size, as it is and compressed."""

    csv_name: str
    csv_bytes: int
    csv_compressed_bytes: int


# Steps


def fetch_sessions(
    db: Session, *, ctx: StepContext, start_date: date, end_date: date, coach_id: UUID | None
) -> FetchedSessions:
    """Copy what was completed in the period, in one statement; what is completed later is in the next revision.

    Runs of one period copy one after the other, so that the one whose moment is later has the newer data.
    """
    report_id = _open(db, start_date, end_date, coach_id)
    data_at = _hold(db, report_id).held_at
    zone = settings().timezone
    fetched = lines.copy(db, ctx.execution_id, start_date, end_date, coach_id, zone)
    return FetchedSessions(ctx.execution_id, data_at, zone, fetched)


def calculate_hours(db: Session, *, fetch_id: UUID) -> Hours:
    """What all lines come to."""
    total = lines.total(db, fetch_id)
    return Hours(
        total_minutes=total.minutes,
        total_hours=lines.hours(total.minutes),
        total_sessions=total.sessions,
        average_session_minutes=round(total.minutes / max(total.sessions, 1), 2),
        sessions_awaiting_feedback=total.awaiting_feedback,
    )


def group_by_week(db: Session, *, fetch_id: UUID) -> Weeks:
    """What the lines of each ISO week come to, on the business zone's calendar."""
    return Weeks(lines.weeks(db, fetch_id))


def generate_report(
    db: Session,
    *,
    ctx: StepContext,
    fetch_id: UUID,
    start_date: date,
    end_date: date,
    coach_id: UUID | None,
    timezone: str,
    total_hours: float,
    total_sessions: int,
    average_session_minutes: float,
    sessions_awaiting_feedback: int,
    weekly_breakdown: list[WeekTotal],
) -> GeneratedReport:
    """Put it together, with what each coach is paid for."""
    return GeneratedReport(
        report_id=report_id_of(start_date, end_date, coach_id),
        period=Period(start_date, end_date, timezone),
        summary=Summary(total_hours, total_sessions, average_session_minutes, sessions_awaiting_feedback),
        coaches=lines.coaches(db, fetch_id),
        weekly_breakdown=weekly_breakdown,
        generated_at=ctx.now,
    )


def save_to_db(
    db: Session,
    *,
    ctx: StepContext,
    fetch_id: UUID,
    data_at: datetime,
    report_id: str,
    period: Period,
    summary: Summary,
    coaches: list[CoachTotal],
    weekly_breakdown: list[WeekTotal],
    generated_at: datetime,
) -> SavedReport:
    """Make the next revision of it, which is the current one if no other has newer data."""
    report = _hold(db, report_id)
    revision = report.latest_revision + 1
    saved = {
        "report_id": report_id,
        "revision": revision,
        "execution_id": ctx.execution_id,
        "fetch_id": fetch_id,
        "data_at": data_at,
        "generated_at": generated_at,
        "timezone": period.timezone,
        "summary": asdict(summary),
        "coaches": [asdict(each) | {"coach_id": str(each.coach_id)} for each in coaches],
        "weekly_breakdown": [asdict(each) for each in weekly_breakdown],
    }
    connection(db).execute(insert(ReportRevision), saved)
    is_newest = report.current_data_at is None or data_at >= report.current_data_at
    current = {"current_revision": revision} if is_newest else {}
    connection(db).execute(
        update(PaymentReport).where(PaymentReport.report_id == report_id).values(latest_revision=revision, **current)
    )
    return SavedReport(revision)


def export_csv(db: Session, *, fetch_id: UUID, timezone: str, report_id: str, revision: int) -> ExportedReport:
    """Write the revision's file, which is kept in the database: every process of the system can hand it out.

    One that is there stays as it is: it is made of the same lines.
    """
    if exported := _exported(db, report_id, revision):
        return exported
    packer, compressed = Packer(), 0
    for number, part in enumerate(packer.parts(render(lines.pages(db, fetch_id, timezone)))):
        compressed += len(part)
        stored = {"report_id": report_id, "revision": revision, "part": number, "content": part}
        connection(db).execute(insert(ReportFilePart), stored)
    connection(db).execute(
        update(ReportRevision)
        .where(ReportRevision.report_id == report_id, ReportRevision.revision == revision)
        .values(csv_bytes=packer.size, csv_compressed_bytes=compressed, csv_sha256=packer.sha256)
    )
    return ExportedReport(csv_name_of(report_id), packer.size, compressed)


def _exported(db: Session, report_id: str, revision: int) -> ExportedReport | None:
    wanted = (ReportRevision.report_id == report_id, ReportRevision.revision == revision)
    sizes = select(ReportRevision.csv_bytes, ReportRevision.csv_compressed_bytes).where(*wanted)
    size, compressed = connection(db).execute(sizes).one()
    if size is None or compressed is None:
        return None
    return ExportedReport(csv_name_of(report_id), size, compressed)


# Asking for one


def check_request(db: Session, start_date: date, end_date: date, coach_id: UUID | None) -> None:
    """Pass for what a report can be made of.

    Raises:
        InvalidInput: the period ends before it starts or is longer than a year, or there was never such a coach.
    """
    check_period(start_date, end_date)
    if coach_id is not None and not _has_coached(db, coach_id):
        raise InvalidInput("There is no such coach: leave it out for all of them.", "coach_id")


def _has_coached(db: Session, coach_id: UUID) -> bool:
    """Who is no coach any more may still have to be paid."""
    held = exists().where(Booking.coach_id == coach_id, HELD)
    found = select(User.id).where(User.id == coach_id, (User.role == Role.COACH.value) | held)
    return db.scalar(found) is not None


# Their parts


class Held(NamedTuple):
    """A report that nobody else changes until the transaction ends, and the moment since when."""

    latest_revision: int
    current_data_at: datetime | None
    held_at: datetime


def _open(db: Session, start_date: date, end_date: date, coach_id: UUID | None) -> str:
    """The report's id. The report is made by the first run that comes to it."""
    report_id = report_id_of(start_date, end_date, coach_id)
    opening = postgresql.insert(PaymentReport).on_conflict_do_nothing(index_elements=[PaymentReport.report_id])
    report = {"report_id": report_id, "start_on": start_date, "end_on": end_date, "coach_id": coach_id}
    connection(db).execute(opening, report)
    return report_id


def _hold(db: Session, report_id: str) -> Held:
    wanted = PaymentReport.report_id == report_id
    connection(db).execute(select(PaymentReport.id).where(wanted).with_for_update(key_share=True))
    # In a statement of its own: the one that waited for the row saw what was there when it began to wait.
    current = (ReportRevision.report_id == report_id) & (ReportRevision.revision == PaymentReport.current_revision)
    held = (
        select(
            PaymentReport.latest_revision,
            ReportRevision.data_at,
            func.clock_timestamp(type_=DateTime(timezone=True)),
        )
        .outerjoin(ReportRevision, current)
        .where(wanted)
    )
    return Held(*connection(db).execute(held).one())
