"""The census: everything that is counted about executions, as whoever watches many of them wants it."""

from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy.orm import Session

from workflows.engine import counts, pulse, store

# Both cost what has not ended, however much has.
OPEN = """
    SELECT workflow, status, count(*) AS number FROM workflow_executions WHERE completed_at IS NULL
    GROUP BY workflow, status ORDER BY workflow, status"""
PENDING = """
    SELECT approval, count(*) AS number, extract(epoch FROM clock_timestamp() - min(requested_at))::float AS oldest
    FROM workflow_approvals WHERE status = 'pending' GROUP BY approval ORDER BY approval"""


class OpenExecutions(NamedTuple):
    """How many executions of a workflow have this status; those that have ended are not looked at."""

    workflow: str
    status: str
    number: int


class PendingApprovals(NamedTuple):
    """How many decisions of one kind are waited for, and for how many seconds the oldest has been."""

    approval: str
    number: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class Census:
    """What stands now, what has happened since counting began, and whether it moves."""

    open: list[OpenExecutions]
    pending: list[PendingApprovals]
    counts: counts.Counts
    pulse: pulse.Pulse


def take(db: Session) -> Census:
    """The census now, in a few queries that read small indexes."""
    cursor = store.cursor(db)
    return Census(
        open=[OpenExecutions(**row) for row in cursor.execute(OPEN)],
        pending=[
            PendingApprovals(row["approval"], row["number"], max(row["oldest"], 0.0)) for row in cursor.execute(PENDING)
        ],
        counts=counts.read(db),
        pulse=pulse.feel(db),
    )
