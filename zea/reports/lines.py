"""Lines: sessions as they were when a run of a report copied them, and what they come to."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    TIMESTAMP,
    ColumnElement,
    Date,
    Insert,
    Row,
    Select,
    Text,
    Uuid,
    bindparam,
    cast,
    func,
    insert,
    select,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from zea.accounts.models import User
from zea.bookings.models import HELD, Booking, BookingStatus
from zea.db import connection
from zea.reports.models import ReportLine
from zea.reports.schemas import CoachTotal, WeekTotal

LINES_AT_ONCE = 10_000
# Farther than any zone's midnight is from that of UTC.
ANY_OFFSET = timedelta(days=1)
COPIED = (
    *("fetch_id", "line_number", "booking_id", "coach_id", "coach_name"),
    *("held_on", "began_at", "ended_at", "duration_minutes", "status"),
)
WEEK = func.to_char(ReportLine.held_on, 'IYYY-"W"IW', type_=Text)
Column = ColumnElement[Any] | InstrumentedAttribute[Any]


class Total(NamedTuple):
    """What lines come to, in minutes, and how many of the sessions still wait for feedback."""

    minutes: int
    sessions: int
    awaiting_feedback: int


def copy(db: Session, fetch_id: UUID, start_date: date, end_date: date, coach_id: UUID | None, zone: str) -> int:
    """Copy every session whose day, on that zone's calendar, lies in the period; answers how many there are.

    One statement: it sees all sessions as they were at one moment.
    """
    copied = connection(db).execute(_copy(start_date, end_date, coach_id), {"fetch_id": fetch_id, "zone": zone})
    return copied.rowcount


def _copy(start_date: date, end_date: date, coach_id: UUID | None) -> Insert:
    """Numbered in the order in which the sessions began."""
    began_at = Booking.actual_start_time
    held_on = cast(func.timezone(bindparam("zone", type_=Text), began_at), Date)
    sessions = (
        select(
            bindparam("fetch_id", type_=Uuid),
            func.row_number().over(order_by=(began_at, Booking.id)),
            *(Booking.id, Booking.coach_id, User.name, held_on, began_at, Booking.actual_end_time),
            *(Booking.actual_duration_minutes, Booking.status),
        )
        .join(User, User.id == Booking.coach_id)
        .where(HELD, *_near(start_date, end_date), held_on.between(start_date, end_date))
    )
    whose = sessions if coach_id is None else sessions.where(Booking.coach_id == coach_id)
    return insert(ReportLine).from_select(COPIED, whose)


def _near(start_date: date, end_date: date) -> tuple[ColumnElement[bool], ...]:
    """What an index can look up. It is wider than the period: the day on the zone's calendar decides."""
    begin = func.timezone("UTC", cast(start_date, TIMESTAMP)) - ANY_OFFSET
    end = func.timezone("UTC", cast(end_date, TIMESTAMP)) + 2 * ANY_OFFSET
    return Booking.actual_start_time >= begin, Booking.actual_start_time < end


def total(db: Session, fetch_id: UUID) -> Total:
    """What all lines come to."""
    awaiting = func.count().filter(ReportLine.status == BookingStatus.COMPLETED.value)
    return Total(*connection(db).execute(_totals(fetch_id, awaiting)).one())


def weeks(db: Session, fetch_id: UUID) -> list[WeekTotal]:
    """What the lines of each ISO week come to; earliest first, weeks without a session left out."""
    found = connection(db).execute(_totals(fetch_id, WEEK.label("week")).group_by(WEEK).order_by(WEEK))
    return [WeekTotal(each.week, each.sessions, each.minutes, hours(each.minutes)) for each in found]


def coaches(db: Session, fetch_id: UUID) -> list[CoachTotal]:
    """What each coach's lines come to; by name, and by id where two share one."""
    who = (ReportLine.coach_name, ReportLine.coach_id)
    found = connection(db).execute(_totals(fetch_id, *who).group_by(*who).order_by(*who))
    return [
        CoachTotal(each.coach_id, each.coach_name, each.sessions, each.minutes, hours(each.minutes)) for each in found
    ]


def _totals(fetch_id: UUID, *more: Column) -> Select[*tuple[Any, ...]]:
    minutes = func.coalesce(func.sum(ReportLine.duration_minutes), 0).label("minutes")
    return select(minutes, func.count().label("sessions"), *more).where(ReportLine.fetch_id == fetch_id)


def hours(minutes: int) -> float:
    """With two decimals. What is summed is minutes, so that nothing is rounded twice."""
    return round(minutes / 60, 2)


def pages(db: Session, fetch_id: UUID, zone: str) -> Iterator[Sequence[Row[*tuple[Any, ...]]]]:
    """The rows of the report's file, so many at a time that memory stays the same however long it is."""
    after = 0
    while page := connection(db).execute(_rows(fetch_id, after, zone)).all():
        yield page
        after += LINES_AT_ONCE


def _rows(fetch_id: UUID, after: int, zone: str) -> Select[*tuple[Any, ...]]:
    """In the order of `zea.reports.csv_file.COLUMNS`."""
    columns = (
        *(ReportLine.booking_id, ReportLine.coach_id, ReportLine.held_on, ReportLine.duration_minutes),
        *(ReportLine.coach_name, WEEK, _on_clock(zone, ReportLine.began_at), _on_clock(zone, ReportLine.ended_at)),
        ReportLine.status,
    )
    wanted = ReportLine.line_number.between(after + 1, after + LINES_AT_ONCE)
    return select(*columns).where(ReportLine.fetch_id == fetch_id, wanted).order_by(ReportLine.line_number)


def _on_clock(zone: str, moment: InstrumentedAttribute[datetime]) -> ColumnElement[str]:
    """The moment as a clock on the wall of that zone shows it."""
    return func.to_char(func.timezone(zone, moment), "YYYY-MM-DD HH24:MI:SS", type_=Text)
