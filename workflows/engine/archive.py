"""Takes what ended long ago out of the database: found, held, told in full, and removed, batch by batch.

A batch is one transaction. Whoever keeps its lines has them on disk before its rows go: if anything fails meanwhile the
rows stay, and the lines are told again the next time. Personal values are not told: they are erased.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from workflows.engine import store
from workflows.engine.approval_rows import StoredApproval
from workflows.engine.registry import Registry
from workflows.engine.status import EventView, ExecutionView, event_view, view_of
from workflows.engine.values import Json
from zea.cursors import Position
from zea.db import transaction

BATCH = 200
# How a line is written: a later release that writes others still reads these.
FORMAT = 1

# What is not counted yet stays: its events would be missing in the counters for ever.
LIMIT = """
    SELECT least(clock_timestamp() - %(age)s, (SELECT until FROM workflow_counted)) AS moment"""
MAY_GO = """
    completed_at < %(before)s
    AND (%(failed_too)s OR status <> 'failed' OR NOT (error ->> 'resumable')::boolean)"""
# Newest first: a rerun ended after what it reruns, and has to go before it.
FIND = f"""
    SELECT completed_at, id FROM workflow_executions
    WHERE {MAY_GO} AND completed_at <= %(at)s AND (completed_at, id) < (%(at)s, %(id)s)
    ORDER BY completed_at DESC, id DESC LIMIT %(limit)s"""
COUNT = f"""
    SELECT workflow, status, count(*) AS number FROM workflow_executions WHERE {MAY_GO}
    GROUP BY workflow, status ORDER BY workflow, status"""
# One that was resumed since it was found has not ended any more; one that somebody is at now is left for the next time.
HOLD = f"""
    SELECT id FROM workflow_executions WHERE id = ANY (%(ids)s) AND {MAY_GO} FOR UPDATE SKIP LOCKED"""
RERUNS = "SELECT id, rerun_of FROM workflow_executions WHERE rerun_of = ANY (%(ids)s)"
TELL = """
    SELECT jsonb_build_object(
        'format', %(format)s::int,
        'execution', to_jsonb(execution),
        'events', (
            SELECT coalesce(jsonb_agg(to_jsonb(event) - 'execution_id' ORDER BY event.position), '[]')
            FROM workflow_events AS event WHERE event.execution_id = execution.id
        ),
        'approvals', (
            SELECT coalesce(jsonb_agg(to_jsonb(asked) ORDER BY asked.requested_at, asked.id), '[]')
            FROM workflow_approvals AS asked WHERE asked.execution_id = execution.id
        )
    )::text AS line
    FROM workflow_executions AS execution WHERE id = ANY (%(ids)s) ORDER BY completed_at DESC, id DESC"""
# The trigger that keeps events from being removed lets whoever says this: for this transaction only, so that no
# connection that comes out of the pool can remove any. Moments are told in UTC wherever this runs.
SAY = "SELECT set_config('zea.archiving', 'on', true), set_config('TimeZone', 'UTC', true)"
REMOVE = (
    "DELETE FROM workflow_private WHERE execution_id = ANY (%(ids)s)",
    "DELETE FROM workflow_approvals WHERE execution_id = ANY (%(ids)s)",
    "DELETE FROM workflow_events WHERE execution_id = ANY (%(ids)s)",
    "DELETE FROM workflow_executions WHERE id = ANY (%(ids)s)",
)

STORED = TypeAdapter(store.Stored)
APPROVALS = TypeAdapter(list[StoredApproval])

Keep = Callable[[Sequence[str]], None]
Forget = Callable[[Session, Sequence[UUID]], None]


@dataclass(frozen=True, slots=True)
class Old:
    """What may go: what ended before a moment. ``failed_too`` says that what could still be resumed goes as well."""

    before: datetime
    failed_too: bool = False

    @property
    def arguments(self) -> Json:
        return {"before": self.before, "failed_too": self.failed_too}


class Group(NamedTuple):
    """How many of one workflow and status there are."""

    workflow: str
    status: str
    number: int


class Archived(NamedTuple):
    """An execution as it was when it was archived."""

    execution: ExecutionView
    events: list[EventView]


def older_than(age: timedelta, *, failed_too: bool = False) -> Old:
    """What ended longer than ``age`` ago, by the database's clock now, and is counted."""
    with transaction() as db:
        row = store.cursor(db).execute(LIMIT, {"age": age}).fetchone()
    assert row is not None
    return Old(row["moment"], failed_too)


def count(old: Old) -> list[Group]:
    """What may go, by workflow and status."""
    with transaction() as db:
        return [Group(**row) for row in store.cursor(db).execute(COUNT, old.arguments)]


def archive(old: Old, keep: Keep, forget: Forget = lambda db, ids: None) -> int:
    """Hand what may go to ``keep``, a line of JSON for each, and remove it; answers how many executions that were.

    ``keep`` returns once a batch's lines are safe, and raises if they are not. ``forget`` removes, in the transaction
    that removes the executions, what others keep about them.
    """
    removed, after = 0, (old.before, UUID(int=0))
    while True:
        with transaction() as db:
            found = _find(db, old, after)
        if found:
            removed += _move(old, [execution_id for _, execution_id in found], keep, forget)
            after = found[-1]
        if len(found) < BATCH:
            return removed


def _find(db: Session, old: Old, after: Position) -> list[Position]:
    arguments = {**old.arguments, "at": after[0], "id": after[1], "limit": BATCH}
    return [(row["completed_at"], row["id"]) for row in store.cursor(db).execute(FIND, arguments)]


def _move(old: Old, found: Sequence[UUID], keep: Keep, forget: Forget) -> int:
    """Of these, keep and remove what is still to go and nobody else holds."""
    with transaction() as db:
        ids = _hold(db, old, found)
        if ids:
            cursor = store.cursor(db)
            cursor.execute(SAY)
            keep([row["line"] for row in cursor.execute(TELL, {"ids": ids, "format": FORMAT})])
            forget(db, ids)
            for statement in REMOVE:
                cursor.execute(statement, {"ids": ids})
    return len(ids)


def _hold(db: Session, old: Old, found: Sequence[UUID]) -> list[UUID]:
    """Those that nobody else holds, until the transaction ends.

    What a rerun that stays refers to stays with it. That is asked once the rows are held: from then on nobody can begin
    a rerun of one.
    """
    cursor = store.cursor(db)
    held = {row["id"] for row in cursor.execute(HOLD, {**old.arguments, "ids": list(found)})}
    reruns = [(row["id"], row["rerun_of"]) for row in cursor.execute(RERUNS, {"ids": list(held)})]
    while kept := {original for rerun, original in reruns if rerun not in held} & held:
        held -= kept
    return list(held)


def read_back(line: str | bytes, registry: Registry) -> Archived:
    """The execution and its events, as they were shown before they were archived."""
    told: dict[str, Any] = json.loads(line)
    row = STORED.validate_python(told["execution"])
    ended_at = row.completed_at
    assert ended_at is not None, "only what has ended is archived"
    about = {"workflow": row.workflow, "version": row.version, "subject": row.subject, "now": ended_at}
    approvals = APPROVALS.validate_python([{**each, **about} for each in told["approvals"]])
    view = view_of(registry.get(row.workflow, row.version), row, approvals, ended_at, frozenset())
    return Archived(view, [_event(each) for each in told["events"]])


def _event(row: Json) -> EventView:
    return event_view({**row, "at": datetime.fromisoformat(row["at"])})
