"""Booking without the workflow: the six steps in one transaction, as the runner calls them, and what they need."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier
from typing import TypeVar
from uuid import UUID

from sqlalchemy.orm import Session

from zea import clock
from zea.availability import service as availability
from zea.availability.periods import Period
from zea.bookings import service as bookings
from zea.bookings.models import BookingStatus
from zea.context import StepContext
from zea.credits import service as credits
from zea.db import new_id, transaction
from zea.errors import ZeaError

Answer = TypeVar("Answer")
HOUR = timedelta(hours=1)
# A round hour of tomorrow, so that moments survive the way to the database and back.
TOMORROW = (clock.now() + timedelta(days=1)).replace(minute=0, second=0, microsecond=0)


# What a cancelled booking has, without the rules of cancelling.
CANCELLED = {"status": BookingStatus.CANCELLED.value, "cancelled_at": TOMORROW, "cancelled_by": "test"}


def at(hours: float) -> datetime:
    """So many hours after a round hour of tomorrow."""
    return TOMORROW + hours * HOUR


def period(start: float, end: float | None = None) -> Period:
    return Period(at(start), at(start + 1 if end is None else end))


def offer(coach_id: UUID, *starts: float) -> None:
    """Offer hours, committed."""
    with transaction() as db:
        availability.add_slots(db, coach_id, [period(start) for start in starts])


def grant(athlete_id: UUID, amount: int) -> None:
    """Give credits, committed."""
    with transaction() as db:
        credits.grant(db, athlete_id=athlete_id, amount=amount, reason="test", actor="test")


def context(step: str = "step", execution_id: UUID | None = None, now: datetime | None = None) -> StepContext:
    moment = now or clock.now()
    return StepContext(execution_id or new_id(), step, 1, "worker:test", moment, moment)


def book(db: Session, athlete_id: UUID, coach_id: UUID, start: float, notes: str | None = None) -> UUID:
    """The atomic block of zea_sport.BookingRequest."""
    ctx = context()
    slot = bookings.validate_slot(db, ctx=ctx, coach_id=coach_id, slot_datetime=at(start))
    credits.check_balance(db, athlete_id=athlete_id)
    booking_id = bookings.create_booking(
        db,
        ctx=ctx,
        athlete_id=athlete_id,
        coach_id=coach_id,
        slot_id=slot.slot_id,
        starts_at=slot.starts_at,
        ends_at=slot.ends_at,
        athlete_notes=notes,
    ).booking_id
    availability.reserve_slot(db, slot_id=slot.slot_id)
    credits.debit_credit(db, ctx=ctx, athlete_id=athlete_id, booking_id=booking_id)
    bookings.confirm_booking(db, ctx=ctx, booking_id=booking_id)
    return booking_id


def booked(athlete_id: UUID, coach_id: UUID, start: float, notes: str | None = None) -> UUID:
    """Book, committed."""
    with transaction() as db:
        return book(db, athlete_id, coach_id, start, notes)


def at_once(calls: Sequence[Callable[[Session], Answer]]) -> list[Answer | type[ZeaError]]:
    """Make all calls at the same moment, each in a transaction of its own; their answers, or the errors they raised."""
    barrier = Barrier(len(calls), timeout=10)

    def run(call: Callable[[Session], Answer]) -> Answer | type[ZeaError]:
        try:
            with transaction() as db:
                # Connected first, so that nothing but the call itself comes after the start.
                db.connection()
                barrier.wait()
                return call(db)
        except ZeaError as error:
            return type(error)

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))
