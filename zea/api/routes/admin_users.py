"""People, as admins make and see them."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel

from zea.accounts import administration, service
from zea.accounts.models import Role, User
from zea.accounts.schemas import AccountChanges, Me, NewUser
from zea.api import routing
from zea.api.deps import CurrentUser, Db, IdempotencyKey
from zea.api.description import refusals
from zea.api.idempotency import KeyedRequest, idempotent
from zea.api.paging import Page, Paging, page
from zea.errors import Conflict, EmailTaken

router = routing.router("/api/admin/users", "admin")


class UserCreated(BaseModel):
    """A new person."""

    user_id: UUID


class ListedUser(Me):
    """A person, as an admin sees them."""

    is_active: bool
    created_at: datetime

    @classmethod
    def of(cls, user: User) -> Self:
        return cls(**Me.of(user).model_dump(), is_active=user.is_active, created_at=user.created_at)


@router.post("", status_code=201, responses=refusals(EmailTaken))
def create_user(user: NewUser, admin: CurrentUser, db: Db, key: IdempotencyKey = None) -> UserCreated:
    """Make an account of any role; such an athlete may book at once."""
    request = KeyedRequest(key, f"user:{admin.id}", "admin.create_user", user)
    return idempotent(db, request, UserCreated, lambda: UserCreated(user_id=service.create_user(db, user)))


@router.patch("/{user_id}", responses=refusals(Conflict))
def change_account(user_id: UUID, changes: AccountChanges, db: Db) -> ListedUser:
    """Close or open an account, or change what its person is; 409 if no admin would be left."""
    return ListedUser.of(administration.change_account(db, user_id, changes))


@router.get("")
def list_users(db: Db, paging: Paging, role: Role | None = None) -> Page[ListedUser]:
    """Everybody with an account, or everybody of one role."""
    return page(db, service.users(role), User.created_at, User.id, paging, ListedUser.of)
