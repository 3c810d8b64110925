"""Many athletes who want overlapping hours of several coaches at once: confirmed or refused, and nobody in the way."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import NamedTuple

import httpx
import pytest
from sqlalchemy import text

from tests.benchmarks.seeding import Customer
from tests.e2e.conftest import Desk
from tests.e2e.test_booking import AT_REST_WITHIN, finished
from tests.waiting import wait_until
from zea.db import transaction

MakeCustomer = Callable[[int], Customer]
ATHLETES = 40
COACHES = 5
HOURS = 12


@pytest.fixture
def concurrency() -> int:
    """Enough processes for bookings to come into each other's way."""
    return 12


class Wish(NamedTuple):
    who: Customer
    request: dict[str, str]


def timetable(make_customer: MakeCustomer) -> list[list[dict[str, str]]]:
    """For each coach a request for each of their hours; every second coach begins half an hour later."""
    requests = [list(make_customer(HOURS).requests) for _ in range(COACHES)]
    for own in requests[1::2]:
        for request in reversed(own):
            begin_later(request)
    return requests


def begin_later(request: dict[str, str]) -> None:
    move = """
        UPDATE slots SET starts_at = starts_at + interval '30 minutes', ends_at = ends_at + interval '30 minutes'
        WHERE coach_id = :coach_id AND starts_at = :slot_datetime RETURNING starts_at"""
    with transaction() as db:
        request["slot_datetime"] = db.execute(text(move), request).scalar_one().isoformat()


@pytest.mark.usefixtures("trip_worker")
def test_athletes_who_ask_for_overlapping_hours_get_one_each_and_never_an_error(
    desk: Desk, make_customer: MakeCustomer
) -> None:
    """Each athlete asks every coach at once, for hours that overlap."""
    requests = timetable(make_customer)
    wishes = [
        Wish(who, dict(requests[(number + own) % COACHES][number % HOURS]))
        for number, who in enumerate(make_customer(COACHES) for _ in range(ATHLETES))
        for own in range(COACHES)
    ]
    with ThreadPoolExecutor(len(wishes)) as pool:
        answers = list(pool.map(lambda wish: desk.book(wish.who, wish.request, Prefer="wait=30"), wishes))
    assert {answer.status_code for answer in answers} == {201, 409}, Counter(answer.text for answer in answers)
    wait_until(finished(desk, len(wishes)), AT_REST_WITHIN)
    desk.assert_books_balance()
    assert desk.scalar("SELECT count(*) FROM bookings") == sum(answer.status_code == 201 for answer in answers)
    assert_every_refusal_is_true(desk, wishes, answers)
    assert desk.scalar("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0
    assert not desk.column("SELECT step FROM workflow_events WHERE type = 'step.retried'")


def assert_every_refusal_is_true(desk: Desk, wishes: list[Wish], answers: list[httpx.Response]) -> None:
    """Who was told that the slot is taken finds it booked, and who was told of another booking has one."""
    with transaction() as db:
        found = db.execute(text("SELECT coach_id, starts_at FROM slots WHERE status = 'booked'"))
        booked = {(str(coach_id), starts_at) for coach_id, starts_at in found}
    confirmed = {wish.who.token for wish, answer in zip(wishes, answers, strict=True) if answer.status_code == 201}
    for wish, answer in zip(wishes, answers, strict=True):
        match answer.json().get("type"):
            case "urn:zea:problem:slot-unavailable":
                assert (wish.request["coach_id"], datetime.fromisoformat(wish.request["slot_datetime"])) in booked
            case "urn:zea:problem:overlapping-booking":
                assert wish.who.token in confirmed
            case _:
                assert answer.status_code == 201, answer.text
