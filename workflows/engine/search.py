"""Lists of executions: any filter, newest first, page by page."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from workflows.engine import store

# A statement holds only the conditions that are asked for. One that skips the others by ``%(status)s IS NULL OR`` can
# use no index where PostgreSQL plans it once for whatever values, as it may what psycopg has prepared.
CONDITIONS = {
    "status": "status = %(status)s",
    # Not by the statuses: what has not ended is found in the order of the list.
    "active": "completed_at IS NULL",
    "workflow": "workflow = %(workflow)s",
    "subject": "subject = %(subject)s",
    # That there is an error follows. Said as well, it is counted twice: all of a kind are sorted for one page.
    "error_kind": "error ->> 'kind' = %(error_kind)s",
    "since": "created_at >= %(since)s",
    "before": "created_at < %(before)s",
    "after": "(created_at, id) < (%(after_at)s, %(after_id)s)",
}


def statement(asked: Iterable[str]) -> str:
    """The list whose conditions have these names."""
    where = " AND ".join(condition for name, condition in CONDITIONS.items() if name in asked)
    return f"""
    SELECT {store.COLUMNS} FROM workflow_executions
    WHERE {where or "true"}
    ORDER BY created_at DESC, id DESC LIMIT %(limit)s"""


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


def executions(db: Session, wanted: Filter, limit: int, after: tuple[datetime, UUID] | None) -> list[store.Stored]:
    """At most ``limit`` executions, newest first, those past the one that ``after`` names."""
    after_at, after_id = after or (None, None)
    arguments = {**asdict(wanted), "limit": limit, "after_at": after_at, "after_id": after_id}
    return [store.stored(row) for row in store.cursor(db).execute(statement(_asked(wanted, after)), arguments)]


def _asked(wanted: Filter, after: object) -> set[str]:
    """The names of the conditions that this list has."""
    asked = {name for name, value in asdict(wanted).items() if value is not None and value is not False}
    return asked | {"after"} if after else asked
