"""What the outside may know of an execution: the status that the API, the command line and Python clients show."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from workflows.engine import store
from workflows.engine.approval_rows import StoredApproval
from workflows.engine.definition import Workflow
from workflows.engine.models import StepStatus
from workflows.engine.nodes import undo_name
from workflows.engine.planner import next_moves
from workflows.engine.state import FIRST_TRY, Problem, State, StepState
from workflows.engine.values import Json, is_withheld

WITHHELD_TEXT = "[personal]"


@dataclass(frozen=True, slots=True)
class ErrorStatus:
    """Why something failed. ``traceback`` is only there for errors that nobody expected."""

    kind: str
    message: str
    traceback: str | None


@dataclass(frozen=True, slots=True)
class StepView:
    """One step; times are by the database's clock, the duration is in seconds."""

    step_name: str
    step_index: int
    status: StepStatus
    attempt: int
    started_at: datetime | None
    completed_at: datetime | None
    duration_seconds: float | None
    output: Json
    error: ErrorStatus | None


@dataclass(frozen=True, slots=True)
class TimerView:
    """A step, or block, that waits for a moment."""

    timer: str
    fires_at: datetime
    remaining_seconds: float


@dataclass(frozen=True, slots=True)
class ApprovalView:
    """A person's decision. ``remaining_seconds`` are there while it is pending; ``decided_by`` is whoever ended it."""

    approval_id: UUID
    approval_type: str
    assignee: str
    status: str
    data: Json | None
    reason: str | None
    requested_at: datetime
    expires_at: datetime
    reminded_at: datetime | None
    remaining_seconds: float | None
    decided_at: datetime | None
    decided_by: str | None
    execution_id: UUID
    workflow_name: str
    step_name: str
    subject: str | None


@dataclass(frozen=True, slots=True)
class CancellationView:
    """Who cancelled an execution, and why; there from the moment when they did."""

    cancelled_by: str
    reason: str


@dataclass(frozen=True, slots=True)
class ExecutionView:
    """One execution. ``current_step_index`` counts from 0; ``progress_percentage`` is completed steps over all.

    ``workflow_known`` says whether this process knows that version, so that it can cancel, resume or rerun it.
    """

    execution_id: UUID
    workflow_name: str
    workflow_version: int
    workflow_known: bool
    status: str
    subject: str | None
    started_by: str
    started_at: datetime
    completed_at: datetime | None
    elapsed_seconds: float
    current_step_index: int | None
    total_steps: int
    current_step_name: str | None
    progress_percentage: float
    steps: list[StepView]
    inputs: Json
    output: Json
    error: ErrorStatus | None
    cancellation: CancellationView | None
    approvals: list[ApprovalView]
    timers: list[TimerView]
    resumable: bool
    rerun_of: UUID | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What whoever waits for an execution is told: where it is committed to be, in a read or an announcement."""

    execution_id: UUID
    status: str
    output: Json
    error: ErrorStatus | None


STANDING = TypeAdapter(Standing)


@dataclass(frozen=True, slots=True)
class ExecutionSummary:
    """One line of a list of executions. ``workflow_known`` says whether this process knows that version."""

    execution_id: UUID
    workflow_name: str
    workflow_version: int
    workflow_known: bool
    status: str
    subject: str | None
    started_by: str
    started_at: datetime
    completed_at: datetime | None
    current_step_name: str | None
    completed_steps: int
    total_steps: int
    error_kind: str | None


@dataclass(frozen=True, slots=True)
class EventView:
    """One event, as it is stored."""

    position: int
    type: str
    step: str | None
    at: datetime
    actor: str
    data: Json


def view_of(
    workflow: Workflow | None,
    row: store.Stored,
    approvals: Sequence[StoredApproval],
    now: datetime,
    held: frozenset[int],
) -> ExecutionView:
    """The status of an execution; one of an unknown version shows the steps that something has happened to."""
    state = row.current
    steps = _step_views(workflow, state, _running(workflow, row, state, held))
    names = [step.step_name for step in steps]
    return ExecutionView(
        execution_id=row.id,
        workflow_name=row.workflow,
        workflow_version=row.version,
        workflow_known=workflow is not None,
        status=row.status,
        subject=row.subject,
        started_by=row.started_by,
        started_at=row.created_at,
        completed_at=row.completed_at,
        elapsed_seconds=((row.completed_at or now) - row.created_at).total_seconds(),
        current_step_index=names.index(row.current_step) if row.current_step in names else None,
        total_steps=row.total_steps,
        current_step_name=row.current_step,
        progress_percentage=round(100 * row.completed_steps / row.total_steps, 1),
        steps=steps,
        inputs=_shown(row.inputs),
        output=_shown(row.output),
        error=_error(state.error),
        cancellation=_cancellation(state),
        approvals=[approval_view(each) for each in approvals],
        timers=[
            TimerView(name, fires_at, max(0.0, (fires_at - now).total_seconds()))
            for name, fires_at in sorted(state.timers.items())
        ],
        resumable=state.resumable,
        rerun_of=row.rerun_of,
    )


def approval_view(row: StoredApproval) -> ApprovalView:
    left = max(0.0, (row.expires_at - row.now).total_seconds())
    return ApprovalView(
        approval_id=row.id,
        approval_type=row.type,
        assignee=row.assignee,
        status=row.status,
        data=None if row.data is None else _shown(row.data),
        reason=row.reason,
        requested_at=row.requested_at,
        expires_at=row.expires_at,
        reminded_at=row.reminded_at,
        remaining_seconds=left if row.status == "pending" else None,
        decided_at=row.decided_at,
        decided_by=row.decided_by,
        execution_id=row.execution_id,
        workflow_name=row.workflow,
        step_name=row.approval,
        subject=row.subject,
    )


def standing_of(row: store.StoredStanding) -> Standing:
    error = row.error
    problem = ErrorStatus(error["kind"], error["message"], error["traceback"]) if error else None
    return Standing(row.id, row.status, _shown(row.output), problem)


def to_announcement(standing: Standing) -> bytes:
    return STANDING.dump_json(standing)


def of_announcement(announcement: bytes) -> Standing:
    return STANDING.validate_json(announcement)


def summary_of(row: store.Stored, *, workflow_known: bool) -> ExecutionSummary:
    return ExecutionSummary(
        execution_id=row.id,
        workflow_name=row.workflow,
        workflow_version=row.version,
        workflow_known=workflow_known,
        status=row.status,
        subject=row.subject,
        started_by=row.started_by,
        started_at=row.created_at,
        completed_at=row.completed_at,
        current_step_name=row.current_step,
        completed_steps=row.completed_steps,
        total_steps=row.total_steps,
        error_kind=row.error["kind"] if row.error else None,
    )


def event_view(row: Json) -> EventView:
    """An event as it is stored, of whatever type: a newer release may have written it."""
    return EventView(**{**row, "data": _shown(row["data"])})


def _running(workflow: Workflow | None, row: store.Stored, state: State, held: frozenset[int]) -> set[str]:
    """Names of the units that a worker holds right now."""
    moves = next_moves(workflow, state) if workflow else ()
    return {unit.name for unit in moves if store.claim_key(row.id, unit.name) in held}


def _step_views(workflow: Workflow | None, state: State, running: set[str]) -> list[StepView]:
    if workflow is None:
        return [_step_view(index, name, name, state, running) for index, name in enumerate(state.steps)]
    names = [(step.name, unit.name) for unit in workflow.units for step in unit.steps]
    return [_step_view(index, name, unit, state, running) for index, (name, unit) in enumerate(names)]


def _step_view(index: int, name: str, unit: str, state: State, running: set[str]) -> StepView:
    step = state.step(name)
    return StepView(
        step_name=name,
        step_index=index,
        status=_step_status(step, unit, state, running),
        attempt=step.attempt if step.position else state.tries.get(unit, FIRST_TRY).attempt,
        started_at=step.started_at,
        completed_at=step.completed_at,
        duration_seconds=step.duration_seconds,
        output=_shown(step.output),
        # A step stands as it stood while its undo has failed; why that did is what there is to know.
        error=_error(step.error or state.step(undo_name(name)).error),
    )


def _step_status(step: StepState, unit: str, state: State, running: set[str]) -> StepStatus:
    if unit in running:
        return StepStatus.RUNNING
    return StepStatus.WAITING if unit in state.waits_for else step.status


def _error(problem: Problem | None) -> ErrorStatus | None:
    return ErrorStatus(problem.kind, problem.message, problem.traceback) if problem else None


def _cancellation(state: State) -> CancellationView | None:
    found = state.cancellation
    return CancellationView(found.actor, found.reason) if found else None


def _shown(values: Json) -> Json:
    """Values as people see them, a word in the place of each personal one."""
    return {name: WITHHELD_TEXT if is_withheld(value) else _inner(value) for name, value in values.items()}


def _inner(value: Any) -> Any:
    return _shown(value) if isinstance(value, dict) else value
