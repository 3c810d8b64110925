"""Changing a booking: cancelling it, moving it, and saying that nobody came."""

from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from zea.api import routing
from zea.api.deps import CurrentUser, Db
from zea.api.description import refusals
from zea.api.schemas import AwareDatetime, Request
from zea.bookings import changes
from zea.bookings.schemas import BookingView, CancelledBooking
from zea.errors import (
    BookingBegun,
    BookingNotBegun,
    BookingNotConfirmed,
    Conflict,
    OverlappingBooking,
    SlotUnavailable,
)

router = routing.router("/api/bookings", "bookings")

Reason = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)]


class WantedCancellation(Request):
    """Why; the other party is told."""

    reason: Reason | None = Field(default=None, repr=False)


class WantedTime(Request):
    """When another slot of the same coach begins."""

    slot_datetime: AwareDatetime


@router.post("/{booking_id}/cancel", responses=refusals(BookingNotConfirmed, BookingBegun))
def cancel_booking(
    booking_id: UUID, user: CurrentUser, db: Db, wanted: WantedCancellation | None = None
) -> CancelledBooking:
    """Cancel a confirmed booking before it begins; whether the credit was given back is said in `refunded`."""
    reason = wanted.reason if wanted else None
    booking, refunded = changes.cancel(db, booking_id, user, reason or None)
    return CancelledBooking(**BookingView.of(booking).model_dump(), refunded=refunded)


@router.post(
    "/{booking_id}/reschedule",
    responses=refusals(BookingNotConfirmed, BookingBegun, SlotUnavailable, OverlappingBooking, Conflict),
)
def reschedule_booking(booking_id: UUID, wanted: WantedTime, user: CurrentUser, db: Db) -> BookingView:
    """Move a confirmed booking to another open slot of its coach before it begins; no credit moves."""
    return BookingView.of(changes.reschedule(db, booking_id, user, wanted.slot_datetime))


@router.post("/{booking_id}/no-show", responses=refusals(BookingNotConfirmed, BookingNotBegun))
def mark_missed(booking_id: UUID, user: CurrentUser, db: Db) -> BookingView:
    """Say that the athlete did not come, once the session has begun; nothing is given back."""
    return BookingView.of(changes.mark_missed(db, booking_id, user))
