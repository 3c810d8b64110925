"""Whoever was told to wait for a booking hears of it if it comes to nothing, and nobody hears of it twice."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from tests.booking_desk import at, grant, offer
from tests.integration.conftest import Person
from tests.requested_booking import (
    AGAIN,
    BLOCK,
    NOTIFICATIONS,
    confirmed_booking,
    deliver,
    failed_booking,
    no_notifications_table,
    refused_booking,
    requested_booking,
)
from workflows.catalog import registry
from workflows.engine.client import ExecutionClient
from zea.api.routes import booking_requests
from zea.bookings import answers
from zea.db import transaction
from zea.errors import NotPossible

client = ExecutionClient(registry)


def told(athlete_id: UUID) -> list[tuple[str, str]]:
    with transaction() as db:
        found = text("SELECT kind, body FROM notifications WHERE recipient_id = :id ORDER BY created_at")
        return [(row.kind, row.body) for row in db.execute(found, {"id": athlete_id})]


def accept(execution_id: UUID) -> bool:
    with transaction() as db:
        return answers.accept(db, execution_id)


class TestOverHttp:
    """POST /api/bookings, and there is no worker yet."""

    @pytest.fixture(autouse=True)
    def nobody_waits(self, monkeypatch: pytest.MonkeyPatch, database: str) -> None:
        monkeypatch.setenv("ZEA_BOOKING_WAIT", "0")

    @pytest.mark.parametrize(
        ("locale", "part"), [("es", "No te quedan créditos."), ("en", "You have no credits left.")]
    )
    def test_who_was_told_to_wait_is_told_why_it_failed(
        self, api: httpx.Client, athlete: Person, coach: Person, locale: str, part: str
    ) -> None:
        api.patch("/api/me", json={"locale": locale}, headers=athlete.headers)
        starts_at, ends_at = "2030-01-07T09:00:00Z", "2030-01-07T10:00:00Z"
        slots = {"slots": [{"starts_at": starts_at, "ends_at": ends_at}]}
        assert api.post("/api/coaches/me/slots", json=slots, headers=coach.headers).status_code == 201
        wanted = {"coach_id": str(coach.user_id), "slot_datetime": starts_at}
        answer = api.post("/api/bookings", json=wanted, headers={**athlete.headers, "Idempotency-Key": "once"})
        assert answer.status_code == 202
        deliver(UUID(answer.json()["execution_id"]), BLOCK)
        (notification,) = api.get("/api/me/notifications", headers=athlete.headers).json()["items"]
        assert notification["kind"] == "booking_failed"
        assert part in notification["body"]
        assert "Coach Pérez" in notification["body"]
        again = api.post("/api/bookings", json=wanted, headers={**athlete.headers, "Idempotency-Key": "once"})
        assert (again.status_code, again.json()["type"]) == (409, "urn:zea:problem:insufficient-credits")

    def test_a_repeated_request_is_answered_with_the_present_truth(
        self, api: httpx.Client, athlete: Person, coach: Person
    ) -> None:
        offer(coach.user_id, 30)
        grant(athlete.user_id, 1)
        wanted = {"coach_id": str(coach.user_id), "slot_datetime": at(30).isoformat()}
        headers = {**athlete.headers, "Idempotency-Key": "once"}
        execution_id = api.post("/api/bookings", json=wanted, headers=headers).json()["execution_id"]
        deliver(UUID(execution_id), BLOCK)
        confirmed = api.post("/api/bookings", json=wanted, headers=headers)
        assert (confirmed.status_code, confirmed.json()["status"]) == (201, "CONFIRMED")
        api.post(f"{confirmed.headers['Location']}/cancel", headers=coach.headers)
        again = api.post("/api/bookings", json=wanted, headers=headers)
        assert (again.status_code, again.json()) == (201, {**confirmed.json(), "status": "CANCELLED"})

    def test_who_is_refused_at_the_last_moment_is_told_so_and_not_to_wait(
        self, api: httpx.Client, athlete: Person, coach: Person, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        offer(coach.user_id, 30)

        def fail_first(execution_id: UUID) -> bool:
            deliver(execution_id, BLOCK)
            return accept(execution_id)

        monkeypatch.setattr(booking_requests, "_accept", fail_first)
        wanted = {"coach_id": str(coach.user_id), "slot_datetime": at(30).isoformat()}
        answer = api.post("/api/bookings", json=wanted, headers=athlete.headers)
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:zea:problem:insufficient-credits")
        assert told(athlete.user_id) == []


def test_who_was_told_at_once_is_not_told_again(database: str) -> None:
    assert told(refused_booking().athlete_id) == []


def test_who_asks_after_the_end_is_not_told_to_wait(database: str) -> None:
    assert not accept(refused_booking().execution_id)


def test_whoever_was_told_to_wait_may_be_told_so_again(database: str) -> None:
    booking = requested_booking()
    assert [accept(booking.execution_id) for _ in range(2)] == [True, True]


def test_a_cancelled_request_is_told_of(database: str) -> None:
    booking = requested_booking()
    assert accept(booking.execution_id)
    client.cancel(booking.execution_id, actor="test", reason="the hall burnt down")
    ((kind, body),) = told(booking.athlete_id)
    assert (kind, "cancelada" in body, "burnt" in body) == ("booking_failed", True, False)


def test_a_booking_that_stands_is_never_called_failed(database: str) -> None:
    """Only telling people about it has failed."""
    booking = failed_booking()
    assert client.get_execution_status(booking.execution_id).status == "failed"
    assert told(booking.athlete_id) == []


def test_a_confirmed_booking_is_told_of_as_such(database: str) -> None:
    booking = requested_booking()
    assert accept(booking.execution_id)
    deliver(booking.execution_id, BLOCK, *NOTIFICATIONS)
    assert [kind for kind, _ in told(booking.athlete_id)] == ["booking_confirmed"]


def test_a_booking_that_was_confirmed_cannot_fail_by_being_cancelled(database: str) -> None:
    booking = confirmed_booking()
    assert accept(booking.execution_id)
    client.cancel(booking.execution_id, actor="test", reason="enough people were told")
    assert told(booking.athlete_id) == []


def test_a_failure_that_cannot_be_told_is_a_failure_all_the_same(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    booking = requested_booking(credits=0)
    assert accept(booking.execution_id)
    with no_notifications_table():
        deliver(booking.execution_id, BLOCK)
    view = client.get_execution_status(booking.execution_id)
    assert (view.status, view.error and view.error.kind) == ("failed", "insufficient_credits")
    assert "tell_of_failed_booking" in caplog.text
    with pytest.raises(NotPossible):
        client.cancel(booking.execution_id, actor="test", reason="it has ended")


def test_a_failure_that_may_be_told_later_is_recorded_later(database: str) -> None:
    """Telling met a deadlock: the whole of it is done again, and nothing of it is lost."""
    booking = requested_booking(credits=0)
    assert accept(booking.execution_id)
    with transaction() as db:
        db.execute(text(AGAIN))
        db.execute(text("CREATE TRIGGER again BEFORE INSERT ON notifications EXECUTE FUNCTION again()"))
    with pytest.raises(OperationalError):
        deliver(booking.execution_id, BLOCK)
    assert client.get_execution_status(booking.execution_id).status == "running"
    with transaction() as db:
        db.execute(text("DROP FUNCTION again CASCADE"))
    deliver(booking.execution_id, BLOCK)
    assert client.get_execution_status(booking.execution_id).status == "failed"
    assert [kind for kind, _ in told(booking.athlete_id)] == ["booking_failed"]


def test_answer_and_failure_at_once_agree(database: str) -> None:
    """100 times: either the caller is told to wait, and the athlete is notified; or neither."""
    bookings = [requested_booking(credits=0) for _ in range(100)]
    with ThreadPoolExecutor(2) as threads:
        outcomes = Counter()
        for booking in bookings:
            answered = threads.submit(accept, booking.execution_id)
            threads.submit(deliver, booking.execution_id, BLOCK).result()
            outcomes[answered.result(), len(told(booking.athlete_id))] += 1
    assert outcomes.keys() <= {(True, 1), (False, 0)}, outcomes
