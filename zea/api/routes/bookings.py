"""Bookings, as their parties see them."""

from typing import Annotated
from uuid import UUID

from fastapi import Query

from zea.accounts.models import Role
from zea.api import routing
from zea.api.deps import CurrentUser, Db
from zea.api.paging import Page, Paging, page
from zea.api.schemas import AwareDatetime
from zea.bookings import service
from zea.bookings.models import Booking, BookingStatus
from zea.bookings.schemas import BookingView

router = routing.router("/api/bookings", "bookings")

From = Annotated[AwareDatetime | None, Query(alias="from", description="the earliest start")]
To = Annotated[AwareDatetime | None, Query(alias="to", description="starts before this")]


@router.get("")
def list_bookings(
    user: CurrentUser,
    db: Db,
    paging: Paging,
    status: BookingStatus | None = None,
    from_at: From = None,
    to_at: To = None,
) -> Page[BookingView]:
    """One's own bookings, or for an admin everybody's."""
    found = service.visible_bookings(user.id, Role(user.role), status, from_at, to_at)
    return page(db, found, Booking.created_at, Booking.id, paging, BookingView.of)


@router.get("/{booking_id}")
def get_booking(booking_id: UUID, user: CurrentUser, db: Db) -> BookingView:
    """One booking, for its parties and for admins."""
    return BookingView.of(service.get_booking(db, booking_id, user.id, Role(user.role)))
