"""An execution's trace, made from its events: what is committed is told, once, with the times that were measured.

Its first span is a child of whatever began the execution, such as a request. Its context stands in the execution row,
so every step and every wait, days later and in another process, is told as a child of it.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from uuid import UUID

from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from workflows.engine.definition import Workflow
from workflows.engine.events import (
    Event,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
    StepCompensated,
    StepCompleted,
    StepFailed,
    StepRetried,
)
from zea import tracing
from zea.errors import Cancelled

EXECUTION_ID, STEP, ATTEMPT, ERROR_TYPE = "zea.execution_id", "zea.step", "zea.attempt", "error.type"


def begun(workflow: Workflow, execution_id: UUID) -> trace.Span:
    """The execution's first span; whoever commits its beginning ends it."""
    attributes = {EXECUTION_ID: str(execution_id)}
    return _tracer().start_span(f"start {workflow.name}", kind=SpanKind.PRODUCER, attributes=attributes)


def tell(
    trace_context: str, workflow: Workflow, execution_id: UUID, created_at: datetime, events: Iterable[Event]
) -> None:
    """Tell each step of ``events`` that came to something, and the execution's end."""
    parent = tracing.from_text(trace_context)
    for event in events:
        for name, began_at, ended_at, attributes in _spans(workflow, created_at, event):
            span = _tracer().start_span(
                name,
                parent,
                attributes={EXECUTION_ID: str(execution_id), **attributes},
                start_time=_nanoseconds(began_at),
            )
            if ERROR_TYPE in attributes:
                span.set_status(StatusCode.ERROR)
            span.end(_nanoseconds(ended_at))


Attributes = dict[str, str | int]
Span = tuple[str, datetime, datetime, Attributes]


def _spans(workflow: Workflow, created_at: datetime, event: Event) -> Iterator[Span]:
    """Name, beginning, end and attributes. Of errors only the kind is told: a message is for whoever may read it."""
    fact = event.fact
    match fact:
        case StepCompleted() | StepCompensated():
            name = f"undo {fact.step}" if isinstance(fact, StepCompensated) else fact.step
            yield name, fact.started_at, _end_of(fact), {STEP: fact.step, ATTEMPT: fact.attempt}
        case StepFailed():
            failed: Attributes = {STEP: fact.step, ATTEMPT: fact.attempt, ERROR_TYPE: fact.kind}
            yield fact.step, fact.started_at, _end_of(fact), failed
        case StepRetried():
            yield fact.step, event.at, event.at, {STEP: fact.step, ATTEMPT: fact.attempt, ERROR_TYPE: fact.kind}
        case ExecutionCompleted():
            yield f"{workflow.name} completed", created_at, event.at, {}
        case ExecutionFailed():
            yield f"{workflow.name} failed", created_at, event.at, {ERROR_TYPE: fact.kind}
        case ExecutionCancelled():
            yield f"{workflow.name} cancelled", created_at, event.at, {ERROR_TYPE: Cancelled.kind}


def _end_of(fact: StepCompleted | StepCompensated | StepFailed) -> datetime:
    return fact.started_at + timedelta(seconds=fact.duration_seconds)


def _tracer() -> trace.Tracer:
    return trace.get_tracer(tracing.TRACER)


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1000
