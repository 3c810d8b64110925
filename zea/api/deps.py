"""What routes ask for: a transaction, who calls, and the caller's idempotency key."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.security import OAuth2PasswordBearer
from sqlalchemy.orm import Session

from zea.accounts import service, tokens
from zea.accounts.models import Role, User
from zea.accounts.tokens import Identity as TokenIdentity
from zea.db import transaction
from zea.errors import Forbidden, Unauthenticated, Unreachable

TURNS = 16  # fewer than threads and connections (zea.db.POOL_SIZE): the rest is for work that ends in its own thread
TURN_PATIENCE = 2.0  # seconds, as long as the pool waits

_bearer = OAuth2PasswordBearer(tokenUrl="/api/auth/login", auto_error=False)


async def turn(request: Request) -> AsyncIterator[None]:
    """A place among the requests that may hold a connection, or a locked row, while they wait for a thread.

    FastAPI runs one request in several threads, one after the other: the route, the making of its answer, the commit.
    With as many turns as threads, every thread could wait for what is held by a request that waits for a thread.

    Raises:
        Unreachable: too many others; nothing was done.
    """
    turns: asyncio.Semaphore = request.app.state.turns
    try:
        await asyncio.wait_for(turns.acquire(), TURN_PATIENCE)
    except TimeoutError:
        raise Unreachable("Too many requests at once; nothing was changed. Try again in a second.") from None
    try:
        yield
    finally:
        turns.release()


def database(_: Annotated[None, Depends(turn, scope="function")]) -> Iterator[Session]:
    """The request's unit of work. No connection is taken before the first statement."""
    with transaction() as db:
        yield db


# The scope matters: without it FastAPI would commit after the answer is out, and a commit that fails would have been
# answered with success.
Db = Annotated[Session, Depends(database, scope="function")]


async def identity(token: Annotated[str | None, Depends(_bearer)]) -> TokenIdentity:
    if token is None:
        raise Unauthenticated
    return tokens.identify(token)


# Who the token says is calling, without a look at the database.
Identity = Annotated[TokenIdentity, Depends(identity)]


def current_user(caller: Identity) -> User:
    # A transaction of its own, which begins and ends in one thread: see `turn`.
    with transaction() as db:
        return service.require_active(db, caller.user_id)


# Who is calling, as the database has them now.
CurrentUser = Annotated[User, Depends(current_user)]


def require_role(*roles: Role) -> Callable[[User], User]:
    """A dependency: the caller, who has one of the roles now."""

    def caller_with_role(user: CurrentUser) -> User:
        if user.role not in roles:
            raise Forbidden
        return user

    return caller_with_role


Athlete = Annotated[User, Depends(require_role(Role.ATHLETE))]
Coach = Annotated[User, Depends(require_role(Role.COACH))]
Admin = Annotated[User, Depends(require_role(Role.ADMIN))]


def require_token_role(*roles: Role) -> Callable[[TokenIdentity], object]:
    """A dependency without I/O: the caller, whose token has one of the roles.

    The route must check in its own transaction, with ``accounts.service.require_active``, that the account is open.
    """

    async def identity_with_role(caller: Identity) -> TokenIdentity:
        if caller.role not in roles:
            raise Forbidden
        return caller

    return identity_with_role


AthleteIdentity = Annotated[TokenIdentity, Depends(require_token_role(Role.ATHLETE))]


def client_address(request: Request) -> str:
    return request.client.host if request.client else "unknown"


ClientAddress = Annotated[str, Depends(client_address)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="A name for this request, of visible characters, so that a retry joins it. Kept for 24 hours.",
    ),
]
