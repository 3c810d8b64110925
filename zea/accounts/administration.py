"""What admins change about other people's accounts: whether they are open, and what people are on the platform."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from zea.accounts.models import RefreshToken, Role, User
from zea.accounts.schemas import AccountChanges
from zea.credits.models import CreditAccount
from zea.errors import Conflict, NotFound


def change_account(db: Session, user_id: UUID, changes: AccountChanges) -> User:
    """Change what is given.

    Raises:
        NotFound: there is no such person.
        Conflict: nobody would be left to run the business.
    """
    held = _held(db, user_id)
    user = next((each for each in held if each.id == user_id), None)
    if user is None:
        raise NotFound("There is no such person.")
    is_active = user.is_active if changes.is_active is None else changes.is_active
    role = Role(user.role) if changes.role is None else changes.role
    if _runs_the_business(user) and not (is_active and role is Role.ADMIN) and _others(held, user) == 0:
        raise Conflict("This is the last admin with an open account: make another one first.")
    if role != user.role:
        _become(db, user, role)
    if user.is_active and not is_active:
        _sign_out_everywhere(db, user)
    user.is_active = is_active
    db.flush()
    return user


def _held(db: Session, user_id: UUID) -> Sequence[User]:
    """The person and all admins, in a fixed order: two who demote each other come one after the other."""
    admins = (User.role == Role.ADMIN.value) & User.is_active
    wanted = select(User).where(or_(User.id == user_id, admins)).order_by(User.id).with_for_update(key_share=True)
    return db.scalars(wanted, execution_options={"populate_existing": True}).all()


def _runs_the_business(user: User) -> bool:
    return user.is_active and user.role == Role.ADMIN


def _others(held: Sequence[User], user: User) -> int:
    return sum(_runs_the_business(each) for each in held if each is not user)


def _become(db: Session, user: User, role: Role) -> None:
    """An athlete who is made by an admin may book at once (domain.md, section 2); nobody else ever may."""
    user.role, user.can_book = role.value, role is Role.ATHLETE
    if role is Role.ATHLETE:
        opening = postgresql.insert(CreditAccount).values(athlete_id=user.id, balance=0)
        db.execute(opening.on_conflict_do_nothing(index_elements=[CreditAccount.athlete_id]))


def _sign_out_everywhere(db: Session, user: User) -> None:
    """For good: should the account be opened again, its people sign in again."""
    db.execute(
        update(RefreshToken)
        .where(RefreshToken.user_id == user.id, RefreshToken.revoked_at.is_(None))
        .values(revoked_at=func.clock_timestamp())
    )
