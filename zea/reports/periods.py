"""Periods of payment reports: what they are called, and which months are due. Pure."""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from zea.errors import InvalidInput

LONGEST_PERIOD = timedelta(days=366)
# Keeps a mistyped year out, and every date that is reckoned from it inside what Python can hold.
LAST_DAY = date(2999, 12, 31)
ALL_COACHES = "ALL_COACHES"
# When a month's report is begun, on the first day of the next month, in the business zone (domain.md, section 1).
BEGUN_AT = time(2)


def check_period(start_date: date, end_date: date) -> None:
    """Pass for a period that a report can be made of, both days included.

    Raises:
        InvalidInput: it ends before it starts, is longer than a year, or ends in another millennium.
    """
    if end_date < start_date:
        raise InvalidInput("The last day of a period is not before its first.", "end_date")
    if end_date > LAST_DAY:
        raise InvalidInput(f"A report ends by {LAST_DAY}: correct the year.", "end_date")
    if end_date - start_date >= LONGEST_PERIOD:
        raise InvalidInput("A report covers at most 366 days: make one for each year.", "end_date")


def report_id_of(start_date: date, end_date: date, coach_id: UUID | None) -> str:
    """What the report of a period is called, whoever makes it and however often."""
    return f"report-{coach_id or ALL_COACHES}-{start_date}-{end_date}"


def csv_name_of(report_id: str) -> str:
    return f"{report_id}.csv"


def month_of(moment: datetime, zone: ZoneInfo) -> date:
    """The first day of the month in which the moment lies, on that zone's calendar."""
    return moment.astimezone(zone).date().replace(day=1)


def last_day(month: date) -> date:
    return following(month) - timedelta(days=1)


def following(month: date) -> date:
    """The first day of the next month."""
    return (month.replace(day=1) + timedelta(days=32)).replace(day=1)


def months_due(first: date, now: datetime, zone: ZoneInfo) -> Iterator[date]:
    """The months from ``first`` on whose report is due by now, oldest first."""
    month = first
    while due_at(month, zone) <= now:
        yield month
        month = following(month)


def due_at(month: date, zone: ZoneInfo) -> datetime:
    """When the month's report is begun. Where clocks are changed at that hour, zone and calendar decide, not a cron."""
    return datetime.combine(following(month), BEGUN_AT, zone)
