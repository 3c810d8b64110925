"""Onboarding: from a registration to an athlete who may book."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated
from uuid import UUID

from pydantic import Field
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from zea.accounts import service
from zea.accounts.models import AthleteProfile, Role, User
from zea.accounts.schemas import ExperienceLevel, LongText, Profile, ShortText
from zea.context import ApprovalOutcome, Personal, StepContext
from zea.errors import Conflict, InvalidInput, NotFound


@dataclass(frozen=True)
class ProfileAnswer:
    """What an athlete tells of themselves before they may book."""

    sport: ShortText
    position: ShortText
    objectives: Annotated[list[ShortText], Field(min_length=1, max_length=50)]
    experience_level: ExperienceLevel
    injury_history: Personal[LongText | None] = None
    special_notes: Personal[LongText | None] = None


@dataclass(frozen=True, slots=True)
class ValidRegistration:
    """The account is there, and an athlete's."""

    user_id: UUID
    email: str
    registration_valid: bool


@dataclass(frozen=True, slots=True)
class EnabledBooking:
    """The athlete may book."""

    can_book: bool


@dataclass(frozen=True, slots=True)
class OnboardingAnalytics:
    """How long it took from the beginning of the onboarding to its end."""

    onboarding_completed: bool
    user_id: UUID
    duration_seconds: float


# Steps


def validate_registration(db: Session, *, user_id: UUID, email: str) -> ValidRegistration:
    """Pass for an athlete.

    Raises:
        NotFound: there is no such account, or it is nobody's who books.
    """
    found = db.scalar(select(User.id).where(User.id == user_id, User.role == Role.ATHLETE.value))
    if found is None:
        raise NotFound(f"User {user_id} not found")
    return ValidRegistration(user_id, email, registration_valid=True)


def saved_profile(db: Session, user_id: UUID) -> ProfileAnswer | None:
    """What the athlete has told already, if they have."""
    profile = db.scalar(select(AthleteProfile).where(AthleteProfile.athlete_id == user_id))
    if profile is None:
        return None
    return ProfileAnswer(
        sport=profile.sport,
        position=profile.position,
        objectives=list(profile.objectives),
        experience_level=ExperienceLevel(profile.experience_level),
        injury_history=profile.injury_history,
        special_notes=profile.special_notes,
    )


def record_profile(db: Session, *, user_id: UUID, outcome: ApprovalOutcome, response: ProfileAnswer | None) -> None:
    """Keep what the athlete told, wherever they told it."""
    if response is not None:
        service.save_profile(db, user_id, Profile.model_validate(response, from_attributes=True))


def validate_profile_data(db: Session, *, request_profile_completion: ProfileAnswer) -> None:
    """Pass for a profile that says what a coach must know.

    Raises:
        InvalidInput: a required field is empty.
    """
    answer = request_profile_completion
    for name in ("sport", "position", "objectives", "experience_level"):
        if not getattr(answer, name):
            raise InvalidInput(f"The profile needs {name}.", name)


def enable_booking_capability(db: Session, *, user_id: UUID) -> EnabledBooking:
    """The athlete may book from now on; the moment of the first time is kept.

    Raises:
        Conflict: they are no athlete any more.
    """
    enabled = (
        update(User)
        .where(User.id == user_id, User.role == Role.ATHLETE.value)
        .values(can_book=True, profile_completed_at=func.coalesce(User.profile_completed_at, func.clock_timestamp()))
        .returning(User.id)
    )
    if db.scalar(enabled) is None:
        raise Conflict("Only athletes book, and this person is none any more.")
    return EnabledBooking(can_book=True)


def disable_booking_capability(db: Session, *, user_id: UUID) -> None:
    """Take it back."""
    db.execute(update(User).where(User.id == user_id).values(can_book=False, profile_completed_at=None))


def track_analytics(db: Session, *, ctx: StepContext, user_id: UUID) -> OnboardingAnalytics:
    """How long the onboarding took, in seconds."""
    took: timedelta = ctx.now - ctx.started_at
    return OnboardingAnalytics(onboarding_completed=True, user_id=user_id, duration_seconds=took.total_seconds())
