"""What is true of an execution: its events, replayed. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from workflows.engine.definition import Workflow
from workflows.engine.events import (
    ApprovalApproved,
    ApprovalCancelled,
    ApprovalExpired,
    ApprovalRejected,
    ApprovalReminded,
    ApprovalRequested,
    Event,
    ExecutionCancelled,
    ExecutionCompensating,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionRedriven,
    ExecutionResumed,
    ExecutionStarted,
    StepCompensated,
    StepCompleted,
    StepFailed,
    StepRetried,
    StepSkipped,
    StepStarted,
    TimerCancelled,
    TimerFired,
    TimerSet,
)
from workflows.engine.models import ExecutionStatus, StepStatus
from workflows.engine.nodes import Unit, undo_name
from workflows.engine.signature import INPUT
from workflows.engine.values import Json, is_withheld


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a step or an execution failed."""

    kind: str
    message: str
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class StepState:
    """Where a step stands. ``attempt`` is the one that ended it, ``position`` that of the event that did."""

    status: StepStatus = StepStatus.PENDING
    attempt: int = 1
    started_at: datetime | None = None
    completed_at: datetime | None = None
    duration_seconds: float | None = None
    output: Json = field(default_factory=dict)
    error: Problem | None = None
    resumable: bool = True
    position: int = 0


@dataclass(frozen=True, slots=True)
class Tries:
    """How often a unit that has not ended was tried. ``attempt`` is the number of the one that is under way or next.

    ``failures`` is how many failed for a passing reason since it was started or resumed, ``vanished`` how many began
    and were never heard of again since the last that ended. ``started`` says that the one under way has begun.
    """

    attempt: int = 1
    failures: int = 0
    vanished: int = 0
    started: bool = False

    def begun(self) -> "Tries":
        """Once an attempt begins: one that had begun already was not heard of again."""
        lost = 1 if self.started else 0
        return replace(self, attempt=self.attempt + lost, vanished=self.vanished + lost, started=True)


@dataclass(frozen=True, slots=True)
class Pending:
    """An approval that is waited for. ``remind_at`` is gone once that was done."""

    approval_id: UUID
    expires_at: datetime
    remind_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Cancellation:
    """Who ended the execution, and why."""

    actor: str
    reason: str


T = TypeVar("T")
UNTOUCHED = StepState()
FIRST_TRY = Tries()


@dataclass(frozen=True, slots=True)
class State:
    """An execution as its events tell it. ``steps`` holds those that something has happened to.

    ``timers`` are the moments before which units do not run, ``approvals`` the decisions that are waited for, both by
    the unit's name. ``timeouts`` are the seconds that its own waits take. ``compensating`` stays true once it has
    begun.
    """

    status: ExecutionStatus = ExecutionStatus.RUNNING
    inputs: Json = field(default_factory=dict)
    steps: Mapping[str, StepState] = field(default_factory=dict)
    tries: Mapping[str, Tries] = field(default_factory=dict)
    timers: Mapping[str, datetime] = field(default_factory=dict)
    approvals: Mapping[str, Pending] = field(default_factory=dict)
    timeouts: Mapping[str, float] = field(default_factory=dict)
    compensating: bool = False
    cancellation: Cancellation | None = None
    error: Problem | None = None
    resumable: bool = False
    position: int = 0
    epoch: int = 1
    created_at: datetime | None = None
    completed_at: datetime | None = None

    @property
    def waits_for(self) -> frozenset[str]:
        """Names of the units that wait, for the clock or for somebody."""
        return frozenset(self.timers) | frozenset(self.approvals)

    @property
    def wakes_at(self) -> datetime | None:
        """When something is to be done about what it waits for, if nobody does anything before."""
        moments = [*self.timers.values()]
        for pending in self.approvals.values():
            moments += [pending.expires_at, *([pending.remind_at] if pending.remind_at else [])]
        return min(moments, default=None)

    def step(self, name: str) -> StepState:
        return self.steps.get(name, UNTOUCHED)

    def tries_of(self, unit: Unit) -> Tries:
        return self.tries.get(unit.name, FIRST_TRY)

    def value(self, source: str, name: str) -> Any:
        """The JSON value ``name`` of the input, or of what step ``source`` returned."""
        return self.inputs[name] if source == INPUT else self.steps[source].output[name]


def replay(events: Iterable[Event]) -> State:
    """The state after these events, in order of position."""
    state = State()
    for event in events:
        state = apply(state, event)
    return state


def apply(state: State, event: Event) -> State:
    """The state after one more event."""
    return _changed(replace(state, position=event.position), event)


def _changed(state: State, event: Event) -> State:
    match event.fact:
        case ExecutionStarted() as fact:
            return replace(state, inputs=fact.inputs, timeouts=fact.timeouts or {}, created_at=event.at)
        case ExecutionCompleted():
            return replace(state, status=ExecutionStatus.COMPLETED, completed_at=event.at)
        case ExecutionCompensating() as fact:
            return _compensating(state, event.actor, fact)
        case ExecutionFailed() as fact:
            problem = Problem(fact.kind, fact.message, fact.traceback)
            ended = replace(state, status=ExecutionStatus.FAILED, completed_at=event.at)
            return replace(ended, error=problem, resumable=fact.resumable)
        case ExecutionCancelled() as fact:
            ended = replace(state, status=ExecutionStatus.CANCELLED, completed_at=event.at)
            cancellation = Cancellation(fact.cancelled_by, fact.reason)
            return replace(ended, error=Problem("cancelled", fact.reason), cancellation=cancellation)
        case ExecutionResumed() as fact:
            return _resumed(state, fact)
        case ExecutionRedriven():
            return state
        case TimerSet() as fact:
            timed = replace(state, timers={**state.timers, fact.timer: fact.fires_at})
            return _waiting(timed, fact.timer, event, fact.attempt) if fact.attempt else timed
        case TimerFired() | TimerCancelled() as fact:
            return replace(state, timers=_without(state.timers, fact.timer))
        case ApprovalRequested() as fact:
            return _requested(state, event, fact)
        case ApprovalReminded() as fact:
            reminded = replace(state.approvals[fact.approval], remind_at=None)
            return replace(state, approvals={**state.approvals, fact.approval: reminded})
        case ApprovalApproved() | ApprovalRejected() | ApprovalExpired() | ApprovalCancelled() as fact:
            return replace(state, approvals=_without(state.approvals, fact.approval))
        case StepStarted() | StepRetried() as fact:
            return _tried(state, fact.block or fact.step, fact)
        case StepFailed() as fact:
            return _tried(_ended(state, event.position, fact), fact.block or fact.step, fact)
        case StepCompleted() | StepSkipped() | StepCompensated() as fact:
            return _ended(state, event.position, fact)


def _compensating(state: State, actor: str, fact: ExecutionCompensating) -> State:
    cancellation = Cancellation(actor, fact.reason or "") if fact.cause == "cancelled" else None
    changed = replace(state, status=ExecutionStatus.COMPENSATING, compensating=True, epoch=state.epoch + 1)
    return replace(changed, cancellation=cancellation)


def _resumed(state: State, fact: ExecutionResumed) -> State:
    """What failed is as if it had not run yet, save for the number of its next attempt; all have all attempts again."""
    status = ExecutionStatus.COMPENSATING if state.compensating else ExecutionStatus.RUNNING
    running = replace(state, status=status, epoch=state.epoch + 1, completed_at=None, error=None, resumable=False)
    tries = {name: replace(each, failures=0) for name, each in state.tries.items()}
    left = {name: step for name, step in state.steps.items() if name not in fact.steps}
    return replace(running, steps=left, tries=tries)


def _requested(state: State, event: Event, fact: ApprovalRequested) -> State:
    pending = Pending(UUID(fact.approval_id), fact.expires_at, fact.remind_at)
    asked = replace(state, approvals={**state.approvals, fact.approval: pending})
    return _waiting(asked, fact.approval, event, fact.attempt)


def _waiting(state: State, step: str, event: Event, attempt: int) -> State:
    """The attempt that came to wait has ended: should what it waits for be cancelled, the next one is another."""
    waiting = StepState(attempt=attempt, started_at=event.at, position=event.position)
    return replace(state, steps={**state.steps, step: waiting}, tries={**state.tries, step: Tries(attempt + 1)})


def _tried(state: State, unit: str, fact: StepStarted | StepRetried | StepFailed) -> State:
    before = state.tries.get(unit, FIRST_TRY)
    match fact:
        case StepStarted():
            after = before.begun()
        case StepRetried():
            after = Tries(fact.attempt + 1, failures=before.failures + 1)
        case StepFailed():
            after = Tries(fact.attempt + 1)
    return replace(state, tries={**state.tries, unit: after})


def _ended(state: State, position: int, fact: StepCompleted | StepFailed | StepSkipped | StepCompensated) -> State:
    steps = {**state.steps, fact.step: _step_after(state.step(fact.step), position, fact)}
    if isinstance(fact, StepCompensated):
        steps.pop(undo_name(fact.step), None)
    return replace(state, steps=steps)


def _step_after(
    before: StepState, position: int, fact: StepCompleted | StepFailed | StepSkipped | StepCompensated
) -> StepState:
    match fact:
        case StepCompleted():
            return StepState(StepStatus.COMPLETED, output=fact.output, position=position, **_times(fact))
        case StepFailed():
            problem = Problem(fact.kind, fact.message, fact.traceback)
            failed = StepState(StepStatus.FAILED, error=problem, position=position, **_times(fact))
            return replace(failed, resumable=fact.resumable)
        case StepSkipped():
            return StepState(StepStatus.SKIPPED, output=fact.output, position=position)
        case StepCompensated():
            return replace(before, status=StepStatus.COMPENSATED, position=position)


def _times(fact: StepCompleted | StepFailed) -> dict[str, Any]:
    return {
        "attempt": fact.attempt,
        "started_at": fact.started_at,
        "completed_at": fact.started_at + timedelta(seconds=fact.duration_seconds),
        "duration_seconds": fact.duration_seconds,
    }


def _without(mapping: Mapping[str, T], name: str) -> dict[str, T]:
    return {key: value for key, value in mapping.items() if key != name}


def output_of(workflow: Workflow, state: State) -> Json:
    """What the steps have returned, merged in flow order."""
    merged: Json = {}
    for step in workflow.steps:
        merged |= state.step(step.name).output
    return merged


def subject_of(workflow: Workflow, state: State) -> str | None:
    """What the execution is about, once the values it is named by exist."""
    if workflow.subject is None:
        return None
    seen = {name: value for name, value in state.inputs.items() if not is_withheld(value)}
    try:
        return workflow.subject.format(**(seen | output_of(workflow, state)))
    except KeyError:
        return None
