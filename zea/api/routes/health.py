"""Whether this process lives, and whether it can do its work."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Literal

import anyio
from pydantic import BaseModel
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from workflows.engine.pulse import QueueAge, late_after
from zea.api import limits, routing
from zea.api.checks import answer_within, beside_the_pool
from zea.api.description import refusals
from zea.api.executions import client
from zea.errors import Degraded, Unreachable
from zea.stack import schema

router = routing.router("/health", "health")

PATIENCE = 1.0  # seconds for each check


class Health(BaseModel):
    """All is well."""

    status: Literal["alive", "ready"]


class WorkflowHealth(BaseModel):
    """Executions move: times are in seconds."""

    status: Literal["healthy"]
    oldest_due_seconds: float
    failed_in_last_hour: int
    sweep_lag_seconds: float
    queues: list[QueueAge]


@router.get("/live")
async def live() -> Health:
    """Whether the process lives; it looks at nothing else."""
    return Health(status="alive")


@router.get("/ready")
async def ready() -> Health:
    """Whether database, schema and broker let it do its work; 503 says what does not."""
    reasons = await _reasons_against({"database": _database_problem, "broker": _broker_problem})
    if reasons:
        raise Unreachable("; ".join(reasons))
    return Health(status="ready")


@router.get("/workflows", responses=refusals(Degraded))
def workflows() -> WorkflowHealth:
    """Whether executions move: 503 with what does not, for longer than two sweeps take."""
    pulse = client.pulse()
    if problems := pulse.problems(late_after()):
        raise Degraded("; ".join(problems))
    return WorkflowHealth(status="healthy", **asdict(pulse))


async def _reasons_against(checks: dict[str, Callable[[], str | None]]) -> list[str]:
    found: dict[str, str | None] = {}

    async def run(name: str) -> None:
        found[name] = await _within_patience(name, checks[name])

    async with anyio.create_task_group() as group:
        for name in checks:
            group.start_soon(run, name)
    return [reason for name in checks if (reason := found[name])]


async def _within_patience(name: str, check: Callable[[], str | None]) -> str | None:
    try:
        return await answer_within(PATIENCE, check)
    except TimeoutError:
        return f"the {name} does not answer within {PATIENCE:g} s"


def _database_problem() -> str | None:
    try:
        with beside_the_pool() as db:
            behind = schema.is_behind(db.connection())
    except SQLAlchemyError:
        return "the database cannot be reached"
    return "the database is not migrated: run `zea db upgrade`" if behind else None


def _broker_problem() -> str | None:
    try:
        limits.broker().ping()
    except RedisError:
        return "the broker cannot be reached"
    return None
