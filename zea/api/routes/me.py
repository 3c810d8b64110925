"""A person's own account."""

from zea.accounts import service
from zea.accounts.schemas import Me, UserChanges
from zea.api import routing
from zea.api.deps import CurrentUser, Db

router = routing.router("/api/me", "me")


@router.get("")
def show_me(user: CurrentUser) -> Me:
    """One's own account."""
    return Me.of(user)


@router.patch("")
def change_me(changes: UserChanges, user: CurrentUser, db: Db) -> Me:
    """Change what is sent of one's own account; what is absent or null stays."""
    return Me.of(service.change_user(db, user.id, changes))
