"""Metrics for Prometheus."""

import hmac
from collections.abc import Callable
from typing import Annotated, TypeVar

import anyio
from fastapi import Depends, Request, Response
from fastapi.security import HTTPAuthorizationCredentials as Sent
from fastapi.security import HTTPBearer
from prometheus_client.exposition import choose_encoder
from redis.exceptions import RedisError

from workflows.engine.census import Census
from zea.api import metrics, routing
from zea.api.checks import answer_within, beside_the_pool
from zea.api.description import refusals
from zea.api.errors import UNAVAILABLE
from zea.api.executions import client
from zea.api.http_metrics import http_metrics
from zea.config import settings
from zea.errors import Forbidden, Unauthenticated, Unreachable

router = routing.router("/metrics", "health")

TOKEN = HTTPBearer(scheme_name="ZEA_METRICS_TOKEN", auto_error=False)
PATIENCE = 2.0  # seconds; whoever scrapes waits for ten, and wants to know that nobody answers
Found = TypeVar("Found")


class TextResponse(Response):
    """In Prometheus' format."""

    media_type = "text/plain"


@router.get(
    "",
    response_class=TextResponse,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}, "example": "zea_database_up 1.0\n"}}},
        **refusals(Unauthenticated, Forbidden),
    },
)
async def get_metrics(request: Request, sent: Annotated[Sent | None, Depends(TOKEN)]) -> Response:
    """How executions, queues, sweeps and requests fare; outside local to whoever has `ZEA_METRICS_TOKEN`.

    It is answered even while the database or the broker is not there, and says so.
    """
    _require_token(sent.credentials if sent else "")
    snapshot = await _snapshot()
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    registry = metrics.registry_of(snapshot, http_metrics())
    # Written beside the requests too: it takes some milliseconds, in which nothing else would be answered.
    written = await answer_within(PATIENCE, lambda: encode(registry))
    return Response(written, headers={"Content-Type": content_type})


def _require_token(sent: str) -> None:
    expected = settings().metrics_token
    if expected is None:
        if settings().environment != "local":
            raise Forbidden("Metrics are told to nobody before ZEA_METRICS_TOKEN is set.")
    elif not hmac.compare_digest(sent.encode(), expected.get_secret_value().encode()):
        raise Unauthenticated("Send ZEA_METRICS_TOKEN as `Authorization: Bearer …`.")


async def _snapshot() -> metrics.Snapshot:
    """Everything asked for side by side."""
    found: dict[str, object] = {}

    async def ask(name: str, question: Callable[[], object]) -> None:
        found[name] = await _or_none(question)

    async with anyio.create_task_group() as group:
        for name, question in (
            ("census", _census),
            ("lines", metrics.lines),
            ("flower_is_up", metrics.flower_is_up),
        ):
            group.start_soon(ask, name, question)
    return metrics.Snapshot(found["census"], found["lines"], bool(found["flower_is_up"]))  # type: ignore[arg-type]


def _census() -> Census:
    with beside_the_pool() as db:
        return client.census(db)


async def _or_none(question: Callable[[], Found]) -> Found | None:
    """What is answered; None if nothing is, in time."""
    try:
        return await answer_within(PATIENCE, question)
    except (TimeoutError, RedisError, Unreachable, *UNAVAILABLE):
        return None
