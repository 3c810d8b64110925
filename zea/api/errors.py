"""Every error as an RFC 9457 problem: the only place that knows which HTTP status an error has."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from psycopg import errors as postgres
from sqlalchemy import exc as sqlalchemy
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zea import errors
from zea.api.schemas import PROBLEM_MEDIA_TYPE, FieldProblem, Problem
from zea.db import first_line

log = logging.getLogger(__name__)

# The nearest class of an error's ancestry decides, so a new domain error has a status by where it stands in the tree.
STATUSES: Mapping[type[Exception], HTTPStatus] = {
    errors.ZeaError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.Unreachable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.Busy: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.InvalidInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.TooManyRequests: HTTPStatus.TOO_MANY_REQUESTS,
    errors.DeadlinePassed: HTTPStatus.GONE,
    errors.Conflict: HTTPStatus.CONFLICT,
    # The key is fine, its second use is not: a retry cannot cure it, which is what 409 would suggest.
    errors.IdempotencyKeyReused: HTTPStatus.UNPROCESSABLE_ENTITY,
}
RETRY_SOON = {"Retry-After": "1"}
LONGEST_FIELD = 100
UNCHANGED = "The service is busy or restarting; nothing was changed. Try again in a second."
UNKNOWN = (
    "The connection to the database was lost: whether anything was changed is not known. Try again in a second with "
    "the same Idempotency-Key, or look first."
)

# The engine speaks psycopg directly, so its errors come without SQLAlchemy's wrapping.
UNAVAILABLE = (
    sqlalchemy.TimeoutError,
    sqlalchemy.OperationalError,
    sqlalchemy.InterfaceError,
    postgres.OperationalError,
    postgres.InterfaceError,
)

# Problems that have no ZeaError behind them.
KINDS: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: "unauthenticated",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "content_too_large",
    HTTPStatus.UNPROCESSABLE_ENTITY: errors.InvalidInput.kind,
    HTTPStatus.SERVICE_UNAVAILABLE: errors.Unreachable.kind,
}


def add_handlers(app: FastAPI) -> None:
    """Make every error of the application a problem."""
    app.add_exception_handler(errors.ZeaError, _zea_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    for unavailable in UNAVAILABLE:
        app.add_exception_handler(unavailable, _database_unavailable)
    app.add_exception_handler(postgres.DataError, _unstorable)
    app.add_exception_handler(sqlalchemy.DBAPIError, _database_error)
    app.add_middleware(Unexpected)


def status_of(kind: type[Exception]) -> HTTPStatus:
    """The HTTP status of errors of this class."""
    return next(STATUSES[ancestor] for ancestor in kind.__mro__ if ancestor in STATUSES)


def problem(
    request: Request,
    status: int,
    kind: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    fields: Sequence[FieldProblem] | None = None,
) -> JSONResponse:
    """An error's answer."""
    content = Problem(
        type=f"urn:zea:problem:{kind.replace('_', '-')}",
        title=kind.replace("_", " ").capitalize(),
        status=status,
        detail=detail,
        instance=request.url.path,
        errors=None if fields is None else list(fields),
    )
    return JSONResponse(
        content.model_dump(exclude_none=True), status, headers=dict(headers or {}), media_type=PROBLEM_MEDIA_TYPE
    )


def too_large(request: Request, limit: int) -> JSONResponse:
    """The answer to a body of more than ``limit`` bytes."""
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return problem(request, status, KINDS[status], f"Send at most {limit // 1024} kB.")


async def _zea_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.ZeaError)
    status = status_of(type(error))
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        return _internal_error(request, error)
    return problem(request, status, error.kind, error.message, headers=_headers(error), fields=_fields(error))


def _headers(error: errors.ZeaError) -> dict[str, str]:
    match error:
        case errors.Unauthenticated():
            return {"WWW-Authenticate": "Bearer"}
        case errors.TooManyRequests():
            return {"Retry-After": str(max(1, round(error.retry_after)))}
        case errors.Unreachable() | errors.Busy():
            return RETRY_SOON
    return {}


def _fields(error: errors.ZeaError) -> list[FieldProblem] | None:
    if not isinstance(error, errors.InvalidInput):
        return None
    return [FieldProblem(field=error.field, message=error.message)] if error.field else []


async def _invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    fields = [_field_problem(found) for found in error.errors()]
    detail = "; ".join(f"{found.field}: {found.message}" for found in fields[:5])
    return problem(request, HTTPStatus.UNPROCESSABLE_ENTITY, errors.InvalidInput.kind, detail, fields=fields)


def _field_problem(found: Mapping[str, Any]) -> FieldProblem:
    """Only where and what: pydantic's own report also carries what was sent."""
    if found["type"] == "json_invalid":
        return FieldProblem(field="body", message=f"malformed JSON at character {found['loc'][-1]}")
    return FieldProblem(field=_field(found["loc"]), message=str(found["msg"]).removeprefix("Value error, "))


def _field(location: Iterable[int | str]) -> str:
    place, *path = location
    return ".".join(str(part) for part in path)[:LONGEST_FIELD] or str(place)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    # Starlette answers 400 to bodies that it cannot read; here whatever cannot be understood is a 422.
    status = HTTPStatus.UNPROCESSABLE_ENTITY if error.status_code == HTTPStatus.BAD_REQUEST else error.status_code
    kind = KINDS.get(status, HTTPStatus(status).phrase.lower().replace(" ", "_"))
    fields: list[FieldProblem] | None = [] if status == HTTPStatus.UNPROCESSABLE_ENTITY else None
    return problem(request, status, kind, str(error.detail), headers=error.headers, fields=fields)


async def _database_unavailable(request: Request, error: Exception) -> JSONResponse:
    """No connection, no free one in time, a deadlock or a serialization failure: the same request may succeed now."""
    log.warning("database unavailable: %s", first_line(error))
    detail = UNKNOWN if _may_have_been_committed(error) else UNCHANGED
    return problem(request, HTTPStatus.SERVICE_UNAVAILABLE, errors.Unreachable.kind, detail, headers=RETRY_SOON)


def _may_have_been_committed(error: Exception) -> bool:
    """Whether a connection in use was lost: the last that was sent over it may have been its commit."""
    return bool(getattr(error, "connection_invalidated", False))


async def _database_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, sqlalchemy.DBAPIError)
    if error.connection_invalidated or isinstance(error.orig, postgres.OperationalError):
        return await _database_unavailable(request, error)
    if isinstance(error.orig, postgres.DataError):
        return await _unstorable(request, error)
    return _internal_error(request, error)


async def _unstorable(request: Request, error: Exception) -> JSONResponse:
    return await _zea_error(request, errors.InvalidInput("A value cannot be stored, such as a NUL character."))


class Unexpected:
    """ASGI middleware that answers what nobody expected.

    Starlette would do that outside of everything else: the line in the log would not say which request it was, and the
    server would log it all once more, with the values at hand.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def send_on(message: Message) -> None:
            nonlocal has_begun
            has_begun = has_begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, send_on)
        except Exception as error:
            if scope["type"] != "http" or has_begun:
                raise
            await _internal_error(Request(scope), error)(scope, receive, send)


def _internal_error(request: Request, error: Exception) -> JSONResponse:
    """Say nothing of the inside to the caller, and all of it to the log."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(
        request,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        errors.ZeaError.kind,
        "Something went wrong here; it was recorded. Try again later.",
    )
