"""GET /metrics: what is told, to whom, and while servers are away."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Event
from typing import Any

import httpx
import pytest
from kombu import Connection
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from tests import monitoring_table
from tests.integration.conftest import Person
from tests.integration.test_counts import BOOKING, advance_beyond_now
from tests.monitoring_table import Metric
from tests.requested_booking import completed_booking, failed_booking, requested_booking, sleeping_booking
from workflows.catalog import registry
from workflows.engine import sweep
from workflows.engine.client import ExecutionClient
from workflows.engine.runner import Delivery, Runner
from workflows.engine.status import ExecutionSummary
from zea import config, logs
from zea.api import limits, metrics
from zea.api.routes import metrics as metrics_route
from zea.broker import app as celery
from zea.db import POOL_SIZE, transaction

client = ExecutionClient(registry)
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
TOKEN = "a-token-that-nobody-guesses"


def samples(api: httpx.Client, **headers: str) -> Samples:
    answer = api.get("/metrics", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def of(found: Samples, name: str, **labels: str) -> float | None:
    return found.get((name, tuple(sorted(labels.items()))))


def waiting_onboarding(api: httpx.Client) -> ExecutionSummary:
    """Of an athlete who is asked for a profile."""
    email = {"email": "ana@example.com", "password": "correct horse battery", "name": "Ana"}
    assert api.post("/api/auth/register", json=email).status_code == 201
    [onboarding] = client.list_executions().items
    for unit in ("validate_registration", "request_profile_completion"):
        Runner(registry, "worker:test").run(Delivery(onboarding.workflow_name, unit, onboarding.execution_id, 1))
    return onboarding


def test_what_stands_and_what_happened_is_told(api: httpx.Client, sweeps_run: None) -> None:
    completed_booking()
    failed_booking()
    requested_booking()
    with sweep.timed("fire"):
        pass
    advance_beyond_now()
    found = samples(api)
    assert of(found, "zea_executions", workflow=BOOKING, status="running") == 1
    assert of(found, "zea_executions_started_total", workflow=BOOKING) == 3
    assert of(found, "zea_executions_ended_total", workflow=BOOKING, status="completed") == 1
    assert of(found, "zea_executions_ended_total", workflow=BOOKING, status="failed") == 1
    assert of(found, "zea_executions_failed_last_hour") == 1
    assert of(found, "zea_step_failures_total", workflow=BOOKING, step="notify_coach") == 1
    assert of(found, "zea_step_duration_seconds_count", workflow=BOOKING, step="debit_credit") == 2
    assert of(found, "zea_step_duration_seconds_bucket", workflow=BOOKING, step="debit_credit", le="+Inf") == 2
    assert of(found, "zea_sweep_duration_seconds_count", sweep="fire") == 1
    assert of(found, "zea_database_up") == of(found, "zea_broker_up") == 1
    assert (of(found, "zea_counted_lag_seconds") or 0) < 30
    assert of(found, "zea_late_after_seconds") == 10


def test_exactly_what_is_documented_is_told(api: httpx.Client, admin: Person, sweeps_run: None) -> None:
    """Every metric of docs/monitoring.md, with its kind and its labels, and no other."""
    waiting_onboarding(api)
    sleeping_booking()
    failed = failed_booking()
    client.resume(failed.execution_id, actor="test", reason="so that it is counted")
    execute = "INSERT INTO workflow_events (execution_id, position, type, at, actor, data)"
    with transaction() as db:
        for position, kind in enumerate(("execution.redriven", "approval.expired"), start=100):
            fact = {"id": failed.execution_id, "position": position, "type": kind}
            values = "(:id, :position, :type, clock_timestamp(), 'test', '{\"approval\": \"asked\"}')"
            db.execute(text(f"{execute} VALUES {values}"), fact)
    with sweep.timed("fire"):
        pass
    advance_beyond_now()
    api.get("/api/me", headers=admin.headers)
    told = {
        family.name + ("_total" if family.type == "counter" else ""): Metric(
            family.type, frozenset(family.samples[0].labels) - {"le"}
        )
        for family in text_string_to_metric_families(api.get("/metrics").text)
        if family.samples
    }
    assert told == monitoring_table.metrics()


def test_the_buckets_of_a_histogram_grow(api: httpx.Client) -> None:
    completed_booking()
    advance_beyond_now()
    buckets = [
        (float(dict(labels)["le"]), value)
        for (name, labels), value in samples(api).items()
        if name == "zea_step_duration_seconds_bucket" and ("step", "debit_credit") in labels
    ]
    assert len(buckets) > 10
    counts = [value for _, value in sorted(buckets)]
    assert counts == sorted(counts)
    assert counts[-1] == 1


def test_what_waits_for_people_is_told(api: httpx.Client) -> None:
    onboarding = waiting_onboarding(api)
    found = samples(api)
    assert of(found, "zea_approvals_pending", approval="request_profile_completion") == 1
    assert 0 <= (of(found, "zea_oldest_pending_approval_seconds", approval="request_profile_completion") or -1) < 30
    assert of(found, "zea_executions", workflow=onboarding.workflow_name, status="waiting_for_approval") == 1


def test_retries_are_told(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeping_booking()
    advance_beyond_now()
    assert of(samples(api), "zea_step_retries_total", workflow=BOOKING, step="notify_coach") == 1


@pytest.fixture
def one_waits(database: str) -> Iterator[None]:
    """A message that nobody takes, and one that somebody has."""
    limits.broker().delete("reports", metrics.UNACKNOWLEDGED)
    with celery.connection_for_write() as connection:
        assert isinstance(connection, Connection)
        celery.send_task("payment_report.fetch_sessions", connection=connection, ignore_result=True)
    limits.broker().hset(metrics.UNACKNOWLEDGED, "a delivery", "taken")
    yield
    limits.broker().delete("reports", metrics.UNACKNOWLEDGED)


def test_what_waits_in_the_broker_is_told(api: httpx.Client, one_waits: None) -> None:
    found = samples(api)
    assert of(found, "zea_queue_messages", queue="reports", worker="reporter") == 1
    assert of(found, "zea_queue_messages", queue="sweeps", worker="sweeper") is not None
    assert of(found, "zea_unacknowledged_messages") == 1


def test_requests_are_counted_by_their_route(api: httpx.Client, admin: Person) -> None:
    path, route = "/api/executions/01980000-0000-7000-8000-000000000000", "/api/executions/{execution_id}"
    before = samples(api)
    for _ in range(3):
        assert api.get(path, headers=admin.headers).status_code == 404
    assert api.get("/somewhere/else").status_code == 404
    assert api.request("TRACE", "/somewhere/else").status_code == 404
    after = samples(api)

    def grew(name: str, **labels: str) -> float:
        return (of(after, name, **labels) or 0) - (of(before, name, **labels) or 0)

    assert grew("zea_http_requests_total", method="GET", route=route, status="404") == 3
    assert grew("zea_http_request_duration_seconds_count", method="GET", route=route) == 3
    assert grew("zea_http_requests_total", method="GET", route="other", status="404") == 1
    assert grew("zea_http_requests_total", method="other", route="other", status="404") == 1
    assert not [labels for _, labels in after if path in dict(labels).values()]


@pytest.mark.parametrize(("owner", "question"), [(ExecutionClient, "census"), (metrics, "lines")], ids=["db", "broker"])
def test_it_is_told_while_a_server_is_away(
    owner: object, question: str, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OperationalError("SELECT", {}, Exception("it is away"))

    monkeypatch.setattr(owner, question, fail)
    database_is_away = question == "census"
    found = samples(api)
    assert of(found, "zea_database_up") == (not database_is_away)
    assert of(found, "zea_broker_up") == database_is_away
    assert of(found, "zea_late_after_seconds") is not None
    assert any(name == "zea_http_requests_total" for name, _ in found)
    assert (of(found, "zea_oldest_due_seconds") is None) is database_is_away
    assert (of(found, "zea_unacknowledged_messages") is None) is not database_is_away


def test_it_is_told_while_a_server_does_not_answer(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = Event()
    monkeypatch.setattr(ExecutionClient, "census", lambda *_: frozen.wait(60))
    monkeypatch.setattr(metrics_route, "PATIENCE", 0.1)
    found = samples(api)
    assert not frozen.is_set()
    assert (of(found, "zea_database_up"), of(found, "zea_broker_up")) == (0, 1)
    frozen.set()


def test_a_busy_pool_is_not_taken_for_a_database_that_is_away(api: httpx.Client) -> None:
    with ExitStack() as held:
        for _ in range(POOL_SIZE):
            held.enter_context(transaction()).execute(text("SELECT 1"))
        assert of(samples(api), "zea_database_up") == 1


@pytest.fixture
def staging(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    monkeypatch.setenv("ZEA_ENVIRONMENT", "staging")
    monkeypatch.setenv("ZEA_SECRET_KEY", "x" * 32)
    config.settings.cache_clear()
    yield monkeypatch
    config.settings.cache_clear()


def test_outside_local_it_is_told_to_nobody_without_a_token(
    database: str, staging: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    api: httpx.Client = request.getfixturevalue("api")
    answer = api.get("/metrics")
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:zea:problem:forbidden")
    assert "ZEA_METRICS_TOKEN" in answer.json()["detail"]


@pytest.mark.parametrize("sent", ["", f"Bearer {TOKEN}x", "Bearer é", f"Basic {TOKEN}", "Bearer"])
def test_it_is_told_to_whoever_has_the_token(
    sent: str, database: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("ZEA_METRICS_TOKEN", TOKEN)
    config.settings.cache_clear()
    request.addfinalizer(config.settings.cache_clear)
    api: httpx.Client = request.getfixturevalue("api")
    answer = api.get("/metrics", headers={"Authorization": sent.encode()} if sent else {})
    assert (answer.status_code, answer.json()["type"]) == (401, "urn:zea:problem:unauthenticated")
    assert samples(api, Authorization=f"Bearer {TOKEN}")


@pytest.mark.parametrize(("given", "kept"), [("order-7.a_b", True), ("x" * 65, False), ("a b", False), ("", False)])
def test_a_request_is_known_by_its_id(given: str, kept: bool, api: httpx.Client) -> None:
    answer = api.get("/health/live", headers={"X-Request-ID": given})
    assert (answer.headers["X-Request-ID"] == given) is kept
    assert answer.headers["X-Request-ID"]


def test_a_line_for_a_request_has_its_route_and_machines_leave_none(
    api: httpx.Client, admin: Person, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    api.get(f"/api/executions/{admin.user_id}?q=left-knee", headers=admin.headers)
    for path in ("/health/live", "/metrics"):
        api.get(path)
    [said] = [record.getMessage() for record in caplog.records if record.name == "zea.api.observation"]
    assert said.startswith("GET /api/executions/{execution_id}: 404 in ")


def test_a_failure_is_logged_once_with_its_request(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> float:
        raise ZeroDivisionError

    monkeypatch.setattr("zea.api.routes.health.late_after", fail)
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    handler.setFormatter(logs.JsonLines())
    logging.getLogger().addHandler(handler)
    answer = api.get("/health/workflows", headers={"X-Request-ID": "mine"})
    logging.getLogger().removeHandler(handler)
    assert (answer.status_code, answer.headers["X-Request-ID"]) == (500, "mine")
    [line] = [json.loads(line) for line in said.getvalue().splitlines()]
    assert (line["level"], line["request_id"]) == ("error", "mine")
    assert "ZeroDivisionError" in line["exception"]
    assert (of(samples(api), "zea_http_requests_total", method="GET", route="/health/workflows", status="500") or 0) > 0
