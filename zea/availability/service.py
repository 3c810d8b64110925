"""Availability: the hours that coaches offer, and which of them are still free."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import DateTime, Select, bindparam, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from zea.accounts.models import Role, User
from zea.availability.models import Slot, SlotStatus
from zea.db import connection, violated_constraint
from zea.errors import InvalidInput, NotFound, SlotOverlap, SlotUnavailable

MAXIMUM_SLOTS = 200
MAXIMUM_LENGTH = timedelta(hours=12)
# Keeps a mistyped year out, and every moment inside what both PostgreSQL and Python can hold.
HORIZON = timedelta(days=5 * 366)
# Two constraints may see the same overlap first: equal starts are also a twin.
OVERLAP_CONSTRAINTS = {"ex_slots_no_overlap", "uq_slots_coach_id_starts_at"}

# Bookings are the hot path: their statement is built once, and runs on the connection, beside the unit of work.
RESERVE = (
    update(Slot)
    .where(Slot.id == bindparam("slot_id"), Slot.status == SlotStatus.OPEN.value)
    .values(status=SlotStatus.BOOKED.value)
)


@dataclass(frozen=True, slots=True)
class Period:
    """A half-open stretch of time: ``starts_at`` belongs to it, ``ends_at`` does not."""

    starts_at: datetime
    ends_at: datetime


# Steps


def reserve_slot(db: Session, *, slot_id: UUID) -> None:
    """Take an open slot.

    Raises:
        SlotUnavailable: somebody else has it.
    """
    if connection(db).execute(RESERVE, {"slot_id": slot_id}).rowcount == 0:
        raise SlotUnavailable("This slot has just been taken: choose another one.")


# Coaches


def coaches() -> Select[User]:
    """Everybody who can be booked."""
    return select(User).where(User.role == Role.COACH.value, User.is_active)


def require_coach(db: Session, coach_id: UUID) -> None:
    """Pass for somebody who can be booked.

    Raises:
        NotFound: there is no such coach, or they have left.
    """
    if db.scalar(coaches().with_only_columns(User.id).where(User.id == coach_id)) is None:
        raise NotFound("There is no such coach.")


# Slots


def slots(db: Session, coach_id: UUID, from_at: datetime | None, to_at: datetime | None) -> Select[Slot]:
    """The coach's slots that start in ``[from_at, to_at)``; from now on, and without an end, unless said."""
    begin = from_at or _now(db)
    found = select(Slot).where(Slot.coach_id == coach_id, Slot.starts_at >= begin)
    return found if to_at is None else found.where(Slot.starts_at < to_at)


def add_slots(db: Session, coach_id: UUID, periods: Sequence[Period]) -> list[Slot]:
    """Offer all of these hours, or none of them; earliest first.

    Raises:
        InvalidInput: there are none or too many, or one is over, empty, too long or too far away.
        SlotOverlap: one overlaps another one, offered now or before.
    """
    if not 1 <= len(periods) <= MAXIMUM_SLOTS:
        raise InvalidInput(f"Offer between 1 and {MAXIMUM_SLOTS} slots at a time.", field="slots")
    _hold_calendar(db, coach_id)
    now = _now(db)
    for position, period in enumerate(periods):
        _check(period, now, field=f"slots.{position}")
    return sorted(_insert(db, coach_id, periods), key=lambda slot: slot.starts_at)


def _check(period: Period, now: datetime, field: str) -> None:
    if period.ends_at <= period.starts_at:
        raise InvalidInput("A slot ends after it starts.", field=f"{field}.ends_at")
    if period.ends_at - period.starts_at > MAXIMUM_LENGTH:
        raise InvalidInput("A slot is at most 12 hours long: split it into shorter ones.", field=f"{field}.ends_at")
    if not now < period.starts_at <= now + HORIZON:
        raise InvalidInput("A slot starts in the future, within five years.", field=f"{field}.starts_at")


def _hold_calendar(db: Session, coach_id: UUID) -> None:
    """One change of a coach's calendar at a time: overlapping inserts that meet in the constraint would deadlock."""
    db.execute(select(User.id).where(User.id == coach_id).with_for_update(key_share=True))


def _insert(db: Session, coach_id: UUID, periods: Sequence[Period]) -> Sequence[Slot]:
    rows = [{"coach_id": coach_id, "starts_at": each.starts_at, "ends_at": each.ends_at} for each in periods]
    try:
        return db.scalars(insert(Slot).returning(Slot), rows).all()
    except IntegrityError as error:
        if violated_constraint(error) in OVERLAP_CONSTRAINTS:
            raise SlotOverlap from error
        raise


def _now(db: Session) -> datetime:
    """The database's clock, which decides what is in the future."""
    return db.scalars(select(func.clock_timestamp(type_=DateTime(timezone=True)))).one()
