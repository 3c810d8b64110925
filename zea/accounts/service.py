"""Accounts: who people are, and what athletes tell of themselves."""

from unicodedata import normalize
from uuid import UUID

from sqlalchemy import Select, bindparam, func, insert, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from zea.accounts.models import AthleteProfile, Role, User
from zea.accounts.passwords import hash_password
from zea.accounts.schemas import NewUser, Profile, Registration, UserChanges
from zea.credits.models import CreditAccount
from zea.db import connection
from zea.errors import EmailTaken, NotFound, Unauthenticated

OPEN_ACCOUNT = select(User.id).where(User.id == bindparam("user_id"), User.is_active)


def email_key(email: str) -> str:
    """What makes an address the same address: not its case, nor how its characters are composed."""
    folded = normalize("NFKC", email.strip()).casefold()
    return normalize("NFKC", folded)


# Accounts


def register(db: Session, registration: Registration, password_hash: str) -> UUID:
    """Make an athlete, who may book once their profile is complete.

    Raises:
        EmailTaken: the address has an account, however it is written.
    """
    return _insert_user(db, registration, password_hash, Role.ATHLETE, can_book=False)


def create_user(db: Session, user: NewUser) -> UUID:
    """Make a person of any role, on behalf of an admin. Such an athlete may book at once (domain.md, section 2).

    Raises:
        EmailTaken: the address has an account, however it is written.
    """
    may_book = user.role is Role.ATHLETE
    return _insert_user(db, user, hash_password(user.password), user.role, can_book=may_book)


def _insert_user(db: Session, person: Registration, password_hash: str, role: Role, *, can_book: bool) -> UUID:
    # The unique index decides, also between two that register at the same moment: the second waits for the first.
    statement = (
        postgresql.insert(User)
        .values(
            email=person.email,
            email_key=email_key(person.email),
            password_hash=password_hash,
            name=person.name or person.email.partition("@")[0],
            role=role.value,
            locale=person.locale,
            timezone=person.timezone,
            can_book=can_book,
        )
        .on_conflict_do_nothing(index_elements=[User.email_key])
        .returning(User.id)
    )
    user_id = db.scalar(statement)
    if user_id is None:
        raise EmailTaken
    if role is Role.ATHLETE:
        db.execute(insert(CreditAccount).values(athlete_id=user_id, balance=0))
    return user_id


def find_user(db: Session, user_id: UUID) -> User:
    """The person.

    Raises:
        NotFound: there is none.
    """
    user = db.scalar(select(User).where(User.id == user_id))
    if user is None:
        raise NotFound("There is no such person.")
    return user


def hold_user(db: Session, user_id: UUID) -> User:
    """The person as they are now, whom nobody else changes until the transaction ends.

    Raises:
        NotFound: there is none.
    """
    held = select(User).where(User.id == user_id).with_for_update(key_share=True)
    user = db.scalar(held, execution_options={"populate_existing": True})
    if user is None:
        raise NotFound("There is no such person.")
    return user


def require_active(db: Session, user_id: UUID) -> User:
    """The person, who still has an open account.

    Raises:
        Unauthenticated: the account was closed or removed after its token was handed out.
    """
    user = db.scalar(select(User).where(User.id == user_id, User.is_active))
    if user is None:
        raise Unauthenticated
    return user


def check_active(db: Session, user_id: UUID) -> None:
    """Pass if the account is open; cheaper than to read the person.

    Raises:
        Unauthenticated: the account was closed or removed after its token was handed out.
    """
    if connection(db).execute(OPEN_ACCOUNT, {"user_id": user_id}).first() is None:
        raise Unauthenticated


def users(role: Role | None = None) -> Select[User]:
    """Everybody, or everybody of one role."""
    everybody = select(User)
    return everybody if role is None else everybody.where(User.role == role.value)


def change_user(db: Session, user_id: UUID, changes: UserChanges) -> User:
    """Change what is given.

    Raises:
        NotFound: there is no such person.
    """
    values = changes.model_dump(exclude_none=True)
    if not values:
        return find_user(db, user_id)
    user = db.scalars(update(User).where(User.id == user_id).values(values).returning(User)).one_or_none()
    if user is None:
        raise NotFound("There is no such person.")
    return user


# Profiles


def save_profile(db: Session, athlete_id: UUID, profile: Profile) -> AthleteProfile:
    """Keep the profile, in place of an earlier one."""
    values = profile.model_dump(mode="json")
    statement = (
        postgresql.insert(AthleteProfile)
        .values(athlete_id=athlete_id, **values)
        .on_conflict_do_update(
            index_elements=[AthleteProfile.athlete_id], set_={**values, "updated_at": func.clock_timestamp()}
        )
        .returning(AthleteProfile)
    )
    return db.execute(statement, execution_options={"populate_existing": True}).scalar_one()


def get_profile(db: Session, athlete_id: UUID) -> AthleteProfile:
    """What the athlete tells of themselves.

    Raises:
        NotFound: nothing yet.
    """
    profile = db.scalar(select(AthleteProfile).where(AthleteProfile.athlete_id == athlete_id))
    if profile is None:
        raise NotFound("There is no such profile, or none that you may see.")
    return profile
