"""The pulse: whether executions move, as PostgreSQL alone can tell. What lives and does nothing has none."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from workflows.engine import store
from zea.config import settings

# Each part reads an index that is as small as what it looks for.
OVERDUE = """
    SELECT coalesce(extract(epoch FROM clock_timestamp() - least(
        (SELECT min(due_at) FROM workflow_executions WHERE due_at IS NOT NULL),
        (SELECT min(wakes_at) FROM workflow_executions WHERE wakes_at IS NOT NULL))), 0)::float AS seconds"""
FAILED = """
    SELECT count(*) AS count FROM workflow_executions
    WHERE status = 'failed' AND completed_at > statement_timestamp() - interval '1 hour'"""
QUEUES = """
    SELECT queue, extract(epoch FROM clock_timestamp() - probed_at)::float AS since_probe,
           CASE WHEN passed_at >= probed_at THEN 0
                ELSE extract(epoch FROM clock_timestamp() - coalesce(passed_at, probed_at)) END::float AS age
    FROM workflow_queues ORDER BY queue"""


def late_after() -> float:
    """Seconds after which what does not move is late: what one sweep finds, the next one has seen to."""
    return 2 * settings().sweep_interval.total_seconds()


@dataclass(frozen=True, slots=True)
class QueueAge:
    """How long, in seconds, what was sent to a queue may be waiting there; 0 if the last probe has come through."""

    queue: str
    age_seconds: float


@dataclass(frozen=True, slots=True)
class Pulse:
    """How executions move. ``sweep_lag_seconds`` is None before the first sweep."""

    oldest_due_seconds: float
    failed_in_last_hour: int
    sweep_lag_seconds: float | None
    queues: list[QueueAge]

    def problems(self, late: float) -> list[str]:
        """What does not move, for longer than ``late`` seconds, and what to look at."""
        found = [
            f"what was sent to {each.queue} waits for {each.age_seconds:.0f} s: does its worker run?"
            for each in self.queues
            if each.age_seconds > late
        ]
        if self.sweep_lag_seconds is None:
            found.append("no sweep has run yet: do beat and the sweeper run?")
        elif self.sweep_lag_seconds > late:
            found.append(f"no sweep for {self.sweep_lag_seconds:.0f} s: do beat and the sweeper run?")
        if self.oldest_due_seconds > late:
            found.append(f"the oldest due work is {self.oldest_due_seconds:.0f} s late")
        return found


def feel(db: Session) -> Pulse:
    """The pulse now, in three small queries."""
    cursor = store.cursor(db)
    overdue = cursor.execute(OVERDUE).fetchall()[0]["seconds"]
    failed = cursor.execute(FAILED).fetchall()[0]["count"]
    queues = cursor.execute(QUEUES).fetchall()
    return Pulse(
        oldest_due_seconds=max(overdue, 0.0),
        failed_in_last_hour=failed,
        sweep_lag_seconds=min((max(row["since_probe"], 0.0) for row in queues), default=None),
        queues=[QueueAge(row["queue"], max(row["age"], 0.0)) for row in queues],
    )
