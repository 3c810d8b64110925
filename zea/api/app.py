"""The HTTP application. Run it with `uvicorn --factory zea.api.app:create_app`."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from importlib.metadata import version

import anyio.to_thread
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.concurrency import run_in_threadpool

from workflows.catalog import registry
from zea import logs, tracing
from zea.api.deps import TURNS
from zea.api.description import described
from zea.api.errors import add_handlers
from zea.api.executions import client
from zea.api.gate import behind_the_gate
from zea.api.http_metrics import http_metrics
from zea.api.limits import BodyLimit
from zea.api.observation import UNSAID, Observation
from zea.api.routes.watching import MOST_WATCHERS
from zea.api.routing import RepeatedRoute
from zea.api.silence import attend
from zea.api.waiting import WaitingRoom
from zea.config import settings
from zea.db import POOL_SIZE, engine, transaction

# The first to match is taken, so what is asked most comes first.
ROUTES = (
    "booking_requests",
    "health",
    "metrics",
    "auth",
    "me",
    "athletes",
    "coaches",
    "bookings",
    "booking_changes",
    "session_completions",
    "feedback",
    "approvals",
    "credits",
    "notifications",
    "reports",
    "executions",
    "watching",
    "interventions",
    "admin_users",
)

# Requests only: metrics and log lines are zea's own, and what is asked every few seconds would bury the rest.
TRACED: TelemetryConfig = {
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
    "exclude": lambda scope: scope["path"].startswith(UNSAID),
}


def create_app() -> FastAPI:
    """A new application.

    Raises:
        ConfigurationError: a setting is missing or unsafe, or a route is not in the table of access, or past the gate.
    """
    settings()
    if logging.getLogger("uvicorn").handlers:
        # Run by a server that set up its own log lines: from here on they are as all others.
        logs.configure()
    metrics = http_metrics()
    app = FastAPI(
        title="zea",
        version=version("zea"),
        description="Athletes book hours with coaches and pay with credits.",
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
        # A redirected POST is lost on many clients: a path is right as it is documented, or not found.
        redirect_slashes=False,
        telemetry=TRACED,
    )
    # What is added here and not to a router stands behind the gate as well.
    app.router.route_class = RepeatedRoute
    app.state.turns = asyncio.Semaphore(TURNS)
    app.state.watchers = asyncio.Semaphore(MOST_WATCHERS)
    add_handlers(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(Observation, metrics=metrics)
    for name in ROUTES:
        app.include_router(behind_the_gate(import_module(f"zea.api.routes.{name}").router))
    app.openapi = partial(described, app)  # type: ignore[method-assign]  # FastAPI's own way to change it
    return app


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """What runs beside the requests: the one subscription and the one poll of all who wait for an execution."""
    # A thread that waits for a connection helps nobody: there are as many threads as connections.
    anyio.to_thread.current_default_thread_limiter().total_tokens = POOL_SIZE
    attend(engine())
    tracing.begin("zea-api")
    await run_in_threadpool(_check_definitions)
    room = WaitingRoom(client)
    async with room.open():
        app.state.waiting_room = room
        yield
    # uvicorn ends itself by the signal that it was ended by, which Python does not tidy up after.
    await run_in_threadpool(tracing.end)


def _check_definitions() -> None:
    with transaction() as db:
        registry.register(db)
