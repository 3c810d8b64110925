"""How routes begin an athlete's onboarding, find the one that is under way, and hand it the profile."""

from contextlib import suppress
from uuid import UUID

from sqlalchemy.orm import Session

from workflows.athlete_onboarding import PROFILE, Registration, athlete_onboarding
from workflows.engine.search import Filter
from zea.accounts import service
from zea.accounts.models import AthleteProfile, User
from zea.accounts.schemas import Profile
from zea.api.executions import client
from zea.errors import Conflict, DeadlinePassed


def begin(db: Session, user_id: UUID, email: str) -> UUID:
    """Start an onboarding once ``db``'s transaction commits; answers its id."""
    return client.start(athlete_onboarding, Registration(user_id, email), actor=f"user:{user_id}", db=db).execution_id


def begin_anew(db: Session, athlete_id: UUID) -> UUID:
    """Start another onboarding after one that failed; answers its id.

    Raises:
        Conflict: one is under way, or the athlete may book already.
    """
    # Of two requests at once, the second sees what the first has started.
    athlete = service.hold_user(db, athlete_id)
    if athlete.can_book:
        raise Conflict("Your onboarding is done: you may book.")
    if under_way(db, athlete_id):
        raise Conflict("Your onboarding is under way: complete your profile.")
    return begin(db, athlete.id, athlete.email)


def under_way(db: Session, athlete_id: UUID) -> UUID | None:
    """The athlete's onboarding that has not ended."""
    wanted = Filter(workflow=athlete_onboarding.name, subject=f"user:{athlete_id}", active=True)
    found = client.list_executions(wanted, limit=1, db=db).items
    return found[0].execution_id if found else None


def save_profile(db: Session, athlete: User, profile: Profile) -> tuple[AthleteProfile, UUID | None]:
    """Keep a profile, and answer the onboarding that asks for it, or will; answers that one's id.

    The execution is held from before the profile is written: it either asks already, or finds the profile when it does.
    """
    execution_id = under_way(db, athlete.id)
    asked = client.hold_pending(execution_id, PROFILE, db) if execution_id else None
    saved = service.save_profile(db, athlete.id, profile)
    if asked:
        # After its deadline the profile is kept all the same, and the next onboarding finds it.
        with suppress(DeadlinePassed):
            client.approve(asked.approval_id, profile.model_dump(mode="json"), actor=f"user:{athlete.id}", db=db)
    return saved, execution_id
