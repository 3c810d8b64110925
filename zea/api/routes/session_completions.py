"""Completing a training session: its time is kept at once, and what is said of it is asked for."""

from uuid import UUID

from fastapi import Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from workflows.engine.models import ENDED
from workflows.engine.status import Standing
from workflows.session_completion import CompletedSession, session_completion
from zea import errors
from zea.accounts.models import Role, User
from zea.api import description, routing
from zea.api.deps import CurrentUser, IdempotencyKey
from zea.api.description import refusals
from zea.api.executions import PreferredWait, Waiting, client, undecided
from zea.api.idempotency import KeyedRequest, claim
from zea.api.parties import actor_of
from zea.api.schemas import AwareDatetime, Request
from zea.bookings import service as bookings
from zea.db import new_id, transaction
from zea.notifications.texts import Language, language_of
from zea.training import service as training

router = routing.router("/api/bookings", "bookings")

RECORDED = {
    Language.SPANISH: "La sesión quedó registrada. Pedimos su opinión al atleta y al coach.",
    Language.ENGLISH: "The session is recorded. The athlete and the coach are asked how it was.",
}


class Completion(Request):
    """When the session really was. ``athlete_id``, if it is sent, must be the booking's."""

    actual_start_time: AwareDatetime
    actual_end_time: AwareDatetime
    athlete_id: UUID | None = None


class CompletionOf(BaseModel):
    """What an idempotency key stands for: under the same key, another booking's completion is another request."""

    booking_id: UUID
    completion: Completion


class RecordedSession(BaseModel):
    """The session's time is kept: it is what the coach is paid for."""

    message: str
    execution_id: UUID
    billable_minutes: int


@router.post(
    "/{booking_id}/complete",
    response_model=RecordedSession,
    responses={
        **description.accepted("decided"),
        **refusals(errors.BookingNotConfirmed, errors.Cancelled),
    },
)
async def complete_booking(
    booking_id: UUID,
    completion: Completion,
    user: CurrentUser,
    wait: PreferredWait,
    waiting: Waiting,
    key: IdempotencyKey = None,
) -> Response:
    """Record the time of a confirmed booking's session; 409 if it was completed, cancelled or missed."""
    body = CompletionOf(booking_id=booking_id, completion=completion)
    with waiting.expecting(new_id()) as waiter:
        waiter.follow(await run_in_threadpool(_begin, body, user, key, waiter.execution_id))
        return _answer(await waiter.until(_is_decided, wait), user)


def _begin(request: CompletionOf, user: User, key: str | None, execution_id: UUID) -> UUID:
    """The execution that this request stands for: a new one, or the one that its key began before."""
    caller, completion = actor_of(user), request.completion
    with transaction() as db:
        booking = bookings.get_booking(db, request.booking_id, user.id, Role(user.role))
        bookings.require_its_coach(booking, user.id, Role(user.role))
        known_id = claim(db, KeyedRequest(key, caller, "bookings.complete", request), execution_id)
        if known_id == execution_id:
            _check_athlete(completion.athlete_id, booking.athlete_id)
            start, end = completion.actual_start_time, completion.actual_end_time
            training.check_completion(db, booking, start, end)
            inputs = CompletedSession(booking.id, booking.athlete_id, booking.coach_id, start, end)
            client.start(session_completion, inputs, actor=caller, execution_id=execution_id, db=db)
    return known_id


def _check_athlete(said: UUID | None, athlete_id: UUID) -> None:
    if said not in (None, athlete_id):
        raise errors.InvalidInput("This is not the athlete of the booking: leave it out, or correct it.", "athlete_id")


def _is_decided(standing: Standing) -> bool:
    """What the coach is paid for is kept first; what is said of the session may take days."""
    return standing.status in ENDED or "billable_minutes" in standing.output


def _answer(standing: Standing, user: User) -> Response:
    execution_id, minutes = standing.execution_id, standing.output.get("billable_minutes")
    if minutes is not None:
        recorded = RecordedSession(
            message=RECORDED[language_of(user.locale)],
            execution_id=execution_id,
            billable_minutes=minutes,
        )
        return JSONResponse(recorded.model_dump(mode="json"))
    return undecided(standing)
