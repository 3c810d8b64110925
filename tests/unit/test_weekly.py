"""Weekly hours stay at the same hour of the wall's clock, whatever becomes of the clock."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zea.availability.weekly import WeeklyHours, moment, periods

MINUTE = timedelta(minutes=1)
ZONES = ["America/Santiago", "America/New_York", "Europe/Madrid", "Australia/Lord_Howe", "Asia/Kolkata"]


def hours(start: str, end: str, slot: int, first: str, last: str, weekday: int | None = None) -> WeeklyHours:
    return WeeklyHours(
        weekday=weekday or date.fromisoformat(first).isoweekday(),
        start=since_midnight(start),
        end=since_midnight(end),
        slot=slot * MINUTE,
        first_on=date.fromisoformat(first),
        last_on=date.fromisoformat(last),
    )


def since_midnight(clock: str) -> timedelta:
    return timedelta(hours=int(clock[:2]), minutes=int(clock[3:]))


def on_the_wall(rule: WeeklyHours, zone: str) -> list[str]:
    """When the slots begin, as the wall's clock shows it, and how far that is from UTC."""
    return [f"{each.starts_at.astimezone(ZoneInfo(zone)):%m-%d %H:%M %z}" for each in periods(rule, ZoneInfo(zone))]


@pytest.mark.parametrize(
    ("zone", "first", "expected"),
    [
        ("America/Santiago", "2026-03-29", ["03-29 09:00 -0300", "04-05 09:00 -0400", "04-12 09:00 -0400"]),
        ("America/Santiago", "2026-08-30", ["08-30 09:00 -0400", "09-06 09:00 -0300", "09-13 09:00 -0300"]),
        ("America/New_York", "2026-03-01", ["03-01 09:00 -0500", "03-08 09:00 -0400", "03-15 09:00 -0400"]),
        ("America/New_York", "2026-10-25", ["10-25 09:00 -0400", "11-01 09:00 -0500", "11-08 09:00 -0500"]),
        ("Europe/Madrid", "2026-03-22", ["03-22 09:00 +0100", "03-29 09:00 +0200", "04-05 09:00 +0200"]),
        ("Europe/Madrid", "2026-10-18", ["10-18 09:00 +0200", "10-25 09:00 +0100", "11-01 09:00 +0100"]),
    ],
)
def test_they_keep_their_hour_over_a_change_of_clocks(zone: str, first: str, expected: list[str]) -> None:
    last = date.fromisoformat(first) + timedelta(days=14)
    assert on_the_wall(hours("09:00", "10:00", 60, first, str(last)), zone) == expected


@pytest.mark.parametrize(
    ("zone", "day", "start", "end", "expected"),
    [
        # The hour from midnight on is missing.
        ("America/Santiago", "2026-09-06", "00:00", "03:00", ["09-06 01:00 -0300", "09-06 02:00 -0300"]),
        ("America/New_York", "2026-03-08", "01:00", "04:00", ["03-08 01:00 -0500", "03-08 03:00 -0400"]),
        ("Europe/Madrid", "2026-03-29", "01:00", "04:00", ["03-29 01:00 +0100", "03-29 03:00 +0200"]),
        # The hour comes twice.
        ("America/Santiago", "2026-04-04", "22:00", "24:00", ["04-04 22:00 -0300", "04-04 23:00 -0300"]),
        (
            *("America/New_York", "2026-11-01", "00:00", "03:00"),
            ["11-01 00:00 -0400", "11-01 01:00 -0400", "11-01 02:00 -0500"],
        ),
        (
            *("Europe/Madrid", "2026-10-25", "01:00", "04:00"),
            ["10-25 01:00 +0200", "10-25 02:00 +0200", "10-25 03:00 +0100"],
        ),
    ],
)
def test_there_is_none_in_a_missing_hour_and_one_in_a_doubled_one(
    zone: str, day: str, start: str, end: str, expected: list[str]
) -> None:
    rule = hours(start, end, 60, day, day)
    assert on_the_wall(rule, zone) == expected
    assert all(each.ends_at - each.starts_at == 60 * MINUTE for each in periods(rule, ZoneInfo(zone)))


def test_a_slot_that_would_reach_over_the_missing_hour_is_left_out() -> None:
    """From 01:30 on, 45 minutes are over when the clock shows 03:15: others may be offered by then."""
    rule = hours("00:00", "04:30", 45, "2026-03-29", "2026-03-29")
    assert [each[6:11] for each in on_the_wall(rule, "Europe/Madrid")] == ["00:00", "00:45", "03:00", "03:45"]
    assert on_the_wall(hours("01:00", "03:00", 120, "2026-03-29", "2026-03-29"), "Europe/Madrid") == []


def test_what_is_left_after_the_last_whole_slot_is_not_offered() -> None:
    assert len(list(periods(hours("09:00", "10:59", 60, "2026-01-05", "2026-01-05"), ZoneInfo("UTC")))) == 1
    assert list(periods(hours("09:00", "09:59", 60, "2026-01-05", "2026-01-05"), ZoneInfo("UTC"))) == []


def test_both_days_are_included_and_others_left_out() -> None:
    mondays = hours("09:00", "10:00", 60, "2026-01-05", "2026-01-19", weekday=1)
    assert [each.starts_at.day for each in periods(mondays, ZoneInfo("UTC"))] == [5, 12, 19]
    sundays = hours("09:00", "10:00", 60, "2026-01-05", "2026-01-17", weekday=7)
    assert [each.starts_at.day for each in periods(sundays, ZoneInfo("UTC"))] == [11]
    assert list(periods(hours("09:00", "10:00", 60, "2026-01-06", "2026-01-11", weekday=1), ZoneInfo("UTC"))) == []


RULES = st.builds(
    lambda weekday, start, length, slot, first, days: WeeklyHours(
        weekday, start * MINUTE, min(start + length, 1440) * MINUTE, slot * MINUTE, first, first + timedelta(days=days)
    ),
    weekday=st.integers(1, 7),
    start=st.integers(0, 1439),
    length=st.integers(1, 600),
    slot=st.integers(5, 180),
    first=st.dates(date(2024, 1, 1), date(2030, 12, 31)),
    days=st.integers(0, 60),
)


@given(RULES, st.sampled_from(ZONES))
def test_every_slot_is_on_its_day_at_its_hour_and_in_nobodys_way(rule: WeeklyHours, zone: str) -> None:
    found = list(periods(rule, ZoneInfo(zone)))
    for each in found:
        wall = each.starts_at.astimezone(ZoneInfo(zone))
        assert (wall.isoweekday(), wall.fold) == (rule.weekday, 0)
        assert rule.first_on <= wall.date() <= rule.last_on
        since = timedelta(hours=wall.hour, minutes=wall.minute)
        assert rule.start <= since <= rule.end - rule.slot
        assert (since - rule.start) % rule.slot == timedelta()
        assert each.ends_at - each.starts_at == rule.slot
    for earlier, later in pairwise(found):
        assert earlier.ends_at <= later.starts_at


@given(RULES, st.sampled_from(ZONES))
def test_a_slot_is_left_out_only_where_clocks_are_put_forward(rule: WeeklyHours, zone: str) -> None:
    """Every wall time that there is, counted minute by minute of real time, has its slot."""
    place = ZoneInfo(zone)
    found = {each.starts_at.astimezone(place).replace(tzinfo=None) for each in periods(rule, place)}
    day = rule.first_on
    while day <= rule.last_on:
        if day.isoweekday() == rule.weekday:
            midnight = datetime.combine(day, time())
            wanted = set()
            start = rule.start
            while start + rule.slot <= rule.end:
                wanted.add(midnight + start)
                start += rule.slot
            missing = wanted - {wall for wall in found if wall.date() == day}
            noon = midnight.replace(hour=12, tzinfo=place)
            before = (midnight - timedelta(hours=12)).replace(tzinfo=place)
            assert not missing or noon.utcoffset() > before.utcoffset()
        day += timedelta(days=1)


@given(
    st.datetimes(datetime.combine(date(2020, 1, 1), time()), datetime.combine(date(2032, 1, 1), time())),
    st.sampled_from(ZONES),
)
def test_a_moment_shows_the_wall_time_that_was_asked_for(wall: datetime, zone: str) -> None:
    at = moment(wall, ZoneInfo(zone))
    if at is None:
        # No moment of the day shows it.
        around = [wall.replace(tzinfo=UTC) + timedelta(hours=hour) for hour in range(-15, 16)]
        assert all(each.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0) != wall for each in around)
    else:
        assert at.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0) == wall
        earlier = (at - timedelta(hours=1)).astimezone(ZoneInfo(zone))
        assert earlier.replace(tzinfo=None, fold=0) != wall, "the first of two"
