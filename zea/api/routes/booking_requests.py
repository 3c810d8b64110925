"""Asking for a booking: starts the workflow, waits a moment, and answers with what came of it."""

from functools import partial
from uuid import UUID

from fastapi import Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from workflows.booking_request import BookingRequest, booking_request
from workflows.engine.models import ENDED
from workflows.engine.status import Standing
from zea import errors
from zea.accounts import service as accounts
from zea.api import description, routing
from zea.api.deps import IdempotencyKey, Identity
from zea.api.description import CREATED, refusals
from zea.api.errors import UNAVAILABLE
from zea.api.executions import LONGEST_WAIT, PreferredWait, Waiting, client, undecided
from zea.api.idempotency import KeyedRequest, claim
from zea.api.schemas import AwareDatetime, Request
from zea.api.waiting import WaitingRoom
from zea.bookings import answers
from zea.bookings import service as bookings
from zea.bookings.models import BookingStatus
from zea.db import new_id, transaction

router = routing.router("/api/bookings", "bookings")

LONGEST_NOTES = 2000


class NewBooking(Request):
    """Which hour of which coach, and what the coach should know."""

    coach_id: UUID
    slot_datetime: AwareDatetime
    notes: str | None = Field(default=None, max_length=LONGEST_NOTES)


class ConfirmedBooking(BaseModel):
    """The booking stands; or, when the request is repeated later, how it stands by then."""

    booking_id: UUID
    status: BookingStatus
    execution_id: UUID


@router.post(
    "",
    status_code=201,
    response_model=ConfirmedBooking,
    responses={
        201: CREATED,
        **description.accepted("decided"),
        **refusals(
            errors.SlotUnavailable,
            errors.InsufficientCredits,
            errors.OnboardingIncomplete,
            errors.OverlappingBooking,
            errors.Cancelled,
        ),
    },
)
async def request_booking(
    booking: NewBooking,
    athlete: Identity,
    wait: PreferredWait,
    waiting: Waiting,
    key: IdempotencyKey = None,
) -> Response:
    """Book an hour with a coach; one credit is taken when it is confirmed."""
    own_id = new_id()
    with waiting.expecting(own_id) as waiter:
        waiter.follow(await run_in_threadpool(_begin, booking, athlete, key, waiter.execution_id))
        standing = await waiter.until(_is_decided, wait)
        if not _is_decided(standing) and not await _accepted(waiting, waiter.execution_id):
            # It has come to nothing at this moment: the caller is told why, and not to wait.
            standing = await waiter.until(_is_decided, LONGEST_WAIT)
        if not _is_confirmed(standing):
            return undecided(standing)
        is_repeated = waiter.execution_id != own_id
        return await run_in_threadpool(_present, standing) if is_repeated else _confirmed(standing)


def _begin(booking: NewBooking, athlete: Identity, key: str | None, execution_id: UUID) -> UUID:
    """The execution that this request stands for: a new one, or the one that its key began before."""
    caller = f"user:{athlete.user_id}"
    request = KeyedRequest(key, caller, "bookings.request", booking)
    inputs = BookingRequest(athlete.user_id, booking.coach_id, booking.slot_datetime, booking.notes)
    with transaction() as db:
        accounts.check_active(db, athlete.user_id)
        known_id = claim(db, request, execution_id)
        if known_id == execution_id:
            client.start(booking_request, inputs, actor=caller, execution_id=execution_id, db=db)
    return known_id


async def _accepted(waiting: WaitingRoom, execution_id: UUID) -> bool:
    """Whether the caller is told to wait. It is accepted: that the database is away at this moment changes nothing."""
    try:
        return await run_in_threadpool(_accept, execution_id)
    except UNAVAILABLE:
        waiting.see_to(partial(_accept, execution_id))
        return True


def _accept(execution_id: UUID) -> bool:
    """Keep that the caller is told to wait, so that the athlete hears of it if it comes to nothing."""
    with transaction() as db:
        return answers.accept(db, execution_id)


def _is_decided(standing: Standing) -> bool:
    """Once confirmed a booking stands: telling coach and athlete does not delay the answer."""
    return standing.status in ENDED or _is_confirmed(standing)


def _is_confirmed(standing: Standing) -> bool:
    return bool(standing.output.get("status") == BookingStatus.CONFIRMED)


def _present(standing: Standing) -> Response:
    """For a request that is repeated: the booking may have been changed since the first one was answered."""
    with transaction() as db:
        return _confirmed(standing, bookings.status_of(db, UUID(standing.output["booking_id"])))


def _confirmed(standing: Standing, status: BookingStatus = BookingStatus.CONFIRMED) -> Response:
    booking = ConfirmedBooking(
        booking_id=standing.output["booking_id"], status=status, execution_id=standing.execution_id
    )
    location = f"/api/bookings/{booking.booking_id}"
    return JSONResponse(booking.model_dump(mode="json"), 201, headers={"Location": location})
