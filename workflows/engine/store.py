"""The only SQL on the workflow tables, each statement one round trip.

It speaks psycopg directly, inside the transaction of the SQLAlchemy session it is given: these statements are the
engine's hot path, and psycopg prepares them.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import Cursor
from psycopg.errors import LockNotAvailable
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb
from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from workflows.engine.definition import Workflow
from workflows.engine.events import Event
from workflows.engine.models import ENDED, ExecutionStatus
from workflows.engine.planner import DONE, open_units, status_of
from workflows.engine.state import Cancellation, Problem, State, StepState, Tries, output_of, subject_of
from workflows.engine.values import Json
from zea.db import SAVEPOINT, driver_connection
from zea.errors import Busy, NotFound

COLUMNS = """id, workflow, version, status, subject, start_key, started_by, inputs, state, output, error, current_step,
    completed_steps, total_steps, epoch, position, rerun_of, dispatches, due_at, wakes_at, created_at,
    completed_at"""

# A claim ends with its step's time: a worker that is frozen or cut off loses its connection, and so its locks.
LIMITS = """
    set_config('statement_timeout', %(limit)s, true),
    set_config('idle_in_transaction_session_timeout', %(limit)s, true),
    set_config('lock_timeout', %(limit)s, true),
    set_config('client_connection_check_interval', '2000', true)"""
TRANSACTION_LIMIT = ", set_config('transaction_timeout', %(limit)s, true)"
TRANSACTION_LIMIT_SINCE = 170000  # the server's version that knows it


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
LOCK_IF_DUE = f"{READ} AND due_at <= clock_timestamp() FOR NO KEY UPDATE SKIP LOCKED"
LOCK_IF_AWAKE = f"{READ} AND wakes_at <= clock_timestamp() FOR NO KEY UPDATE SKIP LOCKED"

INSERT = """
    WITH moment AS MATERIALIZED (SELECT clock_timestamp() AS now),
    started AS (
        INSERT INTO workflow_executions
            (id, workflow, version, status, subject, start_key, started_by, inputs, state, output, current_step,
             completed_steps, total_steps, epoch, position, rerun_of, dispatches, dispatched_at, queues, due_at,
             created_at)
        SELECT %(id)s, %(workflow)s, %(version)s, 'running', %(subject)s, %(start_key)s, %(started_by)s, %(inputs)s,
               '{}', '{}', %(current_step)s, 0, %(total_steps)s, 1, 1, %(rerun_of)s, 0, now, %(queues)s,
               now + %(patience)s, now
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

# A version that this process does not know is left alone: another release's workers run it. What was dispatched is
# lost, and not waiting in line, once a probe sent later through one of its queues has come out at the other end.
DUE = """
    SELECT id FROM workflow_executions
    WHERE due_at <= clock_timestamp()
      AND (workflow, version) IN (SELECT * FROM unnest(%(names)s::text[], %(versions)s::int[]))
      AND (queues = '{}' OR EXISTS (
          SELECT FROM workflow_queues
          WHERE queue = ANY (queues) AND passed_at > dispatched_at + %(publishing)s
      ))
    ORDER BY due_at LIMIT %(limit)s"""

AWAKE = """
    SELECT id FROM workflow_executions
    WHERE wakes_at <= clock_timestamp()
      AND (workflow, version) IN (SELECT * FROM unnest(%(names)s::text[], %(versions)s::int[]))
    ORDER BY wakes_at LIMIT %(limit)s"""

# With a long line in front of the last probe, the next one can wait.
PROBE = """
    INSERT INTO workflow_queues AS known (queue, probed_at) VALUES (%(queue)s, clock_timestamp())
    ON CONFLICT (queue) DO UPDATE SET probed_at = clock_timestamp()
    WHERE known.probed_at <= clock_timestamp() - greatest(
        %(interval)s, (known.probed_at - coalesce(known.passed_at, known.probed_at)) / 10
    )
    RETURNING probed_at"""
PASSED = """
    UPDATE workflow_queues SET passed_at = greatest(passed_at, %(probed_at)s) WHERE queue = %(queue)s"""

HELD_KEYS = """
    SELECT (classid::bigint << 32) | objid::bigint AS key FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND database = (
        SELECT oid FROM pg_database WHERE datname = current_database()
    )"""

ACTIVE = ", ".join(f"'{status}'" for status in ExecutionStatus if status not in ENDED)
# What is active is named by its statuses, because those are indexed: however many have ended, it costs what is active.
LIST = f"""
    SELECT {COLUMNS} FROM workflow_executions
    WHERE (%(status)s::text IS NULL OR status = %(status)s)
      AND (NOT %(active)s::boolean OR status IN ({ACTIVE}))
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


@dataclass(frozen=True, slots=True)
class Kept:
    """What the column ``state`` holds of a state; the rest of it has columns of its own."""

    steps: Mapping[str, StepState] = field(default_factory=dict)
    tries: Mapping[str, Tries] = field(default_factory=dict)
    timers: Mapping[str, datetime] = field(default_factory=dict)
    compensating: bool = False
    cancellation: Cancellation | None = None


KEPT = TypeAdapter(Kept)
KEPT_FIELDS = tuple(each.name for each in fields(Kept))


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
    rerun_of: UUID | None
    dispatches: int
    due_at: datetime | None
    wakes_at: datetime | None
    created_at: datetime
    completed_at: datetime | None

    @cached_property
    def current(self) -> State:
        """The state that this row is the summary of."""
        error = self.error
        kept = KEPT.validate_python(self.state)
        # To sleep is to run, with nothing to do until a timer fires.
        status = ExecutionStatus.RUNNING if self.status == ExecutionStatus.SLEEPING else self.status
        return State(
            status=ExecutionStatus(status),
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
    }
    cursor, driver = _cursor(db), driver_connection(db)
    statement = CLAIMS[with_row, driver.info.server_version >= TRANSACTION_LIMIT_SINCE]
    with driver.pipeline():  # BEGIN, the claim and the savepoint in one round trip
        cursor.execute(statement, arguments)
        driver.execute(SAVEPOINT)
    row = cursor.fetchone()
    if row is None or not row["claimed"]:
        return None
    return Claim(row["now"], _stored(row) if row.get("id") else None)


def read(db: Session, execution_id: UUID) -> Stored | None:
    return _first(_cursor(db).execute(READ, {"id": execution_id}))


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
    rows = _cursor(db).execute(READ_STANDINGS, {"ids": list(execution_ids)})
    return [StoredStanding(**row) for row in rows]


def lock(db: Session, execution_id: UUID) -> Stored | None:
    """The execution as it is now, its row held until the transaction ends."""
    return _first(_cursor(db).execute(LOCK, {"id": execution_id}))


def lock_within(db: Session, execution_id: UUID, patience: timedelta) -> Stored | None:
    """The execution, its row held.

    Raises:
        Busy: somebody else held the row for longer than ``patience``.
    """
    try:
        _cursor(db).execute("SELECT set_config('lock_timeout', %s, true)", (_milliseconds(patience),))
        return lock(db, execution_id)
    except LockNotAvailable:
        raise Busy(f"A step of {execution_id} is running: try again in a few seconds.") from None


def lock_if_due(db: Session, execution_id: UUID) -> Stored | None:
    """The execution, its row held, if it is still due and nobody else holds it."""
    return _first(_cursor(db).execute(LOCK_IF_DUE, {"id": execution_id}))


def lock_if_awake(db: Session, execution_id: UUID) -> Stored | None:
    """The execution, its row held, if a timer of it is still to fire and nobody else holds it."""
    return _first(_cursor(db).execute(LOCK_IF_AWAKE, {"id": execution_id}))


def insert(
    db: Session,
    workflow: Workflow,
    execution_id: UUID,
    started: Event,
    private: Json,
    start_key: str | None,
    dispatched: Dispatched,
) -> bool:
    """Write a new execution with its first event; False if its start key is taken."""
    row = started.to_row()
    state = State(inputs=row["data"]["inputs"])
    arguments = {
        "id": execution_id,
        "workflow": workflow.name,
        "version": workflow.version,
        "subject": subject_of(workflow, state),
        "start_key": start_key,
        "started_by": started.actor,
        "inputs": Jsonb(state.inputs),
        "current_step": _current_step(workflow, state),
        "total_steps": len(workflow.steps),
        "rerun_of": row["data"]["rerun_of"],
        "patience": dispatched.patience,
        "queues": dispatched.queues,
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
    if _cursor(db).execute(RECORD, arguments).rowcount != 1:
        raise AssertionError(f"Execution {execution_id} moved on while its row was held.")
    return StoredStanding(execution_id, columns["status"], columns["output"], columns["error"])


def summary(workflow: Workflow, state: State) -> Json:
    """The columns of the execution row that follow from its events."""
    error = state.error
    return {
        "status": status_of(workflow, state),
        "subject": subject_of(workflow, state),
        "state": KEPT.dump_python(
            Kept(**{name: getattr(state, name) for name in KEPT_FIELDS}), mode="json", exclude_defaults=True
        ),
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
        "wakes_at": min(state.timers.values(), default=None),
        "completed_at": state.completed_at,
    }


def _current_step(workflow: Workflow, state: State) -> str | None:
    return next((unit.steps[0].name for unit in open_units(workflow, state)), None)


def keep_private(db: Session, execution_id: UUID, private: Mapping[str, Any]) -> None:
    """Store personal values by ``source.name``; nothing to do when there are none."""
    if private:
        _cursor(db).execute(KEEP_PRIVATE, {"id": execution_id, "private": Jsonb(dict(private))})


def private_values(db: Session, execution_id: UUID) -> dict[str, Any]:
    """The execution's personal values by ``source.name``."""
    rows = _cursor(db).execute("SELECT name, value FROM workflow_private WHERE execution_id = %s", (execution_id,))
    return {row["name"]: row["value"] for row in rows}


def copy_private(db: Session, source_id: UUID, target_id: UUID, sources: Sequence[str]) -> None:
    """Give an execution the personal values that another one keeps of these sources: a step's name, or ``input``."""
    query = """
        INSERT INTO workflow_private (execution_id, name, value)
        SELECT %s, name, value FROM workflow_private
        WHERE execution_id = %s AND split_part(name, '.', 1) = ANY (%s)"""
    _cursor(db).execute(query, (target_id, source_id, list(sources)))


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
    """Which executions to list; None means any. ``since`` is inclusive, ``before`` exclusive.

    ``active`` leaves out those that have ended.
    """

    status: str | None = None
    workflow: str | None = None
    subject: str | None = None
    error_kind: str | None = None
    since: datetime | None = None
    before: datetime | None = None
    active: bool = False


def executions(db: Session, wanted: Filter, limit: int, after: tuple[datetime, UUID] | None) -> list[Stored]:
    """At most ``limit`` executions, newest first, those past the one that ``after`` names."""
    cursor_at, cursor_id = after or (None, None)
    arguments = {**asdict(wanted), "limit": limit, "cursor_at": cursor_at, "cursor_id": cursor_id}
    return [_stored(row) for row in _cursor(db).execute(LIST, arguments)]


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
    return frozenset(row["queue"] for row in _cursor(db).execute(query, (execution_id, publishing)))


def awake(db: Session, versions: Iterable[tuple[str, int]], limit: int) -> list[UUID]:
    """Ids of executions of these versions with a timer that has to fire, longest overdue first."""
    return _ids(db, AWAKE, versions, limit)


def _ids(db: Session, query: str, versions: Iterable[tuple[str, int]], limit: int, **more: Any) -> list[UUID]:
    names, numbers = zip(*versions, strict=True)
    arguments = {"names": list(names), "versions": list(numbers), "limit": limit, **more}
    return [row["id"] for row in _cursor(db).execute(query, arguments)]


def probe(db: Session, queue: str, interval: timedelta) -> datetime | None:
    """Note that a probe is sent through ``queue`` now; None if the last one is younger than ``interval``."""
    row = _cursor(db).execute(PROBE, {"queue": queue, "interval": interval}).fetchone()
    return row["probed_at"] if row else None


def probe_passed(db: Session, queue: str, probed_at: datetime) -> None:
    """Note that what was sent through ``queue`` before ``probed_at`` has been taken from it."""
    _cursor(db).execute(PASSED, {"queue": queue, "probed_at": probed_at})


def postpone(db: Session, execution_id: UUID, delay: timedelta) -> None:
    """Look at an execution that is due, or has a timer to fire, again ``delay`` from now at the soonest."""
    query = """
        UPDATE workflow_executions
        SET due_at = CASE WHEN due_at IS NOT NULL THEN clock_timestamp() + %(delay)s END,
            wakes_at = CASE WHEN wakes_at IS NOT NULL THEN greatest(wakes_at, clock_timestamp() + %(delay)s) END
        WHERE id = %(id)s"""
    _cursor(db).execute(query, {"delay": delay, "id": execution_id})


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


def _milliseconds(limit: timedelta) -> str:
    """A limit as PostgreSQL's settings have it, which take 0 for none."""
    return str(max(1, int(limit.total_seconds() * 1000)))


def _cursor(db: Session) -> Cursor[DictRow]:
    cursor: Cursor[DictRow] = driver_connection(db).cursor(row_factory=dict_row)
    return cursor


def _stored(row: DictRow) -> Stored:
    return Stored(**{name: row[name] for name in FIELDS})


def _first(cursor: Cursor[DictRow]) -> Stored | None:
    row = cursor.fetchone()
    return _stored(row) if row else None
