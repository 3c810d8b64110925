"""The only SQL on workflow_approvals: rows that follow from an execution's events, and lists of them."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from psycopg.types.json import Jsonb
from sqlalchemy.orm import Session

from workflows.engine.events import (
    ApprovalApproved,
    ApprovalCancelled,
    ApprovalExpired,
    ApprovalRejected,
    ApprovalReminded,
    ApprovalRequested,
    Event,
)
from workflows.engine.store import cursor
from workflows.engine.values import Json
from zea.cursors import Position

INSERT = """
    INSERT INTO workflow_approvals
        (id, execution_id, approval, type, assignee, status, requested_at, expires_at)
    VALUES (%(approval_id)s, %(execution_id)s, %(approval)s, %(approval_type)s, %(assignee)s, 'pending', %(at)s,
            %(expires_at)s)"""
REMIND = """
    UPDATE workflow_approvals SET reminded_at = %(at)s
    WHERE execution_id = %(execution_id)s AND approval = %(approval)s AND status = 'pending'"""
SETTLE = """
    UPDATE workflow_approvals
    SET status = %(status)s, data = %(data)s, reason = %(reason)s, decided_at = %(at)s, decided_by = %(actor)s
    WHERE execution_id = %(execution_id)s AND approval = %(approval)s AND status = 'pending'"""

# An approval with what its execution is about.
SELECT = """
    SELECT a.id, a.execution_id, e.workflow, e.version, e.subject, a.approval, a.type, a.assignee, a.status, a.data,
        a.reason, a.requested_at, a.expires_at, a.reminded_at, a.decided_at, a.decided_by, clock_timestamp() AS now
    FROM workflow_approvals AS a JOIN workflow_executions AS e ON e.id = a.execution_id"""
READ = f"{SELECT} WHERE a.id = %(id)s"
OF_EXECUTION = f"{SELECT} WHERE a.execution_id = %(execution_id)s ORDER BY a.requested_at, a.id"
PENDING, SETTLED = "= 'pending'", "<> 'pending'"
# A list has the conditions whose arguments it is given; for why none is skipped by a value instead, see search.py.
CONDITIONS = {"assignee": "a.assignee = %(assignee)s", "at": "(a.requested_at, a.id) < (%(at)s, %(id)s)"}


@dataclass(frozen=True, slots=True)
class StoredApproval:
    """A row of workflow_approvals, what its execution is about, and the database's clock when it was read."""

    id: UUID
    execution_id: UUID
    workflow: str
    version: int
    subject: str | None
    approval: str
    type: str
    assignee: str
    status: str
    data: Json | None
    reason: str | None
    requested_at: datetime
    expires_at: datetime
    reminded_at: datetime | None
    decided_at: datetime | None
    decided_by: str | None
    now: datetime


def write(db: Session, execution_id: UUID, events: Iterable[Event]) -> None:
    """Bring the rows to what these events of an execution say."""
    for event in events:
        common = {"execution_id": execution_id, "at": event.at}
        match event.fact:
            case ApprovalRequested() as fact:
                cursor(db).execute(INSERT, {**asdict(fact), **common})
            case ApprovalReminded(approval):
                cursor(db).execute(REMIND, {"approval": approval, **common})
            case ApprovalApproved(approval, data):
                _settle(db, event, approval, "approved", common, data=Jsonb(data))
            case ApprovalRejected(approval, reason):
                _settle(db, event, approval, "rejected", common, reason=reason)
            case ApprovalExpired(approval):
                _settle(db, event, approval, "expired", common)
            case ApprovalCancelled(approval):
                _settle(db, event, approval, "cancelled", common)


def _settle(
    db: Session,
    event: Event,
    approval: str,
    status: str,
    common: Json,
    data: Jsonb | None = None,
    reason: str | None = None,
) -> None:
    arguments = {"approval": approval, "status": status, "data": data, "reason": reason, "actor": event.actor}
    cursor(db).execute(SETTLE, {**arguments, **common})


def read(db: Session, approval_id: UUID) -> StoredApproval | None:
    row = cursor(db).execute(READ, {"id": approval_id}).fetchone()
    return StoredApproval(**row) if row else None


def of_execution(db: Session, execution_id: UUID) -> list[StoredApproval]:
    """Everything that the execution has asked for, in that order."""
    return [StoredApproval(**row) for row in cursor(db).execute(OF_EXECUTION, {"execution_id": execution_id})]


def page_of(status: str, arguments: Mapping[str, object]) -> str:
    """The list of those whose status is as this says; each reads a partial index from its end."""
    asked = [condition for name, condition in CONDITIONS.items() if arguments[name] is not None]
    return f"""
    {SELECT}
    WHERE {" AND ".join([f"a.status {status}", *asked])}
    ORDER BY a.requested_at DESC, a.id DESC LIMIT %(limit)s"""


def pending(db: Session, limit: int, assignee: str | None, after: Position | None) -> list[StoredApproval]:
    """At most ``limit`` that are not decided, newest first, those past the one that ``after`` names."""
    return _list(db, PENDING, limit, assignee, after)


def settled(db: Session, limit: int, assignee: str | None, after: Position | None) -> list[StoredApproval]:
    """At most ``limit`` that are decided, or not asked for any more, likewise."""
    return _list(db, SETTLED, limit, assignee, after)


def _list(db: Session, status: str, limit: int, assignee: str | None, after: Position | None) -> list[StoredApproval]:
    at, approval_id = after or (None, None)
    arguments = {"assignee": assignee, "limit": limit, "at": at, "id": approval_id}
    return [StoredApproval(**row) for row in cursor(db).execute(page_of(status, arguments), arguments)]
