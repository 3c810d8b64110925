"""What `GET /metrics` tells, in the words of Prometheus (docs/monitoring.md says what each means).

All but the API's own requests is read from PostgreSQL and the broker when it is asked for: every process tells the
same, and nothing is forgotten when one ends.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import accumulate
from typing import Any, Final, NamedTuple
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


class Counter(NamedTuple):
    """A counter of events: its labels are the workflow, what is named there, and what ``events`` say of their types."""

    name: str
    documentation: str
    labels: tuple[str, ...]
    events: Mapping[str, tuple[str, ...]]

    def samples(self, counts: Counts) -> Iterator[tuple[Any, ...]]:
        for event, more in self.events.items():
            for counted, count in counts.of(event):
                of_its_own = (counted.workflow, counted.name)[: len(self.labels) - len(more)]
                yield (*of_its_own, *more, count.total)


COUNTERS: Final = (
    Counter("zea_executions_started", "Executions that began.", ("workflow",), {"execution.started": ()}),
    Counter(
        "zea_executions_ended",
        "Executions that ended.",
        ("workflow", "status"),
        {f"execution.{status}": (status,) for status in ("completed", "failed", "cancelled")},
    ),
    Counter(
        "zea_executions_resumed",
        "Failed executions that somebody let go on.",
        ("workflow",),
        {"execution.resumed": ()},
    ),
    Counter(
        "zea_execution_redrives",
        "Messages that were lost and sent again.",
        ("workflow",),
        {"execution.redriven": ()},
    ),
    Counter("zea_step_retries", "Attempts that are tried again.", ("workflow", "step"), {"step.retried": ()}),
    Counter("zea_step_failures", "Steps that failed for good.", ("workflow", "step"), {"step.failed": ()}),
    Counter(
        "zea_approvals_decided",
        "Decisions that came to an end.",
        ("workflow", "approval", "outcome"),
        {f"approval.{outcome}": (outcome,) for outcome in ("approved", "rejected", "expired", "cancelled")},
    ),
)


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
    for each in COUNTERS:
        family = CounterMetricFamily(each.name, each.documentation, labels=each.labels)
        yield _filled(family, each.samples(counts))
    steps = [((counted.workflow, counted.name), count) for counted, count in counts.of("step.completed")]
    yield _histogram("zea_step_duration_seconds", "How long completed steps took.", ("workflow", "step"), steps)
    sweeps = [((counted.name,), count) for counted, count in counts.of(SWEPT)]
    yield _histogram("zea_sweep_duration_seconds", "How long a sweep's pass took.", ("sweep",), sweeps)


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=value)


def _gauges(name: str, documentation: str, labels: Sequence[str], samples: Iterable[tuple[Any, ...]]) -> Metric:
    return _filled(GaugeMetricFamily(name, documentation, labels=labels), samples)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, samples: Iterable[tuple[Any, ...]]) -> Metric:
    """``samples``: the labels' values and, last, the metric's."""
    for *labels, value in samples:
        family.add_metric(labels, value)
    return family


def _histogram(
    name: str, documentation: str, labels: Sequence[str], samples: Iterable[tuple[Sequence[str], Count]]
) -> Metric:
    family = HistogramMetricFamily(name, documentation, labels=labels)
    for values, count in samples:
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
