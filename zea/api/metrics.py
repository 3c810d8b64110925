"""What `GET /metrics` tells, in the words of Prometheus (docs/monitoring.md says what each means).

All but the API's own requests is read from PostgreSQL and the broker when it is asked for: every process tells the
same, and nothing is forgotten when one ends.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from itertools import accumulate
from typing import Any, Final, TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from workflows.engine.census import Census
from workflows.engine.counts import BOUNDS, SWEPT, Count, Counts
from workflows.engine.pulse import Pulse, late_after
from zea import config
from zea.api import limits
from zea.api.http_metrics import HttpMetrics
from zea.stack.processes import QUEUES

FLOWER_PATIENCE: Final = 0.5  # seconds
# Where Celery's transport keeps what was delivered and is not acknowledged yet.
UNACKNOWLEDGED: Final = "unacked"
LE: Final = (*(str(bound) for bound in BOUNDS), "+Inf")
WORKERS: Final = {queue: worker for worker, queues in QUEUES.items() for queue in queues}

ENDINGS: Final = {f"execution.{status}": status for status in ("completed", "failed", "cancelled")}
DECISIONS: Final = {f"approval.{outcome}": outcome for outcome in ("approved", "rejected", "expired", "cancelled")}


@dataclass(frozen=True, slots=True)
class Lines:
    """How much waits in the broker: by queue, and what was delivered and is not acknowledged."""

    messages: Mapping[str, int]
    unacknowledged: int


# A registry tells its collectors apart by what they are, not by what they hold.
@dataclass(frozen=True, slots=True, eq=False)
class Snapshot(Collector):
    """What was found when somebody asked; None where nobody answered in time."""

    census: Census | None
    lines: Lines | None
    flower_is_up: bool

    def collect(self) -> Iterator[Metric]:
        yield _gauges("zea_build_info", "The release that answers.", ["version"], [(version("zea"), 1)])
        yield _gauge("zea_late_after_seconds", "Seconds after which what does not move is late.", late_after())
        yield _gauge("zea_database_up", "Whether the database answers.", self.census is not None)
        yield _gauge("zea_broker_up", "Whether the broker answers.", self.lines is not None)
        yield _gauge("zea_flower_up", "Whether Flower answers.", self.flower_is_up)
        if self.census is not None:
            yield from _standing(self.census)
            yield from _moving(self.census.pulse)
            yield from _happened(self.census.counts)
        if self.lines is not None:
            yield from _waiting(self.lines)


def _standing(census: Census) -> Iterator[Metric]:
    labels = ["workflow", "status"]
    yield _gauges("zea_executions", "Executions that have not ended.", labels, census.open)
    counts = [(each.approval, each.number) for each in census.pending]
    yield _gauges("zea_approvals_pending", "Decisions that people are asked for.", ["approval"], counts)
    oldest = [(each.approval, each.oldest_seconds) for each in census.pending]
    name = "zea_oldest_pending_approval_seconds"
    yield _gauges(name, "How long the oldest of them has been asked for.", ["approval"], oldest)


def _moving(pulse: Pulse) -> Iterator[Metric]:
    yield _gauge("zea_executions_failed_last_hour", "Executions that failed lately.", pulse.failed_in_last_hour)
    yield _gauge("zea_oldest_due_seconds", "How late the oldest due work is.", pulse.oldest_due_seconds)
    if pulse.sweep_lag_seconds is not None:
        yield _gauge("zea_sweep_lag_seconds", "Seconds since the last sweep.", pulse.sweep_lag_seconds)
    ages = [(each.queue, WORKERS.get(each.queue, ""), each.age_seconds) for each in pulse.queues]
    yield _gauges("zea_queue_age_seconds", "How long messages wait in a queue.", ["queue", "worker"], ages)


def _waiting(lines: Lines) -> Iterator[Metric]:
    waiting = [(queue, WORKERS[queue], count) for queue, count in lines.messages.items()]
    yield _gauges("zea_queue_messages", "Messages that wait in a queue.", ["queue", "worker"], waiting)
    yield _gauge("zea_unacknowledged_messages", "Messages that workers have taken.", lines.unacknowledged)


def _happened(counts: Counts) -> Iterator[Metric]:
    yield _gauge("zea_counted_lag_seconds", "How far what follows is behind.", counts.lag_seconds)
    executions, steps = ["workflow"], ["workflow", "step"]
    for what, name, documentation in (
        ("execution.started", "started", "Executions that began."),
        ("execution.resumed", "resumed", "Failed executions that somebody let go on."),
    ):
        found = [(counted.workflow, count.total) for counted, count in counts.of(what)]
        yield _counters(f"zea_executions_{name}", documentation, executions, found)
    redriven = [(counted.workflow, count.total) for counted, count in counts.of("execution.redriven")]
    yield _counters("zea_execution_redrives", "Messages that were lost and sent again.", executions, redriven)
    ended = [
        (counted.workflow, status, count.total)
        for what, status in ENDINGS.items()
        for counted, count in counts.of(what)
    ]
    yield _counters("zea_executions_ended", "Executions that ended.", ["workflow", "status"], ended)
    for what, name, documentation in (
        ("step.retried", "retries", "Attempts that are tried again."),
        ("step.failed", "failures", "Steps that failed for good."),
    ):
        tries = [(counted.workflow, counted.name, count.total) for counted, count in counts.of(what)]
        yield _counters(f"zea_step_{name}", documentation, steps, tries)
    decided = [
        (counted.workflow, counted.name, outcome, count.total)
        for what, outcome in DECISIONS.items()
        for counted, count in counts.of(what)
    ]
    labels = ["workflow", "approval", "outcome"]
    yield _counters("zea_approvals_decided", "Decisions that came to an end.", labels, decided)
    yield _histogram(
        "zea_step_duration_seconds",
        "How long completed steps took.",
        steps,
        [([counted.workflow, counted.name], count) for counted, count in counts.of("step.completed")],
    )
    yield _histogram(
        "zea_sweep_duration_seconds",
        "How long a sweep's pass took.",
        ["sweep"],
        [([counted.name], count) for counted, count in counts.of(SWEPT)],
    )


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=value)


def _gauges(name: str, documentation: str, labels: list[str], found: Iterable[tuple[Any, ...]]) -> Metric:
    return _filled(GaugeMetricFamily(name, documentation, labels=labels), found)


def _counters(name: str, documentation: str, labels: list[str], found: Iterable[tuple[Any, ...]]) -> Metric:
    return _filled(CounterMetricFamily(name, documentation, labels=labels), found)


Family = TypeVar("Family", GaugeMetricFamily, CounterMetricFamily)


def _filled(family: Family, found: Iterable[tuple[Any, ...]]) -> Family:
    """``found``: the labels' values and, last, the metric's."""
    for *labels, value in found:
        family.add_metric(labels, value)
    return family


def _histogram(name: str, documentation: str, labels: list[str], found: Iterable[tuple[list[str], Count]]) -> Metric:
    family = HistogramMetricFamily(name, documentation, labels=labels)
    for values, count in found:
        buckets = list(zip(LE, accumulate(count.buckets), strict=True))
        family.add_metric(values, buckets, count.seconds)
    return family


def lines() -> Lines:
    """What waits in the broker.

    Raises:
        RedisError: it does not answer.
    """
    with limits.broker().pipeline(transaction=False) as pipeline:
        for queue in WORKERS:
            pipeline.llen(queue)
        pipeline.hlen(UNACKNOWLEDGED)
        *lengths, unacknowledged = pipeline.execute()
    return Lines(dict(zip(WORKERS, lengths, strict=True)), unacknowledged)


def flower_is_up() -> bool:
    """Whether Flower answers; any answer will do."""
    try:
        with urlopen(f"{config.flower_address()}/healthcheck", timeout=FLOWER_PATIENCE):  # noqa: S310 of the settings
            return True
    except HTTPError:
        return True
    except (URLError, OSError):
        return False


def registry_of(snapshot: Snapshot, http: HttpMetrics) -> CollectorRegistry:
    """Everything, to be written in the format that is asked for."""
    registry = CollectorRegistry()
    registry.register(snapshot)
    http.register(registry)
    return registry
