"""Bookings: how an athlete comes to hold a coach's slot, and who may see it."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Row,
    Select,
    Text,
    Uuid,
    bindparam,
    func,
    insert,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from zea.accounts.models import Role, User
from zea.availability.models import OFFERED, Slot, SlotStatus
from zea.bookings.models import LIVE, Booking, BookingStatus
from zea.context import StepContext
from zea.db import connection, violated_constraint
from zea.errors import Conflict, Forbidden, NotFound, OverlappingBooking, Refusal, SlotUnavailable

MOMENT = DateTime(timezone=True)
REFUSED_BY: dict[str | None, type[Refusal]] = {
    "ex_bookings_no_overlap": OverlappingBooking,
    "uq_bookings_live_slot": SlotUnavailable,
}

NO_SLOT = "The coach offers no slot at that time: choose one of the coach's open slots."

# Booking is the hot path: its statements are built once, and run on the connection, beside the unit of work.
SLOTS = select(
    Slot.id,
    Slot.starts_at,
    Slot.ends_at,
    Slot.status,
    (User.is_active & (User.role == Role.COACH.value)).label("coach_is_active"),
).join(User, User.id == Slot.coach_id)
LOCK_SLOT = SLOTS.where(
    Slot.coach_id == bindparam("coach_id"),
    Slot.starts_at == bindparam("slot_datetime"),
    OFFERED,
).with_for_update(of=Slot, key_share=True)

_asked_period = func.tstzrange(bindparam("starts_at", type_=MOMENT), bindparam("ends_at", type_=MOMENT))
_athlete_is_busy = (
    select(Booking.id)
    .where(
        Booking.athlete_id == bindparam("athlete_id"),
        LIVE,
        func.tstzrange(Booking.starts_at, Booking.ends_at).bool_op("&&")(_asked_period),
    )
    .exists()
)
INSERT_BOOKING = (
    insert(Booking)
    .from_select(
        ["athlete_id", "coach_id", "slot_id", "starts_at", "ends_at", "notes", "execution_id"],
        select(
            bindparam("athlete_id", type_=Uuid),
            bindparam("coach_id", type_=Uuid),
            bindparam("slot_id", type_=Uuid),
            bindparam("starts_at", type_=MOMENT),
            bindparam("ends_at", type_=MOMENT),
            bindparam("notes", type_=Text),
            bindparam("execution_id", type_=Uuid),
        ).where(~_athlete_is_busy),
    )
    .returning(Booking.id)
)

CONFIRM = (
    update(Booking)
    .where(Booking.id == bindparam("booking_id"), Booking.status == BookingStatus.PENDING.value)
    .values(status=BookingStatus.CONFIRMED.value, confirmed_at=bindparam("now"))
)


@dataclass(frozen=True, slots=True)
class ValidatedSlot:
    """A slot that may be booked, held until the end of the transaction."""

    slot_id: UUID
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class CreatedBooking:
    """A booking that is not confirmed yet."""

    booking_id: UUID


@dataclass(frozen=True, slots=True)
class ConfirmedBooking:
    """A booking that stands."""

    status: str
    confirmed_at: datetime


# Steps


def validate_slot(db: Session, *, ctx: StepContext, coach_id: UUID, slot_datetime: datetime) -> ValidatedSlot:
    """Hold the coach's slot that starts at that moment.

    Raises:
        SlotUnavailable: it cannot be booked; the message says why.
    """
    slot = connection(db).execute(LOCK_SLOT, {"coach_id": coach_id, "slot_datetime": slot_datetime}).one_or_none()
    if slot is None:
        raise SlotUnavailable(NO_SLOT)
    if found := obstacle(slot, ctx.now):
        raise SlotUnavailable(found)
    return ValidatedSlot(slot.id, slot.starts_at, slot.ends_at)


def obstacle(slot: Row[UUID, datetime, datetime, str, bool], now: datetime) -> str | None:
    """Why a slot that is held cannot be booked; None if it can."""
    if not slot.coach_is_active:
        return "This coach takes no bookings any more: choose another coach."
    if slot.starts_at <= now:
        return "This slot has begun already: choose a later one."
    if slot.status != SlotStatus.OPEN:
        return "This slot is taken: choose another one."
    return None


def create_booking(
    db: Session,
    *,
    ctx: StepContext,
    athlete_id: UUID,
    coach_id: UUID,
    slot_id: UUID,
    starts_at: datetime,
    ends_at: datetime,
    athlete_notes: str | None,
) -> CreatedBooking:
    """Note the booking as pending.

    The lock on the athlete's account lets one booking of an athlete in at a time, so that the check and the insert,
    one statement, see every earlier one. The constraints only catch a caller who does not hold it.

    Raises:
        OverlappingBooking: the athlete is elsewhere at that time.
        SlotUnavailable: the slot has a live booking.
    """
    booking = {
        "athlete_id": athlete_id,
        "coach_id": coach_id,
        "slot_id": slot_id,
        "starts_at": starts_at,
        "ends_at": ends_at,
        "notes": athlete_notes,
        "execution_id": ctx.execution_id,
    }
    try:
        booking_id = connection(db).execute(INSERT_BOOKING, booking).scalar()
    except IntegrityError as error:
        if refusal := REFUSED_BY.get(violated_constraint(error)):
            raise refusal from error
        raise
    if booking_id is None:
        raise OverlappingBooking
    return CreatedBooking(booking_id)


def confirm_booking(db: Session, *, ctx: StepContext, booking_id: UUID) -> ConfirmedBooking:
    """Let a pending booking stand.

    Raises:
        Conflict: it is not pending.
    """
    if connection(db).execute(CONFIRM, {"booking_id": booking_id, "now": ctx.now}).rowcount == 0:
        raise Conflict("Only a pending booking can be confirmed.")
    return ConfirmedBooking(BookingStatus.CONFIRMED.value, ctx.now)


# What people see


def visible_bookings(
    viewer_id: UUID,
    role: Role,
    status: BookingStatus | None = None,
    from_at: datetime | None = None,
    to_at: datetime | None = None,
) -> Select[Booking]:
    """The bookings that the viewer may see and that start in ``[from_at, to_at)``."""
    found = select(Booking).where(_visible(viewer_id, role))
    if status is not None:
        found = found.where(Booking.status == status.value)
    if from_at is not None:
        found = found.where(Booking.starts_at >= from_at)
    if to_at is not None:
        found = found.where(Booking.starts_at < to_at)
    return found


def get_booking(db: Session, booking_id: UUID, viewer_id: UUID, role: Role) -> Booking:
    """The booking.

    Raises:
        NotFound: there is none, or the viewer is no party to it.
    """
    booking = db.scalar(visible_bookings(viewer_id, role).where(Booking.id == booking_id))
    if booking is None:
        raise NotFound("There is no such booking, or none that you may see.")
    return booking


def status_of(db: Session, booking_id: UUID) -> BookingStatus:
    """How a booking that there is stands now."""
    return BookingStatus(db.scalars(select(Booking.status).where(Booking.id == booking_id)).one())


def hold_booking(db: Session, booking_id: UUID, viewer_id: UUID, role: Role) -> Booking:
    """The booking as it is now, which nobody else changes until the transaction ends.

    Raises:
        NotFound: there is none, or the viewer is no party to it.
    """
    get_booking(db, booking_id, viewer_id, role)
    held = select(Booking).where(Booking.id == booking_id).with_for_update(key_share=True)
    return db.scalars(held, execution_options={"populate_existing": True}).one()


def require_its_coach(booking: Booking, user_id: UUID, role: Role) -> None:
    """Pass for the booking's own coach, and for admins: an athlete may have become a coach since they booked.

    Raises:
        Forbidden: it is somebody else.
    """
    if role is not Role.ADMIN and user_id != booking.coach_id:
        raise Forbidden("Only the coach of this booking, or an admin, may say how it went.")


def trains(db: Session, coach_id: UUID, athlete_id: UUID) -> bool:
    """Whether the athlete has a live booking with the coach."""
    found = select(Booking.id).where(Booking.coach_id == coach_id, Booking.athlete_id == athlete_id, LIVE)
    return db.scalar(found.limit(1)) is not None


def _visible(viewer_id: UUID, role: Role) -> ColumnElement[bool]:
    """An admin sees all, anybody else what they are a party to."""
    if role is Role.ADMIN:
        return true()
    return or_(Booking.athlete_id == viewer_id, Booking.coach_id == viewer_id)
