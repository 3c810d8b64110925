"""Registering, signing in, and staying signed in."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Response
from fastapi.security import OAuth2PasswordRequestForm
from pydantic import BaseModel, Field

from zea.accounts import passwords, service, sign_ins
from zea.accounts.schemas import Registration, TokenPair
from zea.api import onboardings, routing
from zea.api.deps import ClientAddress, Db, IdempotencyKey
from zea.api.description import refusals
from zea.api.idempotency import KeyedRequest, idempotent
from zea.api.limits import record_failure, refuse_after_failures
from zea.api.schemas import Request
from zea.db import transaction
from zea.errors import EmailTaken, TooManyRequests, Unauthenticated
from zea.notifications.texts import Language, language_of

router = routing.router("/api/auth", "auth")

WELCOME = {
    Language.SPANISH: "Tu cuenta está lista. Completa tu perfil para reservar.",
    Language.ENGLISH: "Your account is ready. Complete your profile to book.",
}


class Registered(BaseModel):
    """A new athlete, and the onboarding that was started for them."""

    user_id: UUID
    onboarding_execution_id: UUID
    message: str


class RefreshRequest(Request):
    """A refresh token, given back."""

    refresh_token: str = Field(min_length=1, max_length=512, repr=False)


@router.post("/register", status_code=201, responses=refusals(EmailTaken))
def register(registration: Registration, db: Db, key: IdempotencyKey = None) -> Registered:
    """Make an athlete's account and begin their onboarding; 409 if the email has one."""
    # Hashed first: no connection is held meanwhile.
    password_hash = passwords.hash_password(registration.password)
    # Nobody is signed in: the address stands for the caller, so that strangers who chose the same key do not meet.
    caller = f"email:{service.email_key(registration.email)}"
    request = KeyedRequest(key, caller, "auth.register", registration)
    return idempotent(db, request, Registered, lambda: _registered(db, registration, password_hash))


def _registered(db: Db, registration: Registration, password_hash: str) -> Registered:
    user_id = service.register(db, registration, password_hash)
    execution_id = onboardings.begin(db, user_id, registration.email)
    return Registered(
        user_id=user_id, onboarding_execution_id=execution_id, message=WELCOME[language_of(registration.locale)]
    )


@router.post("/login", responses=refusals(Unauthenticated, TooManyRequests))
def login(
    form: Annotated[OAuth2PasswordRequestForm, Depends()], address: ClientAddress, response: Response
) -> TokenPair:
    """Sign in with email and password (OAuth2 password form); failures are slowed."""
    _never_cached(response)
    email_key = service.email_key(form.username)
    refuse_after_failures(address, email_key)
    # Two transactions, so that no connection is held while the password is hashed.
    with transaction() as db:
        found = sign_ins.find_credentials(db, form.username)
    # One answer after one amount of work, whether the address, the password or the account's state was wrong.
    right = passwords.matches(form.password, found.password_hash if found else None)
    if found is None or not right:
        record_failure(address, email_key)
        raise Unauthenticated("Wrong email or password.")
    with transaction() as db:
        pair = sign_ins.start_session(db, found.user_id, found.role)
    if pair is None:
        raise Unauthenticated("Wrong email or password.")
    return pair


@router.post("/refresh", responses=refusals(Unauthenticated))
def refresh(request: RefreshRequest, response: Response) -> TokenPair:
    """The next pair of tokens; a refresh token that is used twice ends its whole sign-in."""
    _never_cached(response)
    # The error is raised after the commit: that a token was used twice must stay known.
    with transaction() as db:
        pair = sign_ins.rotate(db, request.refresh_token)
    if pair is None:
        raise Unauthenticated("This refresh token is no longer valid: sign in again.")
    return pair


@router.post("/logout", status_code=204)
def logout(request: RefreshRequest, db: Db) -> None:
    """End the sign-in that the refresh token belongs to; may be repeated."""
    sign_ins.end_session(db, request.refresh_token)


def _never_cached(response: Response) -> None:
    """RFC 6749, section 5.1."""
    response.headers["Cache-Control"] = "no-store"
