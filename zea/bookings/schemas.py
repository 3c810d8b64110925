"""What the parties see of a booking."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from zea.bookings.models import Booking, BookingStatus


class BookingView(BaseModel):
    """A booking. Its period is ``[starts_at, ends_at)``; the actual times come with its completion."""

    model_config = ConfigDict(from_attributes=True, populate_by_name=True)

    booking_id: UUID = Field(validation_alias="id")
    athlete_id: UUID
    coach_id: UUID
    slot_id: UUID
    starts_at: datetime
    ends_at: datetime
    status: BookingStatus
    notes: str | None = Field(repr=False)
    confirmed_at: datetime | None
    actual_start_time: datetime | None
    actual_end_time: datetime | None
    actual_duration_minutes: int | None
    execution_id: UUID

    @classmethod
    def of(cls, booking: Booking) -> Self:
        return cls.model_validate(booking)


class CancelledBooking(BookingView):
    """A booking that was cancelled, and whether its credit was given back."""

    refunded: bool
