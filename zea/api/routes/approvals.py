"""Decisions that executions wait for: one's own, and for admins everybody's."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from pydantic import Field

from workflows.engine.client import ExecutionClient
from workflows.engine.status import ApprovalView
from zea.accounts.models import Role, User
from zea.api import routing
from zea.api.deps import CurrentUser, Db
from zea.api.description import refusals
from zea.api.executions import Executions
from zea.api.paging import Page, Paging
from zea.api.parties import actor_of, approval_for
from zea.api.routes.interventions import Reason
from zea.api.schemas import Request
from zea.errors import AlreadyDecided, DeadlinePassed, NotFound

router = routing.router("/api/approvals", "approvals")

HIDDEN = NotFound("There is no such approval, or none that you may see.")


class Answer(Request):
    """What the approval asks for."""

    data: dict[str, Any] = Field(repr=False)


class Rejection(Request):
    """Why it is not answered."""

    reason: Reason


@router.get("")
def list_approvals(
    user: CurrentUser,
    executions: Executions,
    paging: Paging,
    pending: Annotated[bool, Query(description="only those that are not decided")] = False,
) -> Page[ApprovalView]:
    """One's own, or for an admin everybody's: those that are pending first, and otherwise the newest."""
    assignee = None if user.role == Role.ADMIN else actor_of(user)
    found = executions.list_approvals(assignee, pending=pending, limit=paging.limit, cursor=paging.cursor)
    items = [approval_for(user, each) for each in found.items]
    return Page(items=items, next_cursor=found.next_cursor)


@router.get("/{approval_id}")
def get_approval(approval_id: UUID, user: CurrentUser, executions: Executions) -> ApprovalView:
    """One approval: what is asked, of whom and until when, or how that ended."""
    return approval_for(user, _visible(executions, approval_id, user))


@router.post("/{approval_id}/approve", responses=refusals(AlreadyDecided, DeadlinePassed))
def approve(approval_id: UUID, answer: Answer, user: CurrentUser, executions: Executions, db: Db) -> ApprovalView:
    """Give the answer; 409 if it was decided, 410 if its time is over."""
    _visible(executions, approval_id, user)
    executions.approve(approval_id, answer.data, actor=actor_of(user), db=db)
    return approval_for(user, executions.get_approval(approval_id, db=db))


@router.post("/{approval_id}/reject", responses=refusals(AlreadyDecided, DeadlinePassed))
def reject(approval_id: UUID, rejection: Rejection, admin: CurrentUser, executions: Executions, db: Db) -> ApprovalView:
    """Have the execution go on without an answer, or fail, as its workflow says."""
    executions.reject(approval_id, actor=actor_of(admin), reason=rejection.reason, db=db)
    return executions.get_approval(approval_id, db=db)


def _visible(executions: ExecutionClient, approval_id: UUID, user: User) -> ApprovalView:
    try:
        view = executions.get_approval(approval_id)
    except NotFound:
        raise HIDDEN from None
    if user.role != Role.ADMIN and view.assignee != actor_of(user):
        raise HIDDEN
    return view
