"""Traces (OpenTelemetry): sent where the environment says, as any program's; nothing is recorded where it says nothing.

The API's own spans are FastAPI's; those of executions are made from their events (`workflows.engine.spans`).
"""

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from threading import Thread
from typing import Final

from opentelemetry import context, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from zea import config

log = logging.getLogger(__name__)

TRACER: Final = "zea"
LAST_PATIENCE: Final = 2.0  # seconds
HEADER: Final = "traceparent"  # W3C Trace Context
PROPAGATOR: Final = TraceContextTextMapPropagator()


def begin(service: str) -> None:
    """Have this process's spans sent to `OTEL_EXPORTER_OTLP_ENDPOINT`, as ``service``; nothing without that setting.

    A process that is forked has to begin by itself.
    """
    if not config.traces_are_wanted():
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("no traces are sent: install zea[otel], or unset OTEL_EXPORTER_OTLP_ENDPOINT")
        return
    provider = TracerProvider(resource=Resource.create(config.service_name(service)))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def end() -> None:
    """Send what is not sent yet, before a process ends that Python does not tidy up after.

    Nobody waits for longer than ``LAST_PATIENCE`` for whoever takes traces: OpenTelemetry itself would for 30 seconds.
    """
    shutdown = getattr(trace.get_tracer_provider(), "shutdown", None)
    if shutdown is not None:
        sending = Thread(target=shutdown, daemon=True)
        sending.start()
        sending.join(LAST_PATIENCE)


def to_text(span: trace.Span) -> str | None:
    """The span's context, for whoever continues its trace; None where nothing is recorded."""
    carrier: dict[str, str] = {}
    PROPAGATOR.inject(carrier, trace.set_span_in_context(span))
    return carrier.get(HEADER)


def from_text(text: str | None) -> context.Context:
    """The context to continue a trace in; an empty one for None."""
    carrier: Mapping[str, str] = {} if text is None else {HEADER: text}
    return PROPAGATOR.extract(carrier, context.Context())


def within(text: str | None) -> AbstractContextManager[object]:
    """What is traced in the block belongs to the trace that ``text`` names."""
    if text is None:
        return nullcontext()
    return trace.use_span(trace.get_current_span(from_text(text)), end_on_exit=False, record_exception=False)
