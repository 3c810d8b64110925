"""The only SQL on the workflow tables, each statement one round trip.

It speaks psycopg directly, inside the transaction of the SQLAlchemy session it is given: these statements are the
engine's hot path, and psycopg prepares them.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import Cursor
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb
from sqlalchemy.orm import Session

from workflows.engine.definition import Unit, Workflow
from workflows.engine.events import Event
from workflows.engine.models import ExecutionStatus
from workflows.engine.planner import next_moves
from workflows.engine.state import STEPS, Problem, State, output_of, subject_of
from workflows.engine.values import Json
from zea.db import SAVEPOINT, driver_connection

COLUMNS = """id, workflow, version, status, subject, start_key, started_by, inputs, state, output, error, current_step,
    completed_steps, total_steps, epoch, position, dispatches, due_at, created_at, completed_at"""

# A claim ends with its step's time: a worker that is frozen or cut off loses its connection, and so its locks.
LIMITS = """
    set_config('statement_timeout', %(limit)s, true),
    set_config('idle_in_transaction_session_timeout', %(limit)s, true),
    set_config('lock_timeout', %(limit)s, true)"""

# The advisory lock first, the row only if the lock was got: a duplicate is told "busy" in a millisecond instead of
# waiting for the whole step. With the row locked along, it is read as it is then; without, as it was a moment before,
# which whoever takes the row to close looks at again.
CLAIM = f"""
    WITH claim AS MATERIALIZED (
        SELECT pg_try_advisory_xact_lock(%(key)s) AS claimed, clock_timestamp() AS now, {LIMITS}
    )
    SELECT claim.claimed, claim.now, execution.*
    FROM claim LEFT JOIN LATERAL (
        SELECT {COLUMNS} FROM workflow_executions WHERE claim.claimed AND id = %(id)s
    ) AS execution ON true"""
CLAIM_WITH_ROW = CLAIM.replace("id = %(id)s", "id = %(id)s FOR NO KEY UPDATE")
READ = f"SELECT {COLUMNS} FROM workflow_executions WHERE id = %(id)s"
READ_STANDINGS = "SELECT id, status, output, error FROM workflow_executions WHERE id = ANY(%(ids)s)"
LOCK = f"{READ} FOR NO KEY UPDATE"
LOCK_IF_DUE = f"{READ} AND due_at <= clock_timestamp() FOR NO KEY UPDATE SKIP LOCKED"

INSERT = """
    WITH moment AS MATERIALIZED (SELECT clock_timestamp() AS now),
    started AS (
        INSERT INTO workflow_executions
            (id, workflow, version, status, subject, start_key, started_by, inputs, state, output, current_step,
             completed_steps, total_steps, epoch, position, dispatches, due_at, created_at)
        SELECT %(id)s, %(workflow)s, %(version)s, 'running', %(subject)s, %(start_key)s, %(started_by)s, %(inputs)s,
               '{"steps": {}}', '{}', %(current_step)s, 0, %(total_steps)s, 1, 1, 0, now + %(patience)s, now
        FROM moment
        ON CONFLICT (workflow, start_key) DO NOTHING
        RETURNING id, created_at
    ),
    recorded AS (
        INSERT INTO workflow_events (execution_id, position, type, step, at, actor, data)
        SELECT id, 1, %(type)s, NULL, created_at, %(started_by)s, %(data)s FROM started
    ),
    kept AS (
        INSERT INTO workflow_private (execution_id, name, value)
        SELECT id, key, value FROM started, jsonb_each(%(private)s)
    )
    SELECT id FROM started"""

RECORD = """
    WITH recorded AS (
        INSERT INTO workflow_events (execution_id, position, type, step, at, actor, data)
        SELECT %(id)s, position, type, step, at, actor, data
        FROM jsonb_to_recordset(%(events)s)
            AS event(position int, type text, step text, at timestamptz, actor text, data jsonb)
    )
    UPDATE workflow_executions
    SET status = %(status)s, subject = %(subject)s, state = %(state)s, output = %(output)s, error = %(error)s,
        current_step = %(current_step)s, completed_steps = %(completed_steps)s, position = %(position)s,
        epoch = %(epoch)s, dispatches = %(dispatches)s, completed_at = %(completed_at)s,
        due_at = clock_timestamp() + %(patience)s
    WHERE id = %(id)s AND position = %(expected)s"""

KEEP_PRIVATE = """
    INSERT INTO workflow_private (execution_id, name, value)
    SELECT %(id)s, key, value FROM jsonb_each(%(private)s)"""

# A version that this process does not know is left alone: another release's workers run it.
DUE = """
    SELECT id FROM workflow_executions
    WHERE due_at <= clock_timestamp()
      AND (workflow, version) IN (SELECT * FROM unnest(%(names)s::text[], %(versions)s::int[]))
    ORDER BY due_at LIMIT %(limit)s"""

HELD_KEYS = """
    SELECT (classid::bigint << 32) | objid::bigint AS key FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND database = (
        SELECT oid FROM pg_database WHERE datname = current_database()
    )"""

LIST = f"""
    SELECT {COLUMNS} FROM workflow_executions
    WHERE (%(status)s::text IS NULL OR status = %(status)s)
      AND (%(workflow)s::text IS NULL OR workflow = %(workflow)s)
      AND (%(subject)s::text IS NULL OR subject = %(subject)s)
      AND (%(error_kind)s::text IS NULL OR error ->> 'kind' = %(error_kind)s)
      AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
      AND (%(before)s::timestamptz IS NULL OR created_at < %(before)s)
      AND (%(cursor_at)s::timestamptz IS NULL OR (created_at, id) < (%(cursor_at)s, %(cursor_id)s::uuid))
    ORDER BY created_at DESC, id DESC LIMIT %(limit)s"""

REGISTER = """
    INSERT INTO workflow_definitions (workflow, version, fingerprint, shape)
    VALUES (%(workflow)s, %(version)s, %(fingerprint)s, %(shape)s)
    ON CONFLICT (workflow, version) DO NOTHING"""
REGISTERED = """
    SELECT fingerprint, shape FROM workflow_definitions WHERE workflow = %(workflow)s AND version = %(version)s"""


@dataclass(frozen=True)
class Stored:
    """An execution row."""

    id: UUID
    workflow: str
    version: int
    status: ExecutionStatus
    subject: str | None
    start_key: str | None
    started_by: str
    inputs: Json
    state: Json
    output: Json
    error: Json | None
    current_step: str | None
    completed_steps: int
    total_steps: int
    epoch: int
    position: int
    dispatches: int
    due_at: datetime | None
    created_at: datetime
    completed_at: datetime | None

    @cached_property
    def current(self) -> State:
        """The state that this row is the summary of."""
        error = self.error
        return State(
            status=ExecutionStatus(self.status),
            inputs=self.inputs,
            steps=STEPS.validate_python(self.state.get("steps", {})),
            error=Problem(error["kind"], error["message"], error.get("traceback")) if error else None,
            resumable=bool(error and error["resumable"]),
            position=self.position,
            epoch=self.epoch,
            created_at=self.created_at,
            completed_at=self.completed_at,
        )


FIELDS = tuple(field.name for field in fields(Stored))


class StoredStanding(NamedTuple):
    """What an execution row tells whoever waits for it."""

    id: UUID
    status: str
    output: Json
    error: Json | None


@dataclass(frozen=True, slots=True)
class Claim:
    """What ``claim`` got: the database's clock then, and the execution, if there is one."""

    now: datetime
    execution: Stored | None


def claim_key(execution_id: UUID, unit_name: str) -> int:
    """The advisory lock of one unit of one execution: 64 bits, signed."""
    digest = hashlib.blake2b(unit_name.encode(), key=execution_id.bytes, digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def claim(db: Session, execution_id: UUID, unit_name: str, limit: timedelta, *, with_row: bool) -> Claim | None:
    """Take the unit until the transaction ends, and set a savepoint; None if another delivery of the unit holds it.

    ``limit`` is how long the transaction may work or idle before the database takes the claim back. ``with_row`` locks
    the execution's row as well.
    """
    arguments = {
        "id": execution_id,
        "key": claim_key(execution_id, unit_name),
        "limit": str(int(limit.total_seconds() * 1000)),
    }
    cursor = _cursor(db)
    with driver_connection(db).pipeline():  # BEGIN, the claim and the savepoint in one round trip
        cursor.execute(CLAIM_WITH_ROW if with_row else CLAIM, arguments)
        driver_connection(db).execute(SAVEPOINT)
    row = cursor.fetchone()
    if row is None or not row["claimed"]:
        return None
    return Claim(row["now"], _stored(row) if row.get("id") else None)


def read(db: Session, execution_id: UUID) -> Stored | None:
    return _first(_cursor(db).execute(READ, {"id": execution_id}))


def standings(db: Session, execution_ids: Sequence[UUID]) -> list[StoredStanding]:
    """Where these executions stand, in one query."""
    rows = _cursor(db).execute(READ_STANDINGS, {"ids": list(execution_ids)})
    return [StoredStanding(**row) for row in rows]


def lock(db: Session, execution_id: UUID) -> Stored | None:
    """The execution as it is now, its row held until the transaction ends."""
    return _first(_cursor(db).execute(LOCK, {"id": execution_id}))


def lock_if_due(db: Session, execution_id: UUID) -> Stored | None:
    """The execution, its row held, if it is still due and nobody else holds it."""
    return _first(_cursor(db).execute(LOCK_IF_DUE, {"id": execution_id}))


def insert(
    db: Session,
    workflow: Workflow,
    execution_id: UUID,
    started: Event,
    private: Json,
    start_key: str | None,
    patience: timedelta,
) -> bool:
    """Write a new execution with its first event; False if its start key is taken."""
    row = started.to_row()
    state = State(inputs=row["data"]["inputs"])
    moves = next_moves(workflow, state)
    arguments = {
        "id": execution_id,
        "workflow": workflow.name,
        "version": workflow.version,
        "subject": subject_of(workflow, state),
        "start_key": start_key,
        "started_by": started.actor,
        "inputs": Jsonb(state.inputs),
        "current_step": _current_step(moves),
        "total_steps": len(workflow.steps),
        "patience": patience,
        "type": row["type"],
        "data": Jsonb(row["data"]),
        "private": Jsonb({f"input.{name}": value for name, value in private.items()}),
    }
    return _cursor(db).execute(INSERT, arguments).fetchone() is not None


def record(
    db: Session,
    workflow: Workflow,
    execution_id: UUID,
    after: State,
    events: Sequence[Event],
    patience: timedelta | None,
    dispatches: int = 0,
) -> StoredStanding:
    """Append ``events`` and bring the row to ``after``, the state they lead to; answers what it tells from then on.

    ``patience`` is how long what may run next may take to begin before a sweep looks after it; None if nothing may.
    """
    columns = summary(workflow, after)
    arguments = {
        **columns,
        "id": execution_id,
        "events": Jsonb([event.to_row() for event in events]),
        "expected": after.position - len(events),
        "patience": patience,
        "dispatches": dispatches,
    }
    for name in ("state", "output"):
        arguments[name] = Jsonb(arguments[name])
    arguments["error"] = Jsonb(arguments["error"]) if arguments["error"] else None
    if _cursor(db).execute(RECORD, arguments).rowcount != 1:
        raise AssertionError(f"Execution {execution_id} moved on while its row was held.")
    return StoredStanding(execution_id, columns["status"], columns["output"], columns["error"])


def summary(workflow: Workflow, state: State) -> Json:
    """The columns of the execution row that follow from its events."""
    moves = next_moves(workflow, state)
    error = state.error
    return {
        "status": state.status,
        "subject": subject_of(workflow, state),
        "state": {"steps": STEPS.dump_python(dict(state.steps), mode="json")},
        "output": output_of(workflow, state),
        "error": error
        and {
            "kind": error.kind,
            "message": error.message,
            "traceback": error.traceback,
            "resumable": state.resumable,
        },
        "current_step": _current_step(moves),
        "completed_steps": sum(step.status == "completed" for step in state.steps.values()),
        "position": state.position,
        "epoch": state.epoch,
        "completed_at": state.completed_at,
    }


def _current_step(moves: Sequence[Unit]) -> str | None:
    return moves[0].steps[0].name if moves else None


def keep_private(db: Session, execution_id: UUID, private: Mapping[str, Any]) -> None:
    """Store personal values by ``source.name``; nothing to do when there are none."""
    if private:
        _cursor(db).execute(KEEP_PRIVATE, {"id": execution_id, "private": Jsonb(dict(private))})


def private_values(db: Session, execution_id: UUID) -> dict[str, Any]:
    """The execution's personal values by ``source.name``."""
    rows = _cursor(db).execute("SELECT name, value FROM workflow_private WHERE execution_id = %s", (execution_id,))
    return {row["name"]: row["value"] for row in rows}


def started_under(db: Session, workflow_name: str, start_key: str) -> UUID:
    """The execution that was started under this key."""
    query = "SELECT id FROM workflow_executions WHERE workflow = %s AND start_key = %s"
    row = _cursor(db).execute(query, (workflow_name, start_key)).fetchone()
    if row is None:
        raise LookupError(start_key)
    return row["id"]  # type: ignore[no-any-return]  # the column is a uuid


def events(db: Session, execution_id: UUID, after: int = 0, limit: int | None = None) -> list[Event]:
    """The execution's events past position ``after``, oldest first."""
    query = """
        SELECT position, type, step, at, actor, data FROM workflow_events
        WHERE execution_id = %(id)s AND position > %(after)s ORDER BY position LIMIT %(limit)s"""
    rows = _cursor(db).execute(query, {"id": execution_id, "after": after, "limit": limit})
    return [Event.from_row(**row) for row in rows]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which executions to list; None means any. ``since`` is inclusive, ``before`` exclusive."""

    status: str | None = None
    workflow: str | None = None
    subject: str | None = None
    error_kind: str | None = None
    since: datetime | None = None
    before: datetime | None = None


def executions(db: Session, wanted: Filter, limit: int, after: tuple[datetime, UUID] | None) -> list[Stored]:
    """At most ``limit`` executions, newest first, those past the one that ``after`` names."""
    cursor_at, cursor_id = after or (None, None)
    arguments = {**asdict(wanted), "limit": limit, "cursor_at": cursor_at, "cursor_id": cursor_id}
    return [_stored(row) for row in _cursor(db).execute(LIST, arguments)]


def due(db: Session, versions: Iterable[tuple[str, int]], limit: int) -> list[UUID]:
    """Ids of executions of these versions that should have moved by now, longest overdue first."""
    names, numbers = zip(*versions, strict=True)
    arguments = {"names": list(names), "versions": list(numbers), "limit": limit}
    return [row["id"] for row in _cursor(db).execute(DUE, arguments)]


def postpone(db: Session, execution_id: UUID, delay: timedelta) -> None:
    """Look at a due execution again ``delay`` from now."""
    query = "UPDATE workflow_executions SET due_at = clock_timestamp() + %s WHERE id = %s AND due_at IS NOT NULL"
    _cursor(db).execute(query, (delay, execution_id))


def held_keys(db: Session) -> frozenset[int]:
    """The claims that are held in this database now. Read, never tried: trying would take what a worker is about to."""
    return frozenset(row["key"] for row in _cursor(db).execute(HELD_KEYS))


def now(db: Session) -> datetime:
    """The database's clock."""
    row = _cursor(db).execute("SELECT clock_timestamp() AS now").fetchone()
    assert row is not None
    return row["now"]  # type: ignore[no-any-return]  # a timestamptz


def register(db: Session, workflow: Workflow) -> DictRow:
    """Register a definition unless its version is there; answers what is registered."""
    cursor = _cursor(db)
    arguments = {"workflow": workflow.name, "version": workflow.version, "fingerprint": workflow.fingerprint}
    cursor.execute(REGISTER, {**arguments, "shape": Jsonb(workflow.shape)})
    row = cursor.execute(REGISTERED, arguments).fetchone()
    assert row is not None
    return row


def _cursor(db: Session) -> Cursor[DictRow]:
    cursor: Cursor[DictRow] = driver_connection(db).cursor(row_factory=dict_row)
    return cursor


def _stored(row: DictRow) -> Stored:
    return Stored(**{name: row[name] for name in FIELDS})


def _first(cursor: Cursor[DictRow]) -> Stored | None:
    row = cursor.fetchone()
    return _stored(row) if row else None
