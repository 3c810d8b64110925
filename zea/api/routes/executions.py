"""How executions stand: for whoever started them, the parties to what they are about, and admins."""

from typing import Annotated
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel
from sqlalchemy.orm import Session

from workflows.engine.client import ExecutionClient
from workflows.engine.models import ExecutionStatus
from workflows.engine.search import Filter
from workflows.engine.status import EventView, ExecutionSummary, ExecutionView
from zea.accounts.models import Role, User
from zea.api import parties, routing
from zea.api.deps import CurrentUser, Db
from zea.api.executions import Executions
from zea.api.paging import Page, Paging
from zea.api.schemas import AwareDatetime
from zea.bookings import service as bookings
from zea.errors import NotFound

router = routing.router("/api/executions", "executions")

HIDDEN = NotFound("There is no such execution, or none that you may see.")


class EventPage(BaseModel):
    """Events past a position, oldest first; ``next_cursor`` is the position to go on from, null at the end."""

    items: list[EventView]
    next_cursor: str | None


@router.get("")
def list_executions(
    executions: Executions,
    paging: Paging,
    status: ExecutionStatus | None = None,
    workflow: str | None = None,
    subject: str | None = None,
    error_kind: str | None = None,
    from_at: Annotated[AwareDatetime | None, Query(alias="from")] = None,
    to_at: Annotated[AwareDatetime | None, Query(alias="to")] = None,
) -> Page[ExecutionSummary]:
    """Executions, newest first."""
    wanted = Filter(status, workflow, subject, error_kind, since=from_at, before=to_at)
    found = executions.list_executions(wanted, paging.limit, paging.cursor)
    return Page(items=found.items, next_cursor=found.next_cursor)


@router.get("/active")
def list_active_executions(executions: Executions, paging: Paging) -> Page[ExecutionSummary]:
    """Executions that have not ended, newest first."""
    found = executions.list_active_workflows(paging.limit, paging.cursor)
    return Page(items=found.items, next_cursor=found.next_cursor)


@router.get("/{execution_id}")
def get_execution(execution_id: UUID, user: CurrentUser, executions: Executions, db: Db) -> ExecutionView:
    """One execution; parties see its statuses, admins also its values and errors."""
    return parties.execution_for(user, visible_execution(executions, execution_id, user, db))


@router.get("/{execution_id}/events")
def get_events(
    execution_id: UUID,
    user: CurrentUser,
    executions: Executions,
    db: Db,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[int, Query(ge=0, examples=[50], description="the next_cursor of the page before")] = 0,
) -> EventPage:
    """What happened, oldest first; parties see what and when, admins also by whom and the data."""
    visible_execution(executions, execution_id, user, db)
    found = executions.events(execution_id, after=cursor, limit=limit + 1)
    shown = [parties.event_for(user, event) for event in found[:limit]]
    return EventPage(items=shown, next_cursor=str(shown[-1].position) if len(found) > limit else None)


def visible_execution(executions: ExecutionClient, execution_id: UUID, user: User, db: Session) -> ExecutionView:
    """The execution, if this person may see it.

    Raises:
        NotFound: there is none, or they may not.
    """
    try:
        view = executions.get_execution_status(execution_id)
    except NotFound:
        raise HIDDEN from None
    if not _may_see(view, user, db):
        raise HIDDEN
    return view


def _may_see(view: ExecutionView, user: User, db: Session) -> bool:
    if user.role == Role.ADMIN or parties.actor_of(user) in (view.started_by, view.subject):
        return True
    kind, _, booking_id = (view.subject or "").partition(":")
    return kind == "booking" and _is_party(db, UUID(booking_id), user)


def _is_party(db: Session, booking_id: UUID, user: User) -> bool:
    try:
        bookings.get_booking(db, booking_id, user.id, Role(user.role))
    except NotFound:
        return False
    return True
