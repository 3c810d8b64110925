"""Counts what has happened, once, from the events: what only a process remembered would be lost with it.

The counting goes through the events by their moments, up to one after which none can be committed any more. So an event
is counted in exactly one pass, whoever makes it, and whichever process died meanwhile. Only one whose moment was past
before it happened is not, because the database's clock went back.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from psycopg.rows import DictRow
from sqlalchemy.orm import Session

from workflows.engine import store
from workflows.engine.events import (
    ApprovalApproved,
    ApprovalCancelled,
    ApprovalExpired,
    ApprovalRejected,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionRedriven,
    ExecutionResumed,
    ExecutionStarted,
    StepCompleted,
    StepFailed,
    StepRetried,
)

# Upper bounds of the buckets, in seconds, up to a week: what people are asked for is a step as well. One more takes
# what is longer. Rows are kept by a bucket's number, so these stay: with others, what was counted would be misread.
BOUNDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
    *(3_600.0, 86_400.0, 604_800.0),
)
SWEPT: Final = "sweep"
COUNTED: Final = tuple(
    fact.type
    for fact in (
        *(ExecutionStarted, ExecutionCompleted, ExecutionFailed, ExecutionCancelled, ExecutionResumed),
        *(ExecutionRedriven, StepCompleted, StepRetried, StepFailed),
        *(ApprovalApproved, ApprovalRejected, ApprovalExpired, ApprovalCancelled),
    )
)
# After a long outage it is made up stretch by stretch, so that no statement works for long.
LONGEST_STRETCH: Final = timedelta(minutes=10)

TAKE = "SELECT until FROM workflow_counted FOR UPDATE SKIP LOCKED"
# An event's moment lies in its transaction: what was committed before the oldest one that is open is complete. The
# second is for transactions that have begun and are not listed yet. Others' (a dump takes hours) are not waited for; a
# pool between zea and PostgreSQL may write where it is asked from behind the name.
COMPLETE_UNTIL = """
    SELECT least(%(since)s + %(stretch)s, clock_timestamp() - interval '1 second',
        (SELECT min(xact_start) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name LIKE 'zea%%' AND pid <> pg_backend_pid())) AS until"""
# What is counted is added to what was counted before.
ADD = """
    ON CONFLICT (counted, workflow, name, bucket) DO UPDATE
    SET count = known.count + excluded.count, seconds = known.seconds + excluded.seconds"""
COUNT = f"""
    WITH happened AS (
        SELECT event.type, execution.workflow, coalesce(event.step, event.data ->> 'approval', '') AS name,
               CASE WHEN event.type = 'step.completed' THEN (event.data ->> 'duration_seconds')::float END AS seconds
        FROM workflow_events AS event JOIN workflow_executions AS execution ON execution.id = event.execution_id
        WHERE event.at >= %(since)s AND event.at < %(until)s AND event.type = ANY (%(counted)s)
    )
    INSERT INTO workflow_counts AS known (counted, workflow, name, bucket, count, seconds)
    SELECT type, workflow, CASE WHEN type LIKE 'execution.%%' THEN '' ELSE name END AS name,
           coalesce(width_bucket(seconds, %(bounds)s::float[]), 0) AS bucket, count(*), coalesce(sum(seconds), 0)
    FROM happened GROUP BY 1, 2, 3, 4{ADD}"""
MOVE = "UPDATE workflow_counted SET until = %(until)s"
TIMED = f"""
    INSERT INTO workflow_counts AS known (counted, workflow, name, bucket, count, seconds)
    VALUES (%(counted)s, '', %(name)s, width_bucket(%(seconds)s, %(bounds)s::float[]), 1, %(seconds)s){ADD}"""
READ = "SELECT counted, workflow, name, bucket, count, seconds FROM workflow_counts"
LAG = "SELECT extract(epoch FROM clock_timestamp() - until)::float AS seconds FROM workflow_counted"


class Counted(NamedTuple):
    """What is counted together: an event's type, or a sweep; of which workflow; the step's or the approval's name."""

    what: str
    workflow: str
    name: str


@dataclass(slots=True)
class Count:
    """How often it happened, by bucket of how long it took, and the seconds that it took in all."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0

    @property
    def total(self) -> int:
        return sum(self.buckets)


class Counts(dict[Counted, Count]):
    """All that was counted since the beginning. ``lag_seconds`` is how long ago what was counted last happened.

    It is negative while the database's clock is behind what it was before.
    """

    lag_seconds: float = 0.0

    def of(self, what: str) -> Iterator[tuple[Counted, Count]]:
        return ((counted, count) for counted, count in self.items() if counted.what == what)


class Stretch(NamedTuple):
    """What one pass has counted: up to when, and whether it stopped there only because that was enough at once."""

    until: datetime
    there_is_more: bool


def advance(db: Session) -> Stretch | None:
    """Count the events since the last time; None if somebody else counts."""
    cursor = store.cursor(db)
    taken = cursor.execute(TAKE).fetchone()
    if taken is None:
        return None
    since = taken["until"]
    complete = cursor.execute(COMPLETE_UNTIL, {"since": since, "stretch": LONGEST_STRETCH}).fetchone()
    assert complete is not None
    until = max(since, complete["until"])
    arguments = {"since": since, "until": until, "counted": list(COUNTED), "bounds": list(BOUNDS)}
    cursor.execute(COUNT, arguments)
    cursor.execute(MOVE, {"until": until})
    return Stretch(until, there_is_more=until == since + LONGEST_STRETCH)


def sweep_took(db: Session, name: str, seconds: float) -> None:
    """Count one pass of a sweep."""
    arguments = {"counted": SWEPT, "name": name, "seconds": seconds, "bounds": list(BOUNDS)}
    store.cursor(db).execute(TIMED, arguments)


def read(db: Session) -> Counts:
    """All that was counted."""
    cursor = store.cursor(db)
    counts = Counts(_by_counted(cursor.execute(READ).fetchall()))
    lag = cursor.execute(LAG).fetchone()
    counts.lag_seconds = lag["seconds"] if lag else 0.0
    return counts


def _by_counted(rows: Iterable[DictRow]) -> dict[Counted, Count]:
    counts: defaultdict[Counted, Count] = defaultdict(Count)
    for row in rows:
        count = counts[Counted(row["counted"], row["workflow"], row["name"])]
        count.buckets[row["bucket"]] += row["count"]
        count.seconds += row["seconds"]
    return counts
