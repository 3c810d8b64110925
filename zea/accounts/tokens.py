"""Access tokens, which say who calls without a look at the database, and refresh tokens, which do not."""

import secrets
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import jwt

from zea import clock
from zea.accounts.models import Role
from zea.config import settings
from zea.errors import Unauthenticated

ALGORITHM = "HS256"
ISSUER = "zea"
AUDIENCE = "zea-api"
ACCESS_LIFETIME = timedelta(minutes=15)
REFRESH_LIFETIME = timedelta(days=30)
REQUIRED_CLAIMS = ("exp", "iat", "iss", "aud", "sub", "role")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a valid access token says is calling; the account may have been closed since it was handed out."""

    user_id: UUID
    role: Role


def access_token(user_id: UUID, role: Role) -> str:
    """A signed token that names the user for the next 15 minutes."""
    issued_at = clock.now()
    claims = {
        "sub": str(user_id),
        "role": role.value,
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": issued_at,
        "exp": issued_at + ACCESS_LIFETIME,
    }
    return jwt.encode(claims, settings().secret_key.get_secret_value(), algorithm=ALGORITHM)


def identify(token: str) -> Identity:
    """Who the access token names.

    Raises:
        Unauthenticated: it is expired, forged, for somebody else, or no token at all.
    """
    try:
        claims = _decoded(token)
        return Identity(UUID(claims["sub"]), Role(claims["role"]))
    except (jwt.InvalidTokenError, ValueError):
        raise Unauthenticated from None


def _decoded(token: str) -> dict[str, Any]:
    # The algorithm is ours to choose, never the token's header's: otherwise "none" would be a valid signature.
    return jwt.decode(
        token,
        settings().secret_key.get_secret_value(),
        algorithms=[ALGORITHM],
        audience=AUDIENCE,
        issuer=ISSUER,
        options={"require": list(REQUIRED_CLAIMS)},
    )


def new_refresh_token() -> str:
    """256 random bits."""
    return secrets.token_urlsafe(32)


def refresh_hash(token: str) -> str:
    """What is kept of a refresh token. It is random already, so a plain SHA-256 cannot be reversed by guessing."""
    return sha256(token.encode(errors="replace")).hexdigest()
