"""Coaches and the hours that they offer."""

from datetime import timedelta
from typing import Annotated, Self
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, Field, model_validator

from zea.accounts.models import User
from zea.api import routing
from zea.api.deps import CurrentUser, Db, IdempotencyKey
from zea.api.description import refusals
from zea.api.idempotency import KeyedRequest, idempotent
from zea.api.paging import Page, Paging, page
from zea.api.schemas import AwareDatetime, Day, Request
from zea.availability import service
from zea.availability.models import Slot
from zea.availability.periods import Period
from zea.availability.schemas import CoachView, SlotView
from zea.availability.service import MAXIMUM_SLOTS
from zea.availability.weekly import WeeklyHours
from zea.errors import SlotBooked, SlotOverlap

CLOCK = r"^([01]\d|2[0-3]):[0-5]\d$"
CLOCK_TO_MIDNIGHT = r"^(([01]\d|2[0-3]):[0-5]\d|24:00)$"

router = routing.router("/api/coaches", "coaches")

From = Annotated[AwareDatetime | None, Query(alias="from", description="now, unless given")]
To = Annotated[AwareDatetime | None, Query(alias="to", description="not included")]


class NewSlot(Request):
    """An hour to offer, ``[starts_at, ends_at)``."""

    starts_at: AwareDatetime
    ends_at: AwareDatetime


class NewWeeklySlots(Request):
    """Slots on one day of each week, on the coach's own clock; both days from ``from`` to ``until`` are included."""

    weekday: int = Field(ge=1, le=7, description="1 is Monday, 7 is Sunday (ISO 8601)")
    start: str = Field(pattern=CLOCK, description="HH:MM")
    end: str = Field(pattern=CLOCK_TO_MIDNIGHT, description="HH:MM, up to 24:00")
    slot_minutes: int = Field(ge=5, le=720)
    from_on: Day = Field(alias="from")
    until_on: Day = Field(alias="until")

    def hours(self) -> WeeklyHours:
        return WeeklyHours(
            weekday=self.weekday,
            start=_since_midnight(self.start),
            end=_since_midnight(self.end),
            slot=timedelta(minutes=self.slot_minutes),
            first_on=self.from_on,
            last_on=self.until_on,
        )


class NewSlots(Request):
    """Hours to offer, all of them or none: one by one in ``slots``, or by a rule in ``weekly``."""

    slots: list[NewSlot] | None = Field(default=None, min_length=1, max_length=MAXIMUM_SLOTS)
    weekly: NewWeeklySlots | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.slots is None) == (self.weekly is None):
            raise ValueError("send either slots, with their times, or weekly, a rule")
        return self


class OfferedSlots(BaseModel):
    """The hours that were added, earliest first."""

    items: list[SlotView]


@router.get("")
def list_coaches(db: Db, paging: Paging) -> Page[CoachView]:
    """Everybody who can be booked."""
    return page(db, service.coaches(), User.created_at, User.id, paging, CoachView.of)


@router.get("/{coach_id}/slots")
def list_slots(coach_id: UUID, db: Db, paging: Paging, from_at: From = None, to_at: To = None) -> Page[SlotView]:
    """A coach's hours, open and booked, earliest first."""
    service.require_coach(db, coach_id)
    found = service.slots(db, coach_id, from_at, to_at)
    return page(db, found, Slot.starts_at, Slot.id, paging, SlotView.of, earliest_first=True)


@router.post("/me/slots", status_code=201, responses=refusals(SlotOverlap))
def add_slots(new: NewSlots, coach: CurrentUser, db: Db, key: IdempotencyKey = None) -> OfferedSlots:
    """Offer hours, one by one or by a weekly rule: all of them, or none."""
    request = KeyedRequest(key, f"user:{coach.id}", "coaches.add_slots", new)
    return idempotent(db, request, OfferedSlots, lambda: _offered(db, coach.id, new))


def _offered(db: Db, coach_id: UUID, new: NewSlots) -> OfferedSlots:
    if new.weekly:
        added = service.add_weekly_slots(db, coach_id, new.weekly.hours())
    else:
        periods = [Period(each.starts_at, each.ends_at) for each in new.slots or ()]
        added = service.add_slots(db, coach_id, periods)
    return OfferedSlots(items=[SlotView.of(slot) for slot in added])


@router.delete("/me/slots/{slot_id}", status_code=204, responses=refusals(SlotBooked))
def withdraw_slot(slot_id: UUID, coach: CurrentUser, db: Db) -> None:
    """Offer an open slot no longer; 409 if it is booked."""
    service.withdraw_slot(db, coach.id, slot_id)


def _since_midnight(clock: str) -> timedelta:
    hours, minutes = clock.split(":")
    return timedelta(hours=int(hours), minutes=int(minutes))
