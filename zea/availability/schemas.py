"""What people see of coaches and their hours."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel

from zea.accounts.models import User
from zea.availability.models import Slot, SlotStatus


class CoachView(BaseModel):
    """Somebody who can be booked."""

    coach_id: UUID
    name: str
    timezone: str

    @classmethod
    def of(cls, coach: User) -> Self:
        return cls(coach_id=coach.id, name=coach.name, timezone=coach.timezone)


class SlotView(BaseModel):
    """An hour that a coach offers, and whether it is still free."""

    slot_id: UUID
    starts_at: datetime
    ends_at: datetime
    status: SlotStatus

    @classmethod
    def of(cls, slot: Slot) -> Self:
        return cls(slot_id=slot.id, starts_at=slot.starts_at, ends_at=slot.ends_at, status=SlotStatus(slot.status))
