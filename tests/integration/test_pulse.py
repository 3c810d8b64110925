"""GET /health/workflows: whether executions move."""

from typing import Any

import httpx
import pytest
from sqlalchemy import text

from tests.requested_booking import completed_booking, failed_booking, requested_booking
from workflows.catalog import registry
from workflows.engine.client import ExecutionClient
from workflows.engine.pulse import FAILED, OVERDUE
from zea.db import transaction

client = ExecutionClient(registry)
PROBED = """
    INSERT INTO workflow_queues (queue, probed_at, passed_at)
    VALUES (:queue, now() - :probed * interval '1 second', now() - :passed * interval '1 second')"""


def probed(queue: str, probed_ago: float, passed_ago: float | None) -> None:
    with transaction() as db:
        db.execute(text(PROBED), {"queue": queue, "probed": probed_ago, "passed": passed_ago})


def degraded(api: httpx.Client) -> str:
    answer = api.get("/health/workflows")
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["type"]) == (503, "urn:zea:problem:degraded")
    return str(problem["detail"])


def test_what_moves_is_healthy(api: httpx.Client) -> None:
    completed_booking()
    failed_booking()
    probed("workflows", 1, 1)
    answer = api.get("/health/workflows")
    assert answer.status_code == 200
    health = answer.json()
    assert (health["status"], health["oldest_due_seconds"], health["failed_in_last_hour"]) == ("healthy", 0, 1)
    assert 1 <= health["sweep_lag_seconds"] < 3
    assert health["queues"] == [{"queue": "workflows", "age_seconds": 0}]


def test_what_failed_long_ago_is_not_counted(database: str) -> None:
    failed_booking()
    with transaction() as db:
        db.execute(text("UPDATE workflow_executions SET completed_at = completed_at - interval '61 minutes'"))
    assert client.pulse().failed_in_last_hour == 0


def test_before_the_first_sweep_it_says_so(api: httpx.Client) -> None:
    assert "no sweep has run yet" in degraded(api)


def test_sweeps_that_stopped_are_named(api: httpx.Client) -> None:
    probed("workflows", 11, 11)
    assert degraded(api) == "no sweep for 11 s: do beat and the sweeper run?"


@pytest.mark.parametrize("passed_ago", [12, None])
def test_a_queue_that_nobody_works_off_is_named(api: httpx.Client, passed_ago: float | None) -> None:
    probed("workflows", 1, 1)
    probed("notifications", 1 if passed_ago else 12, passed_ago)
    assert "what was sent to notifications waits for 12 s: does its worker run?" in degraded(api)


def test_work_that_is_long_due_is_named(api: httpx.Client) -> None:
    requested_booking()
    probed("workflows", 1, 1)
    assert client.pulse().oldest_due_seconds == 0
    with transaction() as db:
        db.execute(text("UPDATE workflow_executions SET due_at = now() - interval '20 seconds'"))
    assert degraded(api) == "the oldest due work is 20 s late"


@pytest.mark.parametrize("query", [OVERDUE, FAILED])
def test_it_costs_what_is_due_or_failed_and_not_what_there_is(database: str, query: str) -> None:
    with transaction() as db:
        db.execute(text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join(db.scalars(text(f"EXPLAIN {query}")))
    assert "Seq Scan" not in plan
    assert "ix_workflow_executions_" in plan
