"""Training sessions: their time, which the coach is paid for, and what athlete and coach say of them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from zea.accounts.models import Role
from zea.bookings.models import Booking, BookingStatus
from zea.context import ApprovalOutcome, StepContext
from zea.db import clock_of
from zea.errors import BookingNotConfirmed, Conflict, InvalidInput
from zea.training.models import DECLINED, NO_EVALUATION, NO_RESPONSE, RECEIVED, AthleteFeedback, CoachEvaluation
from zea.training.schemas import AthleteEvaluation, BookingFeedback, EvaluationView, FeedbackView, SessionFeedback

LONGEST_SESSION = timedelta(hours=12)
# A coach may have begun before the slot does, the same day.
EARLIEST_START = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class RecordedTime:
    """What the coach is paid for."""

    billable_minutes: int


@dataclass(frozen=True, slots=True)
class AthleteHeard:
    """Whether the athlete has said something."""

    athlete_feedback_received: bool


@dataclass(frozen=True, slots=True)
class CoachHeard:
    """Whether the coach has said something."""

    coach_evaluation_received: bool


@dataclass(frozen=True, slots=True)
class FinalizedSession:
    """How a training session ended."""

    session_finalized: bool
    billable_minutes: int
    has_athlete_feedback: bool
    has_coach_evaluation: bool
    has_complete_feedback: bool


# Steps


def record_time(
    db: Session, *, booking_id: UUID, actual_start_time: datetime, actual_end_time: datetime
) -> RecordedTime:
    """Complete the booking, with the minutes between start and end, rounded half up.

    Raises:
        BookingNotConfirmed: it was completed, cancelled, missed or moved meanwhile.
    """
    minutes = rounded_minutes(actual_end_time - actual_start_time)
    statement = (
        update(Booking)
        .where(
            Booking.id == booking_id,
            Booking.status == BookingStatus.CONFIRMED.value,
            # It may have been moved since it was asked for.
            Booking.starts_at <= actual_start_time + EARLIEST_START,
        )
        .values(
            status=BookingStatus.COMPLETED.value,
            actual_start_time=actual_start_time,
            actual_end_time=actual_end_time,
            actual_duration_minutes=minutes,
        )
        .returning(Booking.id)
    )
    if db.scalar(statement) is None:
        raise BookingNotConfirmed
    return RecordedTime(minutes)


def rounded_minutes(period: timedelta) -> int:
    """Whole minutes; half a minute counts as one."""
    return (period + timedelta(seconds=30)) // timedelta(minutes=1)


def record_athlete_feedback(
    db: Session, *, ctx: StepContext, booking_id: UUID, outcome: ApprovalOutcome, response: SessionFeedback | None
) -> AthleteHeard:
    """Keep what the athlete said, or that nothing was said."""
    said = {
        "execution_id": ctx.execution_id,
        "status": _status(outcome, NO_RESPONSE),
        "rating": response and response.rating,
        "objectives_met": response and response.objectives_met,
        "comments": response and response.comments,
    }
    # A rerun asks again: what is said last counts.
    insert = postgresql.insert(AthleteFeedback).values(booking_id=booking_id, **said)
    db.execute(insert.on_conflict_do_update(index_elements=[AthleteFeedback.booking_id], set_=said))
    return AthleteHeard(response is not None)


def record_coach_evaluation(
    db: Session, *, ctx: StepContext, booking_id: UUID, outcome: ApprovalOutcome, response: AthleteEvaluation | None
) -> CoachHeard:
    """Keep what the coach said, or that nothing was said."""
    said = {
        "execution_id": ctx.execution_id,
        "status": _status(outcome, NO_EVALUATION),
        "performance_rating": response and response.performance_rating,
        "areas_worked": response.areas_worked if response else [],
        "areas_to_improve": response.areas_to_improve if response else [],
        "notes_for_next_session": response and response.notes_for_next_session,
    }
    insert = postgresql.insert(CoachEvaluation).values(booking_id=booking_id, **said)
    db.execute(insert.on_conflict_do_update(index_elements=[CoachEvaluation.booking_id], set_=said))
    return CoachHeard(response is not None)


def _status(outcome: ApprovalOutcome, timed_out: str) -> str:
    match outcome:
        case ApprovalOutcome.APPROVED:
            return RECEIVED
        case ApprovalOutcome.REJECTED:
            return DECLINED
        case ApprovalOutcome.EXPIRED:
            return timed_out


def finalize_session(
    db: Session,
    *,
    ctx: StepContext,
    booking_id: UUID,
    billable_minutes: int,
    athlete_feedback_received: bool,
    coach_evaluation_received: bool,
) -> FinalizedSession:
    """Close the booking, with or without what was asked for.

    Raises:
        Conflict: it is not completed.
    """
    statement = (
        update(Booking)
        .where(Booking.id == booking_id, Booking.status == BookingStatus.COMPLETED.value)
        .values(status=BookingStatus.FINALIZED.value, finalized_at=ctx.now)
        .returning(Booking.id)
    )
    if db.scalar(statement) is None:
        raise Conflict("Only a completed booking can be finalized.")
    return FinalizedSession(
        session_finalized=True,
        billable_minutes=billable_minutes,
        has_athlete_feedback=athlete_feedback_received,
        has_coach_evaluation=coach_evaluation_received,
        has_complete_feedback=athlete_feedback_received and coach_evaluation_received,
    )


# Completing


def check_completion(db: Session, booking: Booking, start: datetime, end: datetime) -> None:
    """Pass if the booking can be completed with these times.

    Raises:
        BookingNotConfirmed: it is not confirmed, or not any more.
        InvalidInput: the times cannot be (domain.md, section 2); the field is named.
    """
    if booking.status != BookingStatus.CONFIRMED:
        raise BookingNotConfirmed
    if end <= start:
        raise InvalidInput("A training session ends after it starts.", "actual_end_time")
    if end - start > LONGEST_SESSION:
        raise InvalidInput("A training session is at most 12 hours long.", "actual_end_time")
    if end > clock_of(db):
        raise InvalidInput("It has not ended yet: complete it once it has.", "actual_end_time")
    if start < booking.starts_at - EARLIEST_START:
        raise InvalidInput("It starts no earlier than 24 hours before its slot.", "actual_start_time")


# What people see


def feedback_of(db: Session, booking: Booking, viewer_id: UUID, role: Role) -> BookingFeedback:
    """What was said of the booking's session: one's own at once, the other's once the booking is finalized."""
    said = db.scalar(select(AthleteFeedback).where(AthleteFeedback.booking_id == booking.id))
    judged = db.scalar(select(CoachEvaluation).where(CoachEvaluation.booking_id == booking.id))
    all_of_it = role is Role.ADMIN or booking.status == BookingStatus.FINALIZED
    return BookingFeedback(
        booking_id=booking.id,
        athlete_feedback=FeedbackView.of(said) if said and (all_of_it or viewer_id == booking.athlete_id) else None,
        coach_evaluation=EvaluationView.of(judged) if judged and (all_of_it or viewer_id == booking.coach_id) else None,
    )
