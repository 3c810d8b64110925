"""Sign-ins: what a password is checked against, and refresh tokens, which are rotated and revoked by families."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from zea.accounts import tokens
from zea.accounts.models import RefreshToken, Role, User
from zea.accounts.schemas import TokenPair
from zea.accounts.service import email_key
from zea.db import new_id


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a sign-in is checked against."""

    user_id: UUID
    role: Role
    password_hash: str


def find_credentials(db: Session, email: str) -> Credentials | None:
    """The open account with this address, if there is one."""
    statement = select(User.id, User.role, User.password_hash).where(User.email_key == email_key(email), User.is_active)
    row = db.execute(statement).one_or_none()
    return Credentials(row.id, Role(row.role), row.password_hash) if row else None


def start_session(db: Session, user_id: UUID, role: Role) -> TokenPair | None:
    """The first pair of tokens after a sign-in; all that are rotated from it share a family.

    None if the account was closed since its password was looked at: closing ends all sign-ins, and must see this one.
    """
    is_open = select(User.id).where(User.id == user_id, User.is_active).with_for_update(key_share=True)
    return None if db.scalar(is_open) is None else _token_pair(db, user_id, role, family_id=new_id())


def rotate(db: Session, refresh_token: str) -> TokenPair | None:
    """The next pair for a refresh token, which is used up by this.

    None when it is not valid. A token that was used before is a copy in the wrong hands, or the owner's after a thief
    was faster: its whole family ends (RFC 9700, section 4.14.2). That must be committed, so it is told by the None
    and not by an exception, which would roll it back.
    """
    token_hash = tokens.refresh_hash(refresh_token)
    owner = _lock_owner(db, token_hash)
    if owner is None:
        return None
    family_id = _use_up(db, token_hash)
    if family_id is None or not owner.is_active:
        _revoke_family(db, token_hash)
        return None
    return _token_pair(db, owner.id, Role(owner.role), family_id)


def end_session(db: Session, refresh_token: str) -> None:
    """Revoke the token and all that were rotated from the same sign-in; one that is not known changes nothing."""
    token_hash = tokens.refresh_hash(refresh_token)
    _lock_owner(db, token_hash)
    _revoke_family(db, token_hash)


def prune(db: Session, limit: int) -> int:
    """Remove at most ``limit`` refresh tokens that have expired; answers how many that were."""
    expired = (
        select(RefreshToken.id)
        .where(RefreshToken.expires_at < func.statement_timestamp())
        .order_by(RefreshToken.expires_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("expired")
    )
    removing = delete(RefreshToken).where(RefreshToken.id.in_(select(expired.c.id))).returning(RefreshToken.id)
    return len(db.scalars(removing).all())


def _lock_owner(db: Session, token_hash: str) -> User | None:
    """The token's owner, held until the end of the transaction.

    Otherwise a rotation could hand out a new token of a family at the moment in which that family is revoked, and the
    revocation would not see it.
    """
    statement = (
        select(User)
        .join(RefreshToken, RefreshToken.user_id == User.id)
        .where(RefreshToken.token_hash == token_hash)
        .with_for_update(of=User, key_share=True)
    )
    return db.scalar(statement)


def _use_up(db: Session, token_hash: str) -> UUID | None:
    """The family of the token, if it was still good: unused, not revoked, and before its deadline."""
    statement = (
        update(RefreshToken)
        .where(
            RefreshToken.token_hash == token_hash,
            RefreshToken.used_at.is_(None),
            RefreshToken.revoked_at.is_(None),
            RefreshToken.expires_at > func.clock_timestamp(),
        )
        .values(used_at=func.clock_timestamp())
        .returning(RefreshToken.family_id)
    )
    return db.scalar(statement)


def _revoke_family(db: Session, token_hash: str) -> None:
    family = select(RefreshToken.family_id).where(RefreshToken.token_hash == token_hash).scalar_subquery()
    db.execute(
        update(RefreshToken)
        .where(RefreshToken.family_id == family, RefreshToken.revoked_at.is_(None))
        .values(revoked_at=func.clock_timestamp())
    )


def _token_pair(db: Session, user_id: UUID, role: Role, family_id: UUID) -> TokenPair:
    refresh_token = tokens.new_refresh_token()
    db.execute(
        insert(RefreshToken).values(
            user_id=user_id,
            family_id=family_id,
            token_hash=tokens.refresh_hash(refresh_token),
            expires_at=func.clock_timestamp() + tokens.REFRESH_LIFETIME,
        )
    )
    return TokenPair(
        access_token=tokens.access_token(user_id, role),
        refresh_token=refresh_token,
        expires_in=int(tokens.ACCESS_LIFETIME.total_seconds()),
    )
