"""What routes ask for: a transaction, who calls, and the caller's idempotency key."""

from collections.abc import Callable, Iterator
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.security import OAuth2PasswordBearer
from sqlalchemy.orm import Session

from zea.accounts import service, tokens
from zea.accounts.models import Role, User
from zea.accounts.tokens import Identity as TokenIdentity
from zea.db import transaction
from zea.errors import Forbidden, Unauthenticated

_bearer = OAuth2PasswordBearer(tokenUrl="/api/auth/login", auto_error=False)


def database() -> Iterator[Session]:
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
    # A transaction of its own: with the request's, twenty requests that wait for a thread would hold every connection
    # that the requests in those threads wait for.
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
