"""What a sweep looks for: executions that are due or have a timer to fire, and how far each queue is worked off."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from workflows.engine import store

LONGEST_INTERVAL = timedelta(seconds=5)

LOCK_IF_DUE = f"{store.READ} AND due_at <= clock_timestamp() FOR NO KEY UPDATE SKIP LOCKED"
LOCK_IF_AWAKE = f"{store.READ} AND wakes_at <= clock_timestamp() FOR NO KEY UPDATE SKIP LOCKED"

# A version that this process does not know is left alone: another release's workers run it.
KNOWN = "(workflow, version) IN (SELECT * FROM unnest(%(names)s::text[], %(versions)s::int[]))"

# Found by a moment that stands still: PostgreSQL compares an index with no other, and would read all that wait.
# What was dispatched is lost, and not waiting in line, once a probe sent later through one of its queues has come out
# at the other end.
DUE = f"""
    SELECT id FROM workflow_executions
    WHERE due_at <= statement_timestamp()
      AND {KNOWN}
      AND (queues = '{{}}' OR EXISTS (
          SELECT FROM workflow_queues
          WHERE queue = ANY (queues) AND passed_at > dispatched_at + %(publishing)s
      ))
    ORDER BY due_at LIMIT %(limit)s"""

AWAKE = f"""
    SELECT id FROM workflow_executions
    WHERE wakes_at <= statement_timestamp()
      AND {KNOWN}
    ORDER BY wakes_at LIMIT %(limit)s"""

# With a long line in front of the last probe the next one can wait, but never so long that what is lost is found late.
PROBE = """
    INSERT INTO workflow_queues AS known (queue, probed_at) VALUES (%(queue)s, clock_timestamp())
    ON CONFLICT (queue) DO UPDATE SET probed_at = clock_timestamp()
    WHERE known.probed_at <= clock_timestamp() - greatest(
        %(interval)s, least((known.probed_at - coalesce(known.passed_at, known.probed_at)) / 10, %(longest)s)
    )
    RETURNING probed_at"""
PASSED = """
    UPDATE workflow_queues SET passed_at = greatest(passed_at, %(probed_at)s) WHERE queue = %(queue)s"""


def lock_if_due(db: Session, execution_id: UUID) -> store.Stored | None:
    """The execution, its row held, if it is still due and nobody else holds it."""
    return store.first(store.cursor(db).execute(LOCK_IF_DUE, {"id": execution_id}))


def lock_if_awake(db: Session, execution_id: UUID) -> store.Stored | None:
    """The execution, its row held, if a timer of it is still to fire and nobody else holds it."""
    return store.first(store.cursor(db).execute(LOCK_IF_AWAKE, {"id": execution_id}))


def due(db: Session, versions: Iterable[tuple[str, int]], publishing: timedelta, limit: int) -> list[UUID]:
    """Ids of executions of these versions whose messages are lost, longest overdue first.

    ``publishing`` is how long after its commit a message may have come into its queue.
    """
    return _ids(db, DUE, versions, limit, publishing=publishing)


def overtaken_queues(db: Session, execution_id: UUID, publishing: timedelta) -> frozenset[str]:
    """The queues of what an execution has dispatched through which a later probe has come."""
    query = """
        SELECT queue FROM workflow_executions JOIN workflow_queues ON queue = ANY (queues)
        WHERE id = %s AND passed_at > dispatched_at + %s"""
    return frozenset(row["queue"] for row in store.cursor(db).execute(query, (execution_id, publishing)))


def awake(db: Session, versions: Iterable[tuple[str, int]], limit: int) -> list[UUID]:
    """Ids of executions of these versions with a timer that has to fire, longest overdue first."""
    return _ids(db, AWAKE, versions, limit)


def _ids(db: Session, query: str, versions: Iterable[tuple[str, int]], limit: int, **more: Any) -> list[UUID]:
    names, numbers = zip(*versions, strict=True)
    arguments = {"names": list(names), "versions": list(numbers), "limit": limit, **more}
    return [row["id"] for row in store.cursor(db).execute(query, arguments)]


def probe(db: Session, queue: str, interval: timedelta) -> datetime | None:
    """Note that a probe is sent through ``queue`` now; None if the last one is younger than ``interval``.

    Where the line is long, one is sent less often: a tenth of what the last one waits, at most 5 seconds.
    """
    arguments = {"queue": queue, "interval": interval, "longest": LONGEST_INTERVAL}
    row = store.cursor(db).execute(PROBE, arguments).fetchone()
    return row["probed_at"] if row else None


def probe_passed(db: Session, queue: str, probed_at: datetime) -> None:
    """Note that what was sent through ``queue`` before ``probed_at`` has been taken from it."""
    store.cursor(db).execute(PASSED, {"queue": queue, "probed_at": probed_at})


def postpone(db: Session, execution_id: UUID, delay: timedelta) -> None:
    """Look at an execution that is due, or has a timer to fire, again ``delay`` from now at the soonest."""
    query = """
        UPDATE workflow_executions
        SET due_at = CASE WHEN due_at IS NOT NULL THEN clock_timestamp() + %(delay)s END,
            wakes_at = CASE WHEN wakes_at IS NOT NULL THEN greatest(wakes_at, clock_timestamp() + %(delay)s) END
        WHERE id = %(id)s"""
    store.cursor(db).execute(query, {"delay": delay, "id": execution_id})
