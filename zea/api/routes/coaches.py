"""Coaches and the hours that they offer."""

from typing import Annotated
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, Field

from zea.accounts.models import User
from zea.api import routing
from zea.api.deps import CurrentUser, Db, IdempotencyKey
from zea.api.idempotency import KeyedRequest, idempotent
from zea.api.paging import Page, Paging, page
from zea.api.schemas import AwareDatetime, Request
from zea.availability import service
from zea.availability.models import Slot
from zea.availability.schemas import CoachView, SlotView
from zea.availability.service import MAXIMUM_SLOTS, Period

router = routing.router("/api/coaches", "coaches")

From = Annotated[AwareDatetime | None, Query(alias="from", description="now, unless given")]
To = Annotated[AwareDatetime | None, Query(alias="to", description="not included")]


class NewSlot(Request):
    """An hour to offer, ``[starts_at, ends_at)``."""

    starts_at: AwareDatetime
    ends_at: AwareDatetime


class NewSlots(Request):
    """Hours to offer, all of them or none."""

    slots: list[NewSlot] = Field(min_length=1, max_length=MAXIMUM_SLOTS)


class OfferedSlots(BaseModel):
    """The hours that were added, earliest first."""

    items: list[SlotView]


@router.get("")
def list_coaches(db: Db, paging: Paging) -> Page[CoachView]:
    return page(db, service.coaches(), User.created_at, User.id, paging, CoachView.of)


@router.get("/{coach_id}/slots")
def list_slots(coach_id: UUID, db: Db, paging: Paging, from_at: From = None, to_at: To = None) -> Page[SlotView]:
    service.require_coach(db, coach_id)
    found = service.slots(db, coach_id, from_at, to_at)
    return page(db, found, Slot.starts_at, Slot.id, paging, SlotView.of, earliest_first=True)


@router.post("/me/slots", status_code=201)
def add_slots(new: NewSlots, coach: CurrentUser, db: Db, key: IdempotencyKey = None) -> OfferedSlots:
    request = KeyedRequest(key, f"user:{coach.id}", "coaches.add_slots", new)
    return idempotent(db, request, OfferedSlots, lambda: _offered(db, coach.id, new))


def _offered(db: Db, coach_id: UUID, new: NewSlots) -> OfferedSlots:
    periods = [Period(each.starts_at, each.ends_at) for each in new.slots]
    return OfferedSlots(items=[SlotView.of(slot) for slot in service.add_slots(db, coach_id, periods)])
