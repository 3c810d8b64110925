"""A person's own account."""

from zea.accounts import service
from zea.accounts.schemas import Me, UserChanges
from zea.api import routing
from zea.api.deps import CurrentUser, Db

router = routing.router("/api/me", "me")


@router.get("")
def show_me(user: CurrentUser) -> Me:
    return Me.of(user)


@router.patch("")
def change_me(changes: UserChanges, user: CurrentUser, db: Db) -> Me:
    return Me.of(service.change_user(db, user.id, changes))
