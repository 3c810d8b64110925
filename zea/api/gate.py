"""The gate: a route lets in whom its entry in the table of access names, before anything else of a request is read."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Depends
from fastapi.params import Depends as Dependency
from fastapi.routing import APIRoute
from fastapi.security import OAuth2PasswordBearer
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from zea import logs
from zea.accounts import service, tokens
from zea.accounts.models import Role, User
from zea.accounts.tokens import Identity
from zea.api.access import ANYONE, Access, entry_for
from zea.db import transaction
from zea.errors import ConfigurationError, Forbidden, Unauthenticated

BEARER = OAuth2PasswordBearer(tokenUrl="/api/auth/login", auto_error=False)

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class GatedRoute(APIRoute):
    """A route that has an entry in the table of access, and stands behind the gate.

    Raises:
        ConfigurationError: it has none.
    """

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        methods: set[str] | list[str] | None = None,
        dependencies: Sequence[Dependency] | None = None,
        **more: Any,
    ) -> None:
        self.access = entry_for(_only(methods, path), path)
        # The gate reads the token itself. This tells the API's description that there has to be one.
        described = [] if self.access.who is ANYONE else [Depends(BEARER)]
        super().__init__(path, endpoint, methods=methods, dependencies=[*described, *(dependencies or [])], **more)

    def get_route_handler(self) -> Handler:
        """FastAPI's handler behind the gate; as a dependency it would come after the body was read and found wrong."""
        handle = super().get_route_handler()

        async def handle_if_admitted(request: Request) -> Response:
            await admit(request, self.access)
            return await handle(request)

        return handle_if_admitted


def behind_the_gate(router: APIRouter) -> APIRouter:
    """The router, each of whose routes has its entry: most routes do not ask who calls, and would serve everybody.

    Raises:
        ConfigurationError: a route was not made by `zea.api.routing.router`.
    """
    for route in router.routes:
        if not isinstance(route, GatedRoute):
            raise ConfigurationError(
                f"{getattr(route, 'path', route)} does not stand behind the gate, so it is not served: "
                "make its router with zea.api.routing.router."
            )
    return router


def _only(methods: set[str] | list[str] | None, path: str) -> str:
    match list(methods or ["GET"]):
        case [method]:
            return method
    raise ConfigurationError(f"{path} is one route for several methods: make one for each, with its own entry.")


async def admit(request: Request, access: Access) -> None:
    """Let the caller through, and keep for the route who it is.

    Raises:
        Unauthenticated: no valid token, or the account was closed or removed.
        Forbidden: the caller's role may not call this.
    """
    if access.who is ANYONE:
        return
    identity = await _identify(request)
    role = identity.role if access.route_checks_account else await _present_role(request, identity.user_id)
    if role not in access.who.roles:
        raise Forbidden


async def _identify(request: Request) -> Identity:
    token = await BEARER(request)
    if token is None:
        raise Unauthenticated
    identity = request.state.identity = tokens.identify(token)
    logs.now_about(user_id=identity.user_id)
    return identity


async def _present_role(request: Request, user_id: UUID) -> Role:
    """As the database has it now, which may not be what the token says."""
    user = request.state.user = await run_in_threadpool(_with_open_account, user_id)
    return Role(user.role)


def _with_open_account(user_id: UUID) -> User:
    # A transaction of its own, which begins and ends in one thread: see `zea.api.deps.turn`.
    with transaction() as db:
        return service.require_active(db, user_id)
