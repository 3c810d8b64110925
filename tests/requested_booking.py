"""A booking request whose deliveries the test makes itself, one at a time, and ways to make them fail."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from tests.benchmarks.seeding import customer
from workflows.booking_request import BookingRequest, booking_request
from workflows.catalog import registry
from workflows.engine.client import ExecutionClient
from workflows.engine.runner import Delivery, Runner
from zea.accounts import tokens
from zea.accounts.models import Role
from zea.db import transaction

BLOCK = "validate_slot_to_confirm_booking"
NOTIFICATIONS = ("notify_coach", "notify_athlete")
NOTES = "my left knee hurts"

AGAIN = """
    CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END $$"""

client = ExecutionClient(registry)


@dataclass(frozen=True)
class RequestedBooking:
    """An athlete's request for a coach's hour: started, and nothing of it has run."""

    execution_id: UUID
    athlete_id: UUID
    coach_id: UUID

    @property
    def path(self) -> str:
        return f"/api/executions/{self.execution_id}"

    @property
    def parties(self) -> dict[Role, dict[str, str]]:
        """The headers of their calls."""
        people = {Role.ATHLETE: self.athlete_id, Role.COACH: self.coach_id}
        return {
            role: {"Authorization": f"Bearer {tokens.access_token(user_id, role)}"} for role, user_id in people.items()
        }


def requested_booking(credits: int = 1) -> RequestedBooking:
    """By an athlete with this many credits."""
    request = next(customer(1).requests)
    with transaction() as db:
        query = text("SELECT athlete_id FROM credit_accounts ORDER BY athlete_id DESC LIMIT 1")
        athlete_id = db.execute(query).scalar_one()
        db.execute(
            text("UPDATE credit_accounts SET balance = :credits WHERE athlete_id = :id"),
            {"id": athlete_id, "credits": credits},
        )
    coach_id = UUID(request["coach_id"])
    inputs = BookingRequest(athlete_id, coach_id, datetime.fromisoformat(request["slot_datetime"]), NOTES)
    return RequestedBooking(
        client.start(booking_request, inputs, actor=f"user:{athlete_id}").execution_id, athlete_id, coach_id
    )


def deliver(execution_id: UUID, *units: str, epoch: int = 1) -> None:
    """Make these deliveries, as a worker would."""
    for unit in units:
        Runner(registry, "worker:test").run(Delivery(booking_request.name, unit, execution_id, epoch))


def completed_booking() -> RequestedBooking:
    booking = requested_booking()
    deliver(booking.execution_id, BLOCK, *NOTIFICATIONS)
    return booking


def confirmed_booking() -> RequestedBooking:
    """Nobody has been told yet."""
    booking = requested_booking()
    deliver(booking.execution_id, BLOCK)
    return booking


def refused_booking() -> RequestedBooking:
    """The athlete has no credits."""
    booking = requested_booking(credits=0)
    deliver(booking.execution_id, BLOCK)
    return booking


def failed_booking() -> RequestedBooking:
    """The booking is confirmed; nobody could be told, for a reason that trying again does not mend."""
    booking = confirmed_booking()
    with no_notifications_table():
        deliver(booking.execution_id, *NOTIFICATIONS)
    return booking


def sleeping_booking() -> RequestedBooking:
    """The booking is confirmed; telling is tried again later. The caller has seen to it that later is late enough."""
    booking = confirmed_booking()
    with transaction() as db:
        db.execute(text(AGAIN))
        db.execute(text("CREATE TRIGGER again BEFORE INSERT ON notifications EXECUTE FUNCTION again()"))
    deliver(booking.execution_id, *NOTIFICATIONS)
    with transaction() as db:
        db.execute(text("DROP FUNCTION again CASCADE"))
    return booking


@contextmanager
def no_notifications_table() -> Iterator[None]:
    with transaction() as db:
        db.execute(text("ALTER TABLE notifications RENAME TO notifications_elsewhere"))
    try:
        yield
    finally:
        with transaction() as db:
            db.execute(text("ALTER TABLE notifications_elsewhere RENAME TO notifications"))


def become_unknown(execution_id: UUID) -> None:
    """As if a release that is not this one had started it."""
    with transaction() as db:
        db.execute(text("UPDATE workflow_executions SET version = 7 WHERE id = :id"), {"id": execution_id})
