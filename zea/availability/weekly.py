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
    for number in range((hours.end - hours.start) // hours.slot):
        wall = begin + hours.start + number * hours.slot
        starts_at = moment(wall, zone)
        if starts_at and not _reaches_over(starts_at + hours.slot, wall + hours.slot, zone):
            yield Period(starts_at, starts_at + hours.slot)


def _reaches_over(ends_at: datetime, wall: datetime, zone: ZoneInfo) -> bool:
    """Whether the slot's last moment is later than its hours say: it reaches over an hour that is missing."""
    last = (ends_at - datetime.resolution).astimezone(zone).replace(tzinfo=None, fold=0)
    return last >= wall


def moment(wall: datetime, zone: ZoneInfo) -> datetime | None:
    """When a clock on the wall of that zone shows this: the first time if it does so twice, None if it never does."""
    at = wall.replace(tzinfo=zone).astimezone(UTC)
    return at if at.astimezone(zone).replace(tzinfo=None, fold=0) == wall else None
