"""Routes behind the gate, run again after a deadlock or a serialization failure, as if it had not happened."""

import asyncio
from contextlib import AsyncExitStack
from random import uniform

import psycopg
from fastapi import APIRouter
from sqlalchemy.exc import DBAPIError
from starlette.requests import Request
from starlette.responses import Response

from zea.api.gate import GatedRoute, Handler

ATTEMPTS = 4
SHORTEST_PAUSE, LONGEST_PAUSE = 0.01, 0.05  # seconds
# Where FastAPI keeps the dependencies of scope "function" that a request has opened.
FUNCTION_STACK = "fastapi_function_astack"


class RepeatedRoute(GatedRoute):
    """A route whose transactions PostgreSQL may end for another's sake: nothing was committed, so it is run again."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def handle_again(request: Request) -> Response:
            for _ in range(ATTEMPTS - 1):
                try:
                    return await _alone(handle, request)
                except (DBAPIError, psycopg.Error) as error:
                    if not ended_for_another(error):
                        raise
                    await asyncio.sleep(uniform(SHORTEST_PAUSE, LONGEST_PAUSE))  # noqa: S311 not for secrets
            return await _alone(handle, request)

        return handle_again


async def _alone(handle: Handler, request: Request) -> Response:
    """One attempt, whose transaction has ended, with its locks, before there is another one."""
    async with AsyncExitStack() as stack:
        request.scope[FUNCTION_STACK] = stack
        return await handle(request)


def ended_for_another(error: Exception) -> bool:
    """Whether the transaction was ended so that others could go on: a deadlock, or a serialization failure."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return isinstance(cause, psycopg.errors.DeadlockDetected | psycopg.errors.SerializationFailure)


def router(prefix: str, tag: str) -> APIRouter:
    """A router of the API: its routes stand under ``prefix`` and are documented under ``tag``."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=RepeatedRoute)
