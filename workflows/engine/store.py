"""The only SQL on the workflow tables, each statement one round trip.

It speaks psycopg directly, inside the transaction of the SQLAlchemy session it is given: these statements are the
engine's hot path, and psycopg prepares them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from functools import cached_property
from math import inf
from time import monotonic
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import Cursor
from psycopg.errors import LockNotAvailable
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb
from pydantic import TypeAdapter
from sqlalchemy import Connection, event
from sqlalchemy.orm import Session

from workflows.engine.definition import Workflow
from workflows.engine.events import Event
from workflows.engine.models import ExecutionStatus
from workflows.engine.planner import DONE, open_units, status_of
from workflows.engine.state import Cancellation, Pending, Problem, State, StepState, Tries, output_of, subject_of
from workflows.engine.values import Json
from zea.db import SAVEPOINT, connection, driver_connection
from zea.errors import Busy, NotFound

COLUMNS = """id, workflow, version, status, subject, start_key, started_by, inputs, state, output, error, current_step,
    completed_steps, total_steps, epoch, position, rerun_of, dispatches, due_at, wakes_at, created_at,
    completed_at, trace_context"""

# A claim ends with its step's time: a worker that is frozen or cut off loses its connection, and so its locks.
LIMITS = """
    set_config('statement_timeout', %(limit)s, true),
    set_config('idle_in_transaction_session_timeout', %(limit)s, true),
    set_config('lock_timeout', %(limit)s, true),
    set_config('client_connection_check_interval', '2000', true)"""
# A second later than the others: it ends the connection, where they end a statement and leave something to record in.
TRANSACTION_LIMIT = ", set_config('transaction_timeout', %(whole_limit)s, true)"
TRANSACTION_LIMIT_SINCE = 170000  # the server's version that knows it
GRACE = timedelta(seconds=1)
# For servers before that. The server says it, so that it is an error of the transaction like all others.
ENDS_AT = "attempt_ends_at"
OVERDUE = "DO $$ BEGIN RAISE EXCEPTION 'ending step due to transaction timeout' USING ERRCODE = '25P04'; END $$"


def _claim_statement(*, with_row: bool, whole_transaction: bool) -> str:
    """The advisory lock first, the row only if the lock was got.

    So a duplicate is told "busy" in a millisecond instead of waiting for the whole step. With the row locked along, it
    is read as it is then; without, as it was a moment before, which whoever takes the row to close looks at again.
    """
    return f"""
        WITH claim AS MATERIALIZED (
            SELECT pg_try_advisory_xact_lock(%(key)s) AS claimed, clock_timestamp() AS now,
                {LIMITS}{TRANSACTION_LIMIT if whole_transaction else ""}
        )
        SELECT claim.claimed, claim.now, execution.*
        FROM claim LEFT JOIN LATERAL (
            SELECT {COLUMNS} FROM workflow_executions
            WHERE claim.claimed AND id = %(id)s {"FOR NO KEY UPDATE" if with_row else ""}
        ) AS execution ON true"""


CLAIMS = {
    (with_row, whole_transaction): _claim_statement(with_row=with_row, whole_transaction=whole_transaction)
    for with_row in (False, True)
    for whole_transaction in (False, True)
}
READ = f"SELECT {COLUMNS} FROM workflow_executions WHERE id = %(id)s"
READ_STANDINGS = "SELECT id, status, output, error FROM workflow_executions WHERE id = ANY(%(ids)s)"
LOCK = f"{READ} FOR NO KEY UPDATE"

INSERT = """
    WITH moment AS MATERIALIZED (SELECT clock_timestamp() AS now),
    started AS (
        INSERT INTO workflow_executions
            (id, workflow, version, status, subject, start_key, started_by, inputs, state, output, current_step,
             completed_steps, total_steps, epoch, position, rerun_of, dispatches, dispatched_at, queues, due_at,
             created_at, trace_context)
        SELECT %(id)s, %(workflow)s, %(version)s, 'running', %(subject)s, %(start_key)s, %(started_by)s, %(inputs)s,
               %(state)s, '{}', %(current_step)s, 0, %(total_steps)s, 1, 1, %(rerun_of)s, 0, now, %(queues)s,
               now + %(patience)s, now, %(trace_context)s
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
        epoch = %(epoch)s, completed_at = %(completed_at)s, wakes_at = %(wakes_at)s, dispatches = %(dispatches)s,
        queues = %(queues)s, dispatched_at = clock_timestamp() + %(delay)s,
        due_at = clock_timestamp() + %(delay)s + %(patience)s
    WHERE id = %(id)s AND position = %(expected)s"""

KEEP_PRIVATE = """
    INSERT INTO workflow_private (execution_id, name, value)
    SELECT %(id)s, key, value FROM jsonb_each(%(private)s)"""

HELD_KEYS = """
    SELECT (classid::bigint << 32) | objid::bigint AS key FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND database = (
        SELECT oid FROM pg_database WHERE datname = current_database()
    )"""

REGISTER = """
    INSERT INTO workflow_definitions (workflow, version, fingerprint, shape)
    VALUES (%(workflow)s, %(version)s, %(fingerprint)s, %(shape)s)
    ON CONFLICT (workflow, version) DO NOTHING"""
REGISTERED = """
    SELECT fingerprint, shape FROM workflow_definitions WHERE workflow = %(workflow)s AND version = %(version)s"""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the column ``state`` holds of a state; the rest of it has columns of its own."""

    steps: Mapping[str, StepState] = field(default_factory=dict)
    tries: Mapping[str, Tries] = field(default_factory=dict)
    timers: Mapping[str, datetime] = field(default_factory=dict)
    approvals: Mapping[str, Pending] = field(default_factory=dict)
    timeouts: Mapping[str, float] = field(default_factory=dict)
    compensating: bool = False
    cancellation: Cancellation | None = None


# What an execution waits for is seen from the rest of its state: to wait is to run, with nothing to do now. So is what
# a newer release calls it.
WAITING = (ExecutionStatus.WAITING_FOR_APPROVAL, ExecutionStatus.SLEEPING)
STATUSES = {status.value: status for status in ExecutionStatus if status not in WAITING}
KEPT = TypeAdapter(Kept)
KEPT_FIELDS = tuple(each.name for each in fields(Kept))


@dataclass(frozen=True)
class Stored:
    """An execution row."""

    id: UUID
    workflow: str
    version: int
    status: str
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
    rerun_of: UUID | None
    dispatches: int
    due_at: datetime | None
    wakes_at: datetime | None
    created_at: datetime
    completed_at: datetime | None
    trace_context: str | None = None

    @cached_property
    def current(self) -> State:
        """The state that this row is the summary of."""
        error = self.error
        kept = KEPT.validate_python(self.state)
        return State(
            status=STATUSES.get(self.status, ExecutionStatus.RUNNING),
            inputs=self.inputs,
            **{name: getattr(kept, name) for name in KEPT_FIELDS},
            error=Problem(error["kind"], error["message"], error.get("traceback")) if error else None,
            resumable=bool(error and error["resumable"]),
            position=self.position,
            epoch=self.epoch,
            created_at=self.created_at,
            completed_at=self.completed_at,
        )


FIELDS = tuple(each.name for each in fields(Stored))


class StoredStanding(NamedTuple):
    """What an execution row tells whoever waits for it."""

    id: UUID
    status: str
    output: Json
    error: Json | None


@dataclass(frozen=True, slots=True)
class Dispatched:
    """What is handed to Celery, for the sweep: into which ``queues``, ``delay`` from now, for the how many-th time.

    ``patience`` is how long after that it may take to begin before a sweep looks after it; None if nothing may run.
    """

    queues: list[str]
    patience: timedelta | None
    delay: timedelta | None = timedelta()
    dispatches: int = 0


NOTHING_DISPATCHED = Dispatched([], patience=None, delay=None)


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
        "limit": _milliseconds(limit),
        "whole_limit": _milliseconds(limit + GRACE),
    }
    driver, claiming = driver_connection(db), cursor(db)
    limits_whole = driver.info.server_version >= TRANSACTION_LIMIT_SINCE
    statement = CLAIMS[with_row, limits_whole]
    # BEGIN, the claim and the savepoint in one round trip. After a pipeline the server counts no idle time before the
    # next statement: where that is all that frees the claim of a worker that freezes now, it costs three round trips.
    with driver.pipeline() if limits_whole else nullcontext():
        claiming.execute(statement, arguments)
        driver.execute(SAVEPOINT)
    row = claiming.fetchone()
    if row is None or not row["claimed"]:
        return None
    if not limits_whole:
        _limit_attempt(db, limit)
    return Claim(row["now"], stored(row) if row.get("id") else None)


def _limit_attempt(db: Session, limit: timedelta) -> None:
    """End a step that sends one short statement after another; the server ends what stands still or takes long."""
    db.info[ENDS_AT] = monotonic() + limit.total_seconds()

    def look(claimed: Connection, _cursor: object, statement: str, *_: object) -> None:
        if statement != OVERDUE and monotonic() > db.info.get(ENDS_AT, inf):
            claimed.exec_driver_sql(OVERDUE)

    event.listen(connection(db), "before_cursor_execute", look)


def attempt_is_over(db: Session) -> None:
    """What is recorded of it now is no part of what it may take."""
    db.info.pop(ENDS_AT, None)


def read(db: Session, execution_id: UUID) -> Stored | None:
    return first(cursor(db).execute(READ, {"id": execution_id}))


def found(row: Stored | None, execution_id: UUID) -> Stored:
    """The row.

    Raises:
        NotFound: there is none.
    """
    if row is None:
        raise NotFound(f"There is no execution {execution_id}.")
    return row


def standings(db: Session, execution_ids: Sequence[UUID]) -> list[StoredStanding]:
    """Where these executions stand, in one query."""
    rows = cursor(db).execute(READ_STANDINGS, {"ids": list(execution_ids)})
    return [StoredStanding(**row) for row in rows]


def lock(db: Session, execution_id: UUID) -> Stored | None:
    """The execution as it is now, its row held until the transaction ends."""
    return first(cursor(db).execute(LOCK, {"id": execution_id}))


def lock_within(db: Session, execution_id: UUID, patience: timedelta) -> Stored | None:
    """The execution, its row held.

    Raises:
        Busy: somebody else held the row for longer than ``patience``.
    """
    try:
        cursor(db).execute("SELECT set_config('lock_timeout', %s, true)", (_milliseconds(patience),))
        return lock(db, execution_id)
    except LockNotAvailable:
        raise Busy(f"A step of {execution_id} is running: try again in a few seconds.") from None


def insert(
    db: Session,
    workflow: Workflow,
    execution_id: UUID,
    started: Event,
    private: Json,
    start_key: str | None,
    dispatched: Dispatched,
    trace_context: str | None = None,
) -> bool:
    """Write a new execution with its first event; False if its start key is taken."""
    row = started.to_row()
    state = State(inputs=row["data"]["inputs"], timeouts=row["data"]["timeouts"] or {})
    arguments = {
        "id": execution_id,
        "workflow": workflow.name,
        "version": workflow.version,
        "subject": subject_of(workflow, state),
        "start_key": start_key,
        "started_by": started.actor,
        "inputs": Jsonb(state.inputs),
        "state": Jsonb(_kept(state)),
        "current_step": _current_step(workflow, state),
        "total_steps": len(workflow.steps),
        "rerun_of": row["data"]["rerun_of"],
        "patience": dispatched.patience,
        "queues": dispatched.queues,
        "type": row["type"],
        "data": Jsonb(row["data"]),
        "private": Jsonb({f"input.{name}": value for name, value in private.items()}),
        "trace_context": trace_context,
    }
    return cursor(db).execute(INSERT, arguments).fetchone() is not None


def record(
    db: Session,
    workflow: Workflow,
    execution_id: UUID,
    after: State,
    events: Sequence[Event],
    dispatched: Dispatched | None,
) -> StoredStanding:
    """Append ``events`` and bring the row to ``after``, the state they lead to; answers what it tells from then on.

    ``dispatched`` is what may run next; None if nothing may.
    """
    columns = summary(workflow, after)
    arguments = {
        **columns,
        "id": execution_id,
        "events": Jsonb([event.to_row() for event in events]),
        "expected": after.position - len(events),
        **asdict(dispatched or NOTHING_DISPATCHED),
    }
    for name in ("state", "output"):
        arguments[name] = Jsonb(arguments[name])
    arguments["error"] = Jsonb(arguments["error"]) if arguments["error"] else None
    if cursor(db).execute(RECORD, arguments).rowcount != 1:
        raise AssertionError(f"Execution {execution_id} moved on while its row was held.")
    return StoredStanding(execution_id, columns["status"], columns["output"], columns["error"])


def summary(workflow: Workflow, state: State) -> Json:
    """The columns of the execution row that follow from its events."""
    error = state.error
    return {
        "status": status_of(workflow, state),
        "subject": subject_of(workflow, state),
        "state": _kept(state),
        "output": output_of(workflow, state),
        "error": error
        and {
            "kind": error.kind,
            "message": error.message,
            "traceback": error.traceback,
            "resumable": state.resumable,
        },
        "current_step": _current_step(workflow, state),
        "completed_steps": sum(state.step(step.name).status in DONE for step in workflow.steps),
        "position": state.position,
        "epoch": state.epoch,
        "wakes_at": state.wakes_at,
        "completed_at": state.completed_at,
    }


def _kept(state: State) -> Json:
    kept = Kept(**{name: getattr(state, name) for name in KEPT_FIELDS})
    return KEPT.dump_python(kept, mode="json", exclude_defaults=True)  # type: ignore[no-any-return]  # a dictionary


def _current_step(workflow: Workflow, state: State) -> str | None:
    return next((unit.steps[0].name for unit in open_units(workflow, state)), None)


def keep_private(db: Session, execution_id: UUID, private: Mapping[str, Any]) -> None:
    """Store personal values by ``source.name``; nothing to do when there are none."""
    if private:
        cursor(db).execute(KEEP_PRIVATE, {"id": execution_id, "private": Jsonb(dict(private))})


def private_values(db: Session, execution_id: UUID) -> dict[str, Any]:
    """The execution's personal values by ``source.name``."""
    rows = cursor(db).execute("SELECT name, value FROM workflow_private WHERE execution_id = %s", (execution_id,))
    return {row["name"]: row["value"] for row in rows}


def copy_private(db: Session, source_id: UUID, target_id: UUID, sources: Sequence[str]) -> None:
    """Give an execution the personal values that another one keeps of these sources: a step's name, or ``input``."""
    query = """
        INSERT INTO workflow_private (execution_id, name, value)
        SELECT %s, name, value FROM workflow_private
        WHERE execution_id = %s AND split_part(name, '.', 1) = ANY (%s)"""
    cursor(db).execute(query, (target_id, source_id, list(sources)))


def started_under(db: Session, workflow_name: str, start_key: str) -> UUID:
    """The execution that was started under this key."""
    query = "SELECT id FROM workflow_executions WHERE workflow = %s AND start_key = %s"
    row = cursor(db).execute(query, (workflow_name, start_key)).fetchone()
    if row is None:
        raise LookupError(start_key)
    return row["id"]  # type: ignore[no-any-return]  # the column is a uuid


def events(db: Session, execution_id: UUID) -> list[Event]:
    """The execution's events, oldest first."""
    return [Event.from_row(**row) for row in event_rows(db, execution_id)]


def event_rows(db: Session, execution_id: UUID, after: int = 0, limit: int | None = None) -> list[DictRow]:
    """The execution's events past position ``after`` as they are stored, oldest first."""
    query = """
        SELECT position, type, step, at, actor, data FROM workflow_events
        WHERE execution_id = %(id)s AND position > %(after)s ORDER BY position LIMIT %(limit)s"""
    return cursor(db).execute(query, {"id": execution_id, "after": after, "limit": limit}).fetchall()


def held_keys(db: Session) -> frozenset[int]:
    """The claims that are held in this database now. Read, never tried: trying would take what a worker is about to."""
    return frozenset(row["key"] for row in cursor(db).execute(HELD_KEYS))


def now(db: Session) -> datetime:
    """The database's clock."""
    row = cursor(db).execute("SELECT clock_timestamp() AS now").fetchone()
    assert row is not None
    return row["now"]  # type: ignore[no-any-return]  # a timestamptz


def register(db: Session, workflow: Workflow) -> None:
    """Register a definition unless its version is there."""
    arguments = {"fingerprint": workflow.fingerprint, "shape": Jsonb(workflow.shape)}
    cursor(db).execute(REGISTER, {"workflow": workflow.name, "version": workflow.version, **arguments})


def registered(db: Session, workflow: Workflow) -> DictRow | None:
    """The fingerprint and shape that are registered under a definition's name and version."""
    return cursor(db).execute(REGISTERED, {"workflow": workflow.name, "version": workflow.version}).fetchone()


def _milliseconds(limit: timedelta) -> str:
    """A limit as PostgreSQL's settings have it, which take 0 for none."""
    return str(max(1, int(limit.total_seconds() * 1000)))


def cursor(db: Session) -> Cursor[DictRow]:
    """A cursor of the transaction's connection, whose rows are dictionaries."""
    made: Cursor[DictRow] = driver_connection(db).cursor(row_factory=dict_row)
    return made


def stored(row: DictRow) -> Stored:
    return Stored(**{name: row[name] for name in FIELDS})


def first(found: Cursor[DictRow]) -> Stored | None:
    row = found.fetchone()
    return stored(row) if row else None
