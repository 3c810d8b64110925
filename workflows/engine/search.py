"""Lists of executions: any filter, newest first, page by page."""

from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from workflows.engine import store
from workflows.engine.models import ENDED, ExecutionStatus

ACTIVE = ", ".join(f"'{status}'" for status in ExecutionStatus if status not in ENDED)
# What is active is named by its statuses, because those are indexed: however many have ended, it costs what is active.
LIST = f"""
    SELECT {store.COLUMNS} FROM workflow_executions
    WHERE (%(status)s::text IS NULL OR status = %(status)s)
      AND (NOT %(active)s::boolean OR status IN ({ACTIVE}))
      AND (%(workflow)s::text IS NULL OR workflow = %(workflow)s)
      AND (%(subject)s::text IS NULL OR subject = %(subject)s)
      AND (%(error_kind)s::text IS NULL OR error ->> 'kind' = %(error_kind)s)
      AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
      AND (%(before)s::timestamptz IS NULL OR created_at < %(before)s)
      AND (%(cursor_at)s::timestamptz IS NULL OR (created_at, id) < (%(cursor_at)s, %(cursor_id)s::uuid))
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
    cursor_at, cursor_id = after or (None, None)
    arguments = {**asdict(wanted), "limit": limit, "cursor_at": cursor_at, "cursor_id": cursor_id}
    return [store.stored(row) for row in store.cursor(db).execute(LIST, arguments)]
