"""What routes ask for: a transaction, who calls, and the caller's idempotency key."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Annotated

from fastapi import Depends, Header, Request
from sqlalchemy.orm import Session

from zea.accounts.models import User
from zea.accounts.tokens import Identity as TokenIdentity
from zea.db import transaction
from zea.errors import Unreachable

TURNS = 16  # fewer than threads and connections (zea.db.POOL_SIZE): the rest is for work that ends in its own thread
TURN_PATIENCE = 2.0  # seconds, as long as the pool waits


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


# Who calls was found out, and whether they may, before a route is asked (`zea.api.gate`): it only asks who it is.


async def identity(request: Request) -> TokenIdentity:
    caller: TokenIdentity = request.state.identity
    return caller


async def current_user(request: Request) -> User:
    user: User = request.state.user
    return user


# Who the token says is calling. A route whose entry in the table of access has `route_checks_account` knows no more.
Identity = Annotated[TokenIdentity, Depends(identity)]
# Who is calling, as the database has them now.
CurrentUser = Annotated[User, Depends(current_user)]


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
