"""A booking over HTTP, with everything real: confirmed once, whoever asks at once and whatever is killed meanwhile."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import redis
from sqlalchemy import text

from tests.benchmarks.seeding import Customer
from tests.e2e.conftest import Desk
from tests.e2e.nodes import ProcessContainer, ServerContainer
from tests.waiting import wait_until
from zea import config
from zea.db import transaction

MakeCustomer = Callable[[int], Customer]
AT_REST_WITHIN = 30.0


def finished(desk: Desk, executions: int = 1) -> Callable[[], bool]:
    query = "SELECT count(*) FROM workflow_executions WHERE completed_at IS NOT NULL AND due_at IS NULL"
    return lambda: bool(desk.scalar(query) == executions)


def assert_booked_once(desk: Desk, executions: int = 1) -> None:
    desk.assert_books_balance()
    assert desk.scalar("SELECT count(*) FROM bookings") == executions
    assert desk.column("SELECT kind FROM notifications ORDER BY kind") == sorted(
        ["booking_confirmed", "booking_received"] * executions
    )


@pytest.mark.usefixtures("worker")
def test_a_booking_is_confirmed_and_both_are_told(desk: Desk, make_customer: MakeCustomer) -> None:
    who = make_customer(1)
    answer = desk.book(who, next(who.requests))
    assert answer.status_code == 201, answer.text
    assert answer.json()["status"] == "CONFIRMED"
    wait_until(finished(desk), AT_REST_WITHIN)
    assert_booked_once(desk)
    events = desk.column("SELECT coalesce(step, type) FROM workflow_events ORDER BY position")
    assert events[:7] == [
        "execution.started",
        "validate_slot",
        "check_balance",
        "create_booking",
        "reserve_slot",
        "debit_credit",
        "confirm_booking",
    ]
    assert sorted(events[7:9]) == ["notify_athlete", "notify_coach"]
    assert events[9:] == ["execution.completed"]


@pytest.mark.usefixtures("worker")
def test_of_a_hundred_requests_for_one_slot_one_is_confirmed(desk: Desk, make_customer: MakeCustomer) -> None:
    request = next(make_customer(1).requests)
    rivals = [make_customer(1) for _ in range(100)]
    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda who: desk.book(who, request, Prefer="wait=30"), rivals))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 99
    refusals = [answer.json() for answer in answers if answer.status_code == 409]
    assert {refusal["type"] for refusal in refusals} == {"urn:zea:problem:slot-unavailable"}
    wait_until(finished(desk, 100), AT_REST_WITHIN)
    assert_booked_once(desk)
    assert desk.column("SELECT DISTINCT error ->> 'kind' FROM workflow_executions WHERE status = 'failed'") == [
        "slot_unavailable"
    ]


@pytest.mark.usefixtures("worker")
def test_fifty_requests_with_one_idempotency_key_are_one_booking(desk: Desk, make_customer: MakeCustomer) -> None:
    who = make_customer(50)
    request = next(who.requests)
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: desk.book(who, request, **{"Idempotency-Key": "k1"}), range(50)))
    assert {(answer.status_code, answer.text) for answer in answers} == {(201, answers[0].text)}
    wait_until(finished(desk), AT_REST_WITHIN)
    assert_booked_once(desk)
    reused = desk.book(who, next(who.requests), **{"Idempotency-Key": "k1"})
    assert (reused.status_code, reused.json()["type"]) == (422, "urn:zea:problem:idempotency-key-reused")


def without_credit(desk: Desk, who: Customer) -> None:
    """Another booking takes what there is."""
    assert desk.book(who, next(who.requests)).status_code == 201


@pytest.mark.usefixtures("worker")
class TestRefusals:
    """Each refusal is a 409 of its kind, leaves nothing behind, and its execution says which step refused and why."""

    def assert_refused(self, desk: Desk, answer: httpx.Response, kind: str, step: str, bookings: int = 0) -> None:
        assert answer.status_code == 409, answer.text
        problem = answer.json()
        assert problem["type"] == f"urn:zea:problem:{kind.replace('_', '-')}"
        wait_until(finished(desk, bookings + 1), AT_REST_WITHIN)
        desk.assert_books_balance()
        assert desk.scalar("SELECT count(*) FROM bookings") == bookings
        assert desk.column("SELECT error FROM workflow_executions WHERE status = 'failed'") == [
            {"kind": kind, "message": problem["detail"], "traceback": None, "resumable": False}
        ]
        assert desk.column("SELECT step FROM workflow_events WHERE type = 'step.failed'") == [step]

    def test_a_slot_that_does_not_exist(self, desk: Desk, make_customer: MakeCustomer) -> None:
        who = make_customer(1)
        request = {**next(who.requests), "slot_datetime": "2099-01-01T10:00:00Z"}
        self.assert_refused(desk, desk.book(who, request), "slot_unavailable", "validate_slot")

    def test_a_slot_that_is_taken(self, desk: Desk, make_customer: MakeCustomer) -> None:
        first, second = make_customer(1), make_customer(1)
        request = next(first.requests)
        assert desk.book(first, request).status_code == 201
        self.assert_refused(desk, desk.book(second, request), "slot_unavailable", "validate_slot", bookings=1)

    def test_a_slot_that_has_begun(self, desk: Desk, make_customer: MakeCustomer) -> None:
        who = make_customer(1)
        request = next(who.requests)
        with transaction() as db:
            shift = "UPDATE slots SET starts_at = starts_at - interval '9 days', ends_at = ends_at - interval '9 days'"
            begun = db.execute(text(f"{shift} RETURNING starts_at")).scalar_one()
        answer = desk.book(who, {**request, "slot_datetime": begun.isoformat()})
        self.assert_refused(desk, answer, "slot_unavailable", "validate_slot")

    def test_no_credit_is_left(self, desk: Desk, make_customer: MakeCustomer) -> None:
        rich, who = make_customer(1), make_customer(0)
        self.assert_refused(desk, desk.book(who, next(rich.requests)), "insufficient_credits", "check_balance")

    def test_the_onboarding_is_not_complete(self, desk: Desk, make_customer: MakeCustomer) -> None:
        who = make_customer(1)
        with transaction() as db:
            db.execute(text("UPDATE users SET can_book = false"))
        self.assert_refused(desk, desk.book(who, next(who.requests)), "onboarding_incomplete", "check_balance")

    def test_the_athlete_is_elsewhere_at_that_time(self, desk: Desk, make_customer: MakeCustomer) -> None:
        who, other = make_customer(2), make_customer(1)
        assert desk.book(who, next(who.requests)).status_code == 201
        answer = desk.book(who, next(other.requests))
        self.assert_refused(desk, answer, "overlapping_booking", "create_booking", bookings=1)


@pytest.mark.usefixtures("beat")
class TestKilledWorker:
    """kill -9 of the worker with all its children: the booking ends once, within 30 s of a worker being there."""

    def ask(self, desk: Desk, who: Customer) -> None:
        answer = desk.book(who, next(who.requests), Prefer="wait=0")
        assert answer.status_code == 202, answer.text
        assert answer.headers["Location"] == f"/api/executions/{answer.json()['execution_id']}"

    def test_before_the_block(self, desk: Desk, make_customer: MakeCustomer, worker: ProcessContainer) -> None:
        worker.signal("SIGSTOP")
        self.ask(desk, make_customer(1))
        worker.kill()
        worker.restart()
        wait_until(finished(desk), AT_REST_WITHIN)
        assert_booked_once(desk)

    def test_inside_the_block(self, desk: Desk, make_customer: MakeCustomer, worker: ProcessContainer) -> None:
        who = make_customer(1)
        with transaction() as db:
            db.execute(text("SELECT FROM credit_accounts FOR UPDATE"))
            self.ask(desk, who)
            wait_until(desk.somebody_waits_for_a_lock, 10)
            worker.kill()
        assert desk.scalar("SELECT count(*) FROM bookings") == 0
        worker.restart()
        wait_until(finished(desk), AT_REST_WITHIN)
        assert_booked_once(desk)

    def test_between_the_commit_and_what_follows(
        self,
        desk: Desk,
        make_customer: MakeCustomer,
        worker: ProcessContainer,
        celery_broker_cluster: list[object],
    ) -> None:
        """The broker is frozen while the block commits, so the worker dies before it has published what follows."""
        broker: ServerContainer = celery_broker_cluster[0].container  # type: ignore[attr-defined]  # no types
        who = make_customer(1)
        try:
            with transaction() as db:
                db.execute(text("SELECT FROM credit_accounts FOR UPDATE"))
                self.ask(desk, who)
                wait_until(
                    lambda: desk.scalar("SELECT count(*) FROM pg_locks WHERE NOT granted"), 10, "the block to wait"
                )
                broker.signal("SIGSTOP")
            wait_until(lambda: desk.scalar("SELECT count(*) FROM bookings"), 5, "the commit")
            worker.kill()
        finally:
            broker.signal("SIGCONT")
        assert desk.scalar("SELECT count(*) FROM notifications") == 0
        worker.restart()
        wait_until(finished(desk), AT_REST_WITHIN)
        assert_booked_once(desk)
        assert desk.scalar("SELECT count(*) FROM workflow_events WHERE type = 'execution.redriven'") >= 1


@pytest.mark.usefixtures("beat", "worker")
def test_messages_lost_from_the_broker_are_sent_again(
    desk: Desk, make_customer: MakeCustomer, worker: ProcessContainer, environment: dict[str, str]
) -> None:
    worker.signal("SIGSTOP")
    who = make_customer(1)
    assert desk.book(who, next(who.requests), Prefer="wait=0").status_code == 202
    with redis.Redis.from_url(environment["REDIS_URL"]) as broker:
        broker.flushall()
    worker.signal("SIGCONT")
    wait_until(finished(desk), AT_REST_WITHIN)
    assert_booked_once(desk)


@pytest.mark.usefixtures("worker")
def test_the_answer_does_not_depend_on_the_announcement(desk: Desk, make_customer: MakeCustomer) -> None:
    """With the API's subscription cut over and over, the poll finds the confirmation."""
    who = make_customer(1)
    with redis.Redis.from_url(config.redis_url()) as broker, ThreadPoolExecutor(1) as pool, transaction() as db:
        db.execute(text("SELECT FROM credit_accounts FOR UPDATE"))
        asked = pool.submit(desk.book, who, next(who.requests), Prefer="wait=20")
        wait_until(desk.somebody_waits_for_a_lock, 10)
        broker.client_kill_filter(_type="pubsub")
        broker.execute_command("ACL", "SETUSER", "default", "-subscribe")
        try:
            db.execute(text("COMMIT"))
            assert asked.result(timeout=20).status_code == 201
        finally:
            broker.execute_command("ACL", "SETUSER", "default", "+subscribe")
