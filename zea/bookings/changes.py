"""What becomes of a confirmed booking that is not trained: it is cancelled, moved, or missed (domain.md, section 2).

Rows are held in one order everywhere: the booking, its slots by id, the athlete's account. What is decided is decided
with the row held, and by the database's clock.
"""

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Row, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from zea.accounts.models import Role, User
from zea.availability.models import OFFERED, Slot, SlotStatus
from zea.bookings import service
from zea.bookings.models import LIVE, Booking, BookingStatus
from zea.config import settings
from zea.credits import service as credits
from zea.db import clock_of, connection, violated_constraint
from zea.errors import (
    BookingBegun,
    BookingNotBegun,
    BookingNotConfirmed,
    Conflict,
    OverlappingBooking,
    SlotUnavailable,
)
from zea.notifications import booking_changes as notices

HeldSlot = Row[UUID, datetime, datetime, str, bool]


class Cancellation(NamedTuple):
    """A booking that was cancelled, and whether its credit was given back."""

    booking: Booking
    refunded: bool


def cancel(db: Session, booking_id: UUID, by: User, reason: str | None = None) -> Cancellation:
    """Cancel a booking: its slot is open again, and its credit is given back where the rules say so.

    Raises:
        NotFound: there is no such booking, or none that this person may see.
        BookingNotConfirmed: it is not confirmed, or not any more.
        BookingBegun: it has begun.
    """
    booking, now = _held_before_start(db, booking_id, by)
    refunded = is_refunded(booking.starts_at - now, by_athlete=by.id == booking.athlete_id)
    booking.status = BookingStatus.CANCELLED
    booking.cancelled_at, booking.cancelled_by, booking.cancellation_reason = now, f"user:{by.id}", reason
    db.flush()
    _set_slot(db, booking.slot_id, SlotStatus.OPEN)
    if refunded:
        credits.refund_credit(db, athlete_id=booking.athlete_id, booking_id=booking.id, actor=f"user:{by.id}")
    notices.cancelled(db, booking, by.id, refunded=refunded)
    return Cancellation(booking, refunded)


def is_refunded(before_start: timedelta, *, by_athlete: bool) -> bool:
    """Whether a cancellation so long before the start gives the credit back: not to an athlete who is late with it."""
    return not by_athlete or before_start >= settings().cancellation_refund_window


def reschedule(db: Session, booking_id: UUID, by: User, slot_datetime: datetime) -> Booking:
    """Move a booking to another open slot of its coach; no credit moves.

    Raises:
        NotFound: there is no such booking, or none that this person may see.
        BookingNotConfirmed: it is not confirmed, or not any more.
        BookingBegun: it has begun.
        SlotUnavailable: the coach's slot at that time cannot be booked; the message says why.
        Conflict: it is the slot that the booking has.
        OverlappingBooking: the athlete is elsewhere at that time.
    """
    booking, now = _held_before_start(db, booking_id, by)
    slot = _hold_other_slot(db, booking, slot_datetime)
    if obstacle := service.obstacle(slot, now):
        raise SlotUnavailable(obstacle)
    # As when booking: one change of an athlete's bookings at a time, so that the check sees every earlier one.
    credits.hold_account(db, booking.athlete_id)
    if _is_elsewhere(db, booking, slot):
        raise OverlappingBooking
    old_slot_id, before = booking.slot_id, booking.starts_at
    booking.slot_id, booking.starts_at, booking.ends_at = slot.id, slot.starts_at, slot.ends_at
    _flush(db)
    _set_slot(db, old_slot_id, SlotStatus.OPEN)
    _set_slot(db, slot.id, SlotStatus.BOOKED)
    notices.rescheduled(db, booking, by.id, before=before)
    return booking


def mark_missed(db: Session, booking_id: UUID, by: User) -> Booking:
    """Note that the athlete did not come; nothing is given back, and nothing is paid for it.

    Raises:
        NotFound: there is no such booking, or none that this person may see.
        Forbidden: it is not they who coach it.
        BookingNotConfirmed: it is not confirmed, or not any more.
        BookingNotBegun: it has not begun.
    """
    booking, now = _held(db, booking_id, by, "missed")
    service.require_its_coach(booking, by.id, Role(by.role))
    if now < booking.starts_at:
        raise BookingNotBegun
    booking.status = BookingStatus.NO_SHOW
    db.flush()
    notices.missed(db, booking, by.id)
    return booking


# Holding


def _held_before_start(db: Session, booking_id: UUID, by: User) -> tuple[Booking, datetime]:
    booking, now = _held(db, booking_id, by, "cancelled or moved")
    if booking.starts_at <= now:
        raise BookingBegun
    return booking, now


def _held(db: Session, booking_id: UUID, by: User, deed: str) -> tuple[Booking, datetime]:
    """The confirmed booking, which nobody else changes, and the database's clock since that is so."""
    booking = service.hold_booking(db, booking_id, by.id, Role(by.role))
    if booking.status != BookingStatus.CONFIRMED:
        raise BookingNotConfirmed(f"Only a confirmed booking can be {deed}: this one is {booking.status}.")
    return booking, clock_of(db)


def _hold_slots(db: Session, *slot_ids: UUID) -> list[HeldSlot]:
    held = service.SLOTS.where(Slot.id.in_(slot_ids)).order_by(Slot.id).with_for_update(of=Slot, key_share=True)
    return list(connection(db).execute(held))


def _hold_other_slot(db: Session, booking: Booking, slot_datetime: datetime) -> HeldSlot:
    """The slot that is wanted instead; both are held."""
    wanted = select(Slot.id).where(Slot.coach_id == booking.coach_id, Slot.starts_at == slot_datetime, OFFERED)
    slot_id = db.scalar(wanted)
    if slot_id == booking.slot_id:
        raise Conflict("The booking is at that time already: choose another slot, or leave it.")
    held = _hold_slots(db, booking.slot_id, slot_id) if slot_id else []
    found = next((slot for slot in held if slot.id == slot_id), None)
    if found is None:
        raise SlotUnavailable(service.NO_SLOT)
    return found


def _is_elsewhere(db: Session, booking: Booking, slot: HeldSlot) -> bool:
    period = func.tstzrange(slot.starts_at, slot.ends_at)
    other = select(Booking.id).where(
        Booking.athlete_id == booking.athlete_id,
        Booking.id != booking.id,
        LIVE,
        func.tstzrange(Booking.starts_at, Booking.ends_at).bool_op("&&")(period),
    )
    return db.scalar(other.limit(1)) is not None


def _flush(db: Session) -> None:
    try:
        db.flush()
    except IntegrityError as error:
        if refusal := service.REFUSED_BY.get(violated_constraint(error)):
            raise refusal from error
        raise


def _set_slot(db: Session, slot_id: UUID, status: SlotStatus) -> None:
    connection(db).execute(update(Slot).where(Slot.id == slot_id).values(status=status.value))
