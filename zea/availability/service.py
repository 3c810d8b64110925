"""Availability: the hours that coaches offer, and which of them are still free."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import Select, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from zea.accounts.models import Role, User
from zea.availability.models import OFFERED, Slot, SlotStatus
from zea.availability.periods import Period
from zea.availability.weekly import WeeklyHours, periods
from zea.db import clock_of, connection, violated_constraint
from zea.errors import InvalidInput, NotFound, SlotBooked, SlotOverlap, SlotUnavailable

MAXIMUM_SLOTS = 200
MAXIMUM_WEEKLY = 1000
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
    begin = from_at or clock_of(db)
    found = select(Slot).where(Slot.coach_id == coach_id, OFFERED, Slot.starts_at >= begin)
    return found if to_at is None else found.where(Slot.starts_at < to_at)


def add_slots(db: Session, coach_id: UUID, offered: Sequence[Period]) -> list[Slot]:
    """Offer all of these hours, or none of them; earliest first.

    Raises:
        InvalidInput: there are none or too many, or one is over, empty, too long or too far away.
        SlotOverlap: one overlaps another one, offered now or before.
    """
    if not 1 <= len(offered) <= MAXIMUM_SLOTS:
        raise InvalidInput(f"Offer between 1 and {MAXIMUM_SLOTS} slots at a time.", field="slots")
    _hold_calendar(db, coach_id)
    now = clock_of(db)
    for position, period in enumerate(offered):
        _check(period, now, field=f"slots.{position}")
    return sorted(_insert(db, coach_id, offered), key=lambda slot: slot.starts_at)


def add_weekly_slots(db: Session, coach_id: UUID, hours: WeeklyHours) -> list[Slot]:
    """Offer all slots of a weekly rule on the coach's own clock, or none of them; earliest first.

    What has begun already is left out.

    Raises:
        InvalidInput: the rule cannot be, or offers nothing, or too much.
        SlotOverlap: one overlaps another one, offered before.
    """
    zone = ZoneInfo(_hold_calendar(db, coach_id).timezone)
    now = clock_of(db)
    _check_rule(hours, now)
    begins_on = max(hours.first_on, now.astimezone(zone).date())
    found = periods(replace(hours, first_on=begins_on), zone)
    offered = list(islice((each for each in found if each.starts_at > now), MAXIMUM_WEEKLY + 1))
    if not offered:
        raise InvalidInput(
            "These hours offer no slot from now on: check the weekday, the dates and slot_minutes.", "weekly"
        )
    if len(offered) > MAXIMUM_WEEKLY:
        raise InvalidInput(f"They offer more than {MAXIMUM_WEEKLY:,} slots: let them end earlier.", "weekly.until")
    return sorted(_insert(db, coach_id, offered), key=lambda slot: slot.starts_at)


def withdraw_slot(db: Session, coach_id: UUID, slot_id: UUID) -> None:
    """Offer an open slot no longer.

    Raises:
        NotFound: the coach has no such slot.
        SlotBooked: it is booked.
    """
    mine = (Slot.id == slot_id, Slot.coach_id == coach_id, OFFERED)
    status = db.scalar(select(Slot.status).where(*mine).with_for_update(key_share=True))
    if status is None:
        raise NotFound("You have no such slot.")
    if status == SlotStatus.BOOKED:
        raise SlotBooked
    connection(db).execute(update(Slot).where(Slot.id == slot_id).values(status=SlotStatus.WITHDRAWN.value))


def _check_rule(hours: WeeklyHours, now: datetime) -> None:
    if hours.end <= hours.start:
        raise InvalidInput("The hours end after they start, on the same day: up to 24:00.", "weekly.end")
    if hours.last_on < hours.first_on:
        raise InvalidInput("The last day is not before the first.", "weekly.until")
    if hours.last_on > (now + HORIZON).date():
        raise InvalidInput("Weekly hours end within five years.", "weekly.until")


def _check(period: Period, now: datetime, field: str) -> None:
    if period.ends_at <= period.starts_at:
        raise InvalidInput("A slot ends after it starts.", field=f"{field}.ends_at")
    if period.ends_at - period.starts_at > MAXIMUM_LENGTH:
        raise InvalidInput("A slot is at most 12 hours long: split it into shorter ones.", field=f"{field}.ends_at")
    if not now < period.starts_at <= now + HORIZON:
        raise InvalidInput("A slot starts in the future, within five years.", field=f"{field}.starts_at")


def _hold_calendar(db: Session, coach_id: UUID) -> User:
    """One change of a coach's calendar at a time: overlapping inserts that meet in the constraint would deadlock."""
    return db.scalars(select(User).where(User.id == coach_id).with_for_update(key_share=True)).one()


def _insert(db: Session, coach_id: UUID, offered: Sequence[Period]) -> Sequence[Slot]:
    rows = [{"coach_id": coach_id, "starts_at": each.starts_at, "ends_at": each.ends_at} for each in offered]
    try:
        return db.scalars(insert(Slot).returning(Slot), rows).all()
    except IntegrityError as error:
        if violated_constraint(error) in OVERLAP_CONSTRAINTS:
            raise SlotOverlap from error
        raise
