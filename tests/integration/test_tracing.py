"""Traces: one from the request that began an execution through every step and every wait of it."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from threading import Event
from typing import Any
from uuid import UUID

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import text

from tests.benchmarks.seeding import customer
from tests.integration.conftest import served
from tests.integration.test_metrics import waiting_onboarding
from tests.requested_booking import BLOCK, NOTIFICATIONS, deliver, failed_booking, requested_booking, sleeping_booking
from workflows.booking_request import BookingRequest, booking_request
from workflows.catalog import registry
from workflows.engine import sweep
from workflows.engine.binding import Binding
from workflows.engine.client import ExecutionClient
from zea import tracing
from zea.api.app import create_app
from zea.db import new_id, transaction

client = ExecutionClient(registry)
STEPS = [step.name for step in booking_request.steps]
START, DONE = f"start {booking_request.name}", f"{booking_request.name} completed"
PROFILE = {"sport": "tenis", "position": "singles", "objectives": ["saque"], "experience_level": "beginner"}


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    made, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(made))
    # Its own function takes one in the life of a process.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return made


def told(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    spans = exporter.get_finished_spans()
    by_name = {span.name: span for span in spans}
    assert len(by_name) == len(spans), "each is told once"
    return by_name


def trace_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.trace_id


def is_child(span: ReadableSpan, parent: ReadableSpan) -> bool:
    assert parent.context is not None
    return (span.parent and span.parent.span_id, trace_of(span)) == (parent.context.span_id, trace_of(parent))


def seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


def booked(api: httpx.Client, **headers: str) -> UUID:
    """A booking that is accepted at once; nobody works it off."""
    athlete = customer(1)
    headers |= {"Authorization": f"Bearer {athlete.token}", "Prefer": "wait=0"}
    answer = api.post("/api/bookings", json=next(athlete.requests), headers=headers)
    assert answer.status_code == 202
    return UUID(answer.json()["execution_id"])


def test_one_trace_goes_from_the_request_through_every_step(exporter: InMemorySpanExporter, api: httpx.Client) -> None:
    deliver(booked(api), BLOCK, *NOTIFICATIONS)
    spans = told(exporter)
    assert spans.keys() == {"POST /api/bookings", START, *STEPS, DONE}
    assert is_child(spans[START], spans["POST /api/bookings"])
    assert all(is_child(spans[name], spans[START]) for name in (*STEPS, DONE))
    attributes = spans["debit_credit"].attributes or {}
    assert (attributes["zea.step"], attributes["zea.attempt"]) == ("debit_credit", 1)
    assert (
        len(
            {
                (span.attributes or {})["zea.execution_id"]
                for name, span in spans.items()
                if name != "POST /api/bookings"
            }
        )
        == 1
    )
    assert 0 < seconds(spans["debit_credit"]) < seconds(spans[DONE])


def test_what_is_traced_in_a_step_belongs_to_it(
    exporter: InMemorySpanExporter, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Binding.call

    def traced_call(*arguments: Any, **options: Any) -> Any:
        with trace.get_tracer("a library").start_as_current_span(f"in {arguments[1].name}"):
            return call(*arguments, **options)

    monkeypatch.setattr(Binding, "call", traced_call)
    deliver(booked(api), BLOCK)
    spans = told(exporter)
    assert is_child(spans["in debit_credit"], spans[START])


def test_the_callers_trace_goes_on(exporter: InMemorySpanExporter, api: httpx.Client) -> None:
    theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    deliver(booked(api, traceparent=theirs), BLOCK)
    assert {f"{trace_of(span):032x}" for span in told(exporter).values()} == {"0af7651916cd43dd8448eb211c80319c"}


def test_a_wait_is_told_when_it_is_over_in_the_trace_that_it_belongs_to(
    exporter: InMemorySpanExporter, api: httpx.Client
) -> None:
    waiting_onboarding(api)
    assert "request_profile_completion" not in told(exporter)
    credentials = {"username": "ana@example.com", "password": "correct horse battery"}
    token = api.post("/api/auth/login", data=credentials).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert api.put("/api/athletes/me/profile", json=PROFILE, headers=headers).status_code == 200
    spans = told(exporter)
    asked, answered = spans["request_profile_completion"], spans["PUT /api/athletes/me/profile"]
    assert trace_of(asked) == trace_of(spans["POST /api/auth/register"]) != trace_of(answered)
    assert asked.start_time is not None
    assert answered.start_time is not None
    assert asked.start_time < answered.start_time, "it began when it was asked for"


def test_what_a_sweep_ends_is_told_too(exporter: InMemorySpanExporter, api: httpx.Client) -> None:
    waiting_onboarding(api)
    with transaction() as db:
        db.execute(text("UPDATE workflow_executions SET wakes_at = now() - interval '1 second'"))
        db.execute(text("UPDATE workflow_approvals SET expires_at = now() - interval '1 second'"))
        expires = "jsonb_build_object('request_profile_completion', state #> '{approvals,request_profile_completion}'"
        changed = f"{expires} || jsonb_build_object('expires_at', now() - interval '1 second'))"
        db.execute(text(f"UPDATE workflow_executions SET state = state || jsonb_build_object('approvals', {changed})"))
    assert sweep.fire(registry) == 1
    asked = told(exporter)["request_profile_completion"]
    assert trace_of(asked) == trace_of(told(exporter)["POST /api/auth/register"])
    assert asked.status.status_code is trace.StatusCode.ERROR
    assert (asked.attributes or {})["error.type"] == "profile_not_completed"


def test_a_failure_tells_its_kind_and_no_message(exporter: InMemorySpanExporter, database: str) -> None:
    failed_booking()
    failed = told(exporter)["notify_coach"]
    assert (failed.attributes or {})["error.type"] == "database_error"
    assert failed.status.status_code is trace.StatusCode.ERROR
    assert "notifications" not in repr([failed.status.description, failed.attributes, failed.events])


def test_an_attempt_that_is_tried_again_is_told(exporter: InMemorySpanExporter, database: str) -> None:
    sleeping_booking()
    assert (told(exporter)["notify_coach"].attributes or {})["error.type"] == "deadlock"


def test_what_is_rolled_back_is_not_told(exporter: InMemorySpanExporter, database: str) -> None:
    inputs = BookingRequest(new_id(), new_id(), datetime.now(UTC))

    def start_and_fail() -> None:
        with transaction() as db:
            client.start(booking_request, inputs, actor="test", db=db)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        start_and_fail()
    assert told(exporter) == {}


def test_what_is_undone_before_it_is_committed_is_not_told(exporter: InMemorySpanExporter, database: str) -> None:
    booking = requested_booking()

    def cancel_and_fail() -> None:
        with transaction() as db:
            client.cancel(booking.execution_id, actor="test", reason="by mistake", db=db)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cancel_and_fail()
    assert told(exporter).keys() == {START}


def test_the_last_traces_are_sent_before_the_api_ends(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(made, schedule_delay_millis=60_000))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    with served(create_app()) as api:
        assert api.get("/api/me").status_code == 401
    assert told(made).keys() == {"GET /api/me"}


def test_a_process_ends_although_nobody_takes_its_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen, provider = Event(), TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(provider, "shutdown", frozen.wait)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    monkeypatch.setattr(tracing, "LAST_PATIENCE", 0.1)
    tracing.end()
    assert not frozen.is_set()
    frozen.set()


def test_a_rerun_has_a_trace_of_its_own(exporter: InMemorySpanExporter, database: str) -> None:
    failed = failed_booking()
    first = told(exporter)[START]
    exporter.clear()
    again = client.rerun(failed.execution_id, actor="test", reason="to see")
    begun = told(exporter)[START]
    assert (begun.attributes or {})["zea.execution_id"] == str(again.execution_id)
    assert trace_of(begun) != trace_of(first)


def test_a_requests_query_is_not_told(exporter: InMemorySpanExporter, api: httpx.Client) -> None:
    assert api.get("/api/coaches", params={"email": "ana@example.com"}).status_code == 401
    request = told(exporter)["GET /api/coaches"]
    assert "ana" not in repr([request.name, request.attributes, request.events, request.status.description])


def test_what_people_ask_for_in_an_address_is_not_told(exporter: InMemorySpanExporter, api: httpx.Client) -> None:
    api.get("/health/../nowhere/ana@example.com", params={"q": "left-knee"})
    api.get("/api/bookings", params={"q": "left-knee"})
    shown = repr([span.attributes for span in exporter.get_finished_spans()])
    assert "/api/bookings" in shown
    assert "left-knee" not in shown
    assert "ana@example.com" not in shown


def test_health_checks_are_not_told(exporter: InMemorySpanExporter, api: httpx.Client) -> None:
    for path in ("/health/live", "/health/ready", "/metrics"):
        assert api.get(path).status_code == 200
    assert told(exporter) == {}


def test_without_an_exporter_nothing_is_kept(database: str) -> None:
    booking = requested_booking()
    with transaction() as db:
        kept = text("SELECT trace_context FROM workflow_executions WHERE id = :id")
        assert db.execute(kept, {"id": booking.execution_id}).scalar() is None


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[TracerProvider]]:
    """What was set up."""
    made: list[TracerProvider] = []
    monkeypatch.setattr(trace, "set_tracer_provider", made.append)
    yield made
    for each in made:
        each.shutdown()


@pytest.mark.parametrize(
    ("settings", "begins"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
    ids=["nothing", "endpoint", "endpoint of traces", "disabled", "no exporter"],
)
def test_it_is_sent_where_the_environment_says(
    settings: dict[str, str], begins: bool, provider: list[TracerProvider], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    tracing.begin("zea-test")
    assert len(provider) == int(begins)
    for each in provider:
        assert each.resource.attributes["service.name"] == "zea-test"
        assert isinstance(each._active_span_processor._span_processors[0], BatchSpanProcessor)


def test_without_the_extra_it_is_said_and_everything_works(
    provider: list[TracerProvider], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    tracing.begin("zea-test")
    assert provider == []
    assert "install zea[otel]" in caplog.text
