"""Weekly hours: the periods that a rule on a wall clock stands for, whether or not clocks are changed. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from zea.availability.periods import Period

WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class WeeklyHours:
    """Slots on one day of each week, on the coach's own clock.

    ``weekday`` is 1 for Monday to 7 for Sunday (ISO 8601); ``start`` and ``end`` count from midnight; both days from
    ``first_on`` to ``last_on`` are included.
    """

    weekday: int
    start: timedelta
    end: timedelta
    slot: timedelta
    first_on: date
    last_on: date


def periods(hours: WeeklyHours, zone: ZoneInfo) -> Iterator[Period]:
    """The slots, earliest first. What is left of the hours after the last whole slot is not offered."""
    for day in _days(hours):
        yield from _of_day(hours, day, zone)


def _days(hours: WeeklyHours) -> Iterator[date]:
    day = hours.first_on + timedelta(days=(hours.weekday - hours.first_on.isoweekday()) % 7)
    while day <= hours.last_on:
        yield day
        day += WEEK


def _of_day(hours: WeeklyHours, day: date, zone: ZoneInfo) -> Iterator[Period]:
    begin = datetime.combine(day, time())
    free_from = datetime.min.replace(tzinfo=UTC)
    for number in range((hours.end - hours.start) // hours.slot):
        starts_at = moment(begin + hours.start + number * hours.slot, zone)
        # Where clocks are put forward, a slot reaches over the hour that is missing and into the next one.
        if starts_at is None or starts_at < free_from:
            continue
        free_from = starts_at + hours.slot
        yield Period(starts_at, free_from)


def moment(wall: datetime, zone: ZoneInfo) -> datetime | None:
    """When a clock on the wall of that zone shows this: the first time if it does so twice, None if it never does."""
    at = wall.replace(tzinfo=zone).astimezone(UTC)
    return at if at.astimezone(zone).replace(tzinfo=None, fold=0) == wall else None
