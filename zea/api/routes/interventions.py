"""What admins do to executions: resume, cancel and rerun them."""

from typing import Annotated
from uuid import UUID

from fastapi import Response
from pydantic import BaseModel, Field, StringConstraints

from workflows.engine.client import LONGEST_REASON
from workflows.engine.status import ExecutionView
from zea.api import routing
from zea.api.deps import CurrentUser, Db, IdempotencyKey
from zea.api.description import CREATED, refusals
from zea.api.executions import Executions
from zea.api.idempotency import KeyedRequest, claim
from zea.api.parties import actor_of
from zea.api.schemas import Request
from zea.db import new_id
from zea.errors import NotPossible

router = routing.router("/api/executions", "executions")

LONGEST_STEP_NAME = 200

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_REASON)]


class Resumption(Request):
    """Let it go on at what failed."""

    reason: Reason | None = None


class Cancellation(Request):
    """End it, and undo what was completed."""

    reason: Reason


class Rerun(Request):
    """Run it anew, whole or from a step on; a step of a block stands for the whole block."""

    from_step: str | None = Field(default=None, min_length=1, max_length=LONGEST_STEP_NAME)
    reason: Reason


class RerunOf(Rerun):
    """What an idempotency key stands for: under the same key, another execution's rerun is another request."""

    execution_id: UUID


class RerunStarted(BaseModel):
    """The new execution."""

    execution_id: UUID


@router.post("/{execution_id}/resume", responses=refusals(NotPossible))
def resume_execution(
    execution_id: UUID, admin: CurrentUser, executions: Executions, db: Db, resumption: Resumption | None = None
) -> ExecutionView:
    """Let a failed execution go on at what failed; 409 if it has not failed, was refused, or was undone."""
    reason = resumption.reason if resumption else None
    return executions.resume(execution_id, actor=actor_of(admin), reason=reason, db=db)


@router.post("/{execution_id}/cancel", responses=refusals(NotPossible))
def cancel_execution(
    execution_id: UUID, cancellation: Cancellation, admin: CurrentUser, executions: Executions, db: Db
) -> ExecutionView:
    """End an execution and undo what was completed; 409 if it has ended or is being undone, 503 while a step runs."""
    return executions.cancel(execution_id, actor=actor_of(admin), reason=cancellation.reason, db=db)


@router.post("/{execution_id}/rerun", status_code=201, responses={201: CREATED, **refusals(NotPossible)})
def rerun_execution(
    execution_id: UUID,
    rerun: Rerun,
    admin: CurrentUser,
    executions: Executions,
    db: Db,
    response: Response,
    key: IdempotencyKey = None,
) -> RerunStarted:
    """Begin a new execution with the inputs of one that has ended; 409 if it has not, or if it cannot begin there."""
    actor = actor_of(admin)
    body = RerunOf(execution_id=execution_id, **rerun.model_dump())
    new_execution_id = new_id()
    known_id = claim(db, KeyedRequest(key, actor, "executions.rerun", body), new_execution_id)
    if known_id == new_execution_id:
        executions.rerun(
            execution_id,
            actor=actor,
            reason=rerun.reason,
            from_step=rerun.from_step,
            new_execution_id=new_execution_id,
            db=db,
        )
    response.headers["Location"] = f"/api/executions/{known_id}"
    return RerunStarted(execution_id=known_id)
