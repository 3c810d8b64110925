"""What athletes tell of themselves."""

from uuid import UUID

from pydantic import BaseModel

from zea.accounts import service
from zea.accounts.schemas import Profile
from zea.api import routing
from zea.api.deps import CurrentUser, Db

router = routing.router("/api/athletes", "athletes")


class SavedProfile(BaseModel):
    """A profile as it is kept now, and what that makes of the athlete."""

    profile: Profile
    can_book: bool
    onboarding_execution_id: UUID | None


@router.put("/me/profile")
def save_my_profile(profile: Profile, athlete: CurrentUser, db: Db) -> SavedProfile:
    saved = service.save_profile(db, athlete.id, profile)
    # Until there is an onboarding workflow, which will do this as one of its steps.
    service.enable_booking(db, athlete.id)
    return SavedProfile(profile=Profile.of(saved), can_book=True, onboarding_execution_id=None)
