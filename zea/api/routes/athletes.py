"""What athletes tell of themselves, and who may read it."""

from uuid import UUID

from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from workflows.engine.models import ENDED
from workflows.engine.status import Standing
from zea.accounts import service
from zea.accounts.models import Role, User
from zea.accounts.schemas import Profile
from zea.api import onboardings, routing
from zea.api.deps import CurrentUser, Db, IdempotencyKey
from zea.api.description import refusals
from zea.api.executions import PreferredWait, Waiting
from zea.api.idempotency import KeyedRequest, NoBody, idempotent
from zea.api.parties import actor_of
from zea.bookings import service as bookings
from zea.db import new_id, transaction
from zea.errors import Conflict, NotFound

router = routing.router("/api/athletes", "athletes")

HIDDEN = NotFound("There is no such profile, or none that you may see.")


class SavedProfile(BaseModel):
    """A profile as it is kept now, what that makes of the athlete, and the onboarding that it was for."""

    profile: Profile
    can_book: bool
    onboarding_execution_id: UUID | None


class StartedOnboarding(BaseModel):
    """A new onboarding."""

    onboarding_execution_id: UUID


@router.put("/me/profile")
async def save_my_profile(
    profile: Profile, athlete: CurrentUser, wait: PreferredWait, waiting: Waiting
) -> SavedProfile:
    """Keep it; whoever is being onboarded may book a moment later, which is waited for."""
    with waiting.expecting(new_id()) as waiter:
        saved, onboarding_id = await run_in_threadpool(_save, athlete, profile)
        if onboarding_id:
            waiter.follow(onboarding_id)
            await waiter.until(_is_decided, wait)
    can_book = await run_in_threadpool(_may_book, athlete.id)
    return SavedProfile(profile=saved, can_book=can_book, onboarding_execution_id=onboarding_id)


def _save(athlete: User, profile: Profile) -> tuple[Profile, UUID | None]:
    with transaction() as db:
        saved, onboarding_id = onboardings.save_profile(db, athlete, profile)
        return Profile.of(saved), onboarding_id


def _is_decided(standing: Standing) -> bool:
    return standing.status in ENDED or bool(standing.output.get("can_book"))


def _may_book(athlete_id: UUID) -> bool:
    with transaction() as db:
        return service.find_user(db, athlete_id).can_book


@router.post("/me/onboarding", status_code=201, responses=refusals(Conflict))
def begin_onboarding_anew(athlete: CurrentUser, db: Db, key: IdempotencyKey = None) -> StartedOnboarding:
    """Begin again after an onboarding that failed; 409 when one is under way, or done."""
    request = KeyedRequest(key, actor_of(athlete), "athletes.begin_onboarding", NoBody())
    return idempotent(db, request, StartedOnboarding, lambda: _begun(db, athlete.id))


def _begun(db: Db, athlete_id: UUID) -> StartedOnboarding:
    return StartedOnboarding(onboarding_execution_id=onboardings.begin_anew(db, athlete_id))


@router.get("/{athlete_id}/profile")
def get_profile(athlete_id: UUID, user: CurrentUser, db: Db) -> Profile:
    """For the athlete, for coaches with whom they have a live booking, and for admins."""
    if not _may_read(db, user, athlete_id):
        raise HIDDEN
    return Profile.of(service.get_profile(db, athlete_id))


def _may_read(db: Db, user: User, athlete_id: UUID) -> bool:
    match user.role:
        case Role.ADMIN:
            return True
        case Role.COACH:
            return bookings.trains(db, user.id, athlete_id)
    return user.id == athlete_id
