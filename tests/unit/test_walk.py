"""Which hours the demonstration books: free ones, which can be completed the same day."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from zea.cli import demo
from zea.cli.people import COACH, Caller, stand_in
from zea.training.service import EARLIEST_START

NOW = datetime(2026, 3, 2, 9, 59, 59, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zea.clock.now", lambda: NOW)


def coach(*offered: tuple[datetime, datetime]) -> Caller:
    """A coach who offers these slots already."""

    def answer(request: httpx.Request) -> httpx.Response:
        items: list[dict[str, Any]] = [{"starts_at": a.isoformat(), "ends_at": b.isoformat()} for a, b in offered]
        return httpx.Response(200, json={"items": items, "next_cursor": None})

    return Caller(COACH, "01", httpx.Client(base_url="http://zea", transport=httpx.MockTransport(answer)))


def test_every_hour_is_ahead_and_can_be_completed_today() -> None:
    free = demo._free_hours(coach())
    assert len(free) == 20
    assert free[0] > NOW + HOUR
    held_at = NOW - 2 * HOUR
    assert free[-1] <= held_at + EARLIEST_START


def test_an_hour_that_touches_what_is_offered_is_left_out() -> None:
    first = demo._free_hours(coach())[0]
    offered = (first - HOUR / 2, first + HOUR / 2), (first + 2 * HOUR, first + 3 * HOUR)
    assert demo._free_hours(coach(*offered))[:2] == [first + HOUR, first + 3 * HOUR]


def test_a_full_day_has_no_hours() -> None:
    assert demo._free_hours(coach((NOW - HOUR, NOW + 11 * HOUR), (NOW + 11 * HOUR, NOW + 23 * HOUR))) == []


def test_who_stands_in_for_the_coach_is_somebody_else() -> None:
    assert stand_in(0) == COACH
    assert len({stand_in(number).email for number in range(3)}) == 3
