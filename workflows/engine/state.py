"""What is true of an execution: its events, replayed. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter

from workflows.engine.definition import INPUT, Workflow
from workflows.engine.events import (
    Event,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionRedriven,
    ExecutionStarted,
    StepCompleted,
    StepFailed,
    StepRetried,
)
from workflows.engine.models import ExecutionStatus, StepStatus
from workflows.engine.values import Json, is_withheld


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a step or an execution failed."""

    kind: str
    message: str
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class StepState:
    """Where a step stands. ``attempt`` is the one under way or, once it ended, the last one."""

    status: StepStatus = StepStatus.PENDING
    attempt: int = 1
    started_at: datetime | None = None
    completed_at: datetime | None = None
    duration_seconds: float | None = None
    output: Json = field(default_factory=dict)
    error: Problem | None = None
    resumable: bool = True


UNTOUCHED = StepState()


@dataclass(frozen=True, slots=True)
class State:
    """An execution as its events tell it. ``steps`` holds those that something has happened to."""

    status: ExecutionStatus = ExecutionStatus.RUNNING
    inputs: Json = field(default_factory=dict)
    steps: Mapping[str, StepState] = field(default_factory=dict)
    error: Problem | None = None
    resumable: bool = False
    position: int = 0
    epoch: int = 1
    created_at: datetime | None = None
    completed_at: datetime | None = None

    def step(self, name: str) -> StepState:
        return self.steps.get(name, UNTOUCHED)

    def value(self, source: str, name: str) -> Any:
        """The JSON value ``name`` of the input, or of what step ``source`` returned."""
        return self.inputs[name] if source == INPUT else self.steps[source].output[name]


STEPS = TypeAdapter(dict[str, StepState])


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
            return replace(state, inputs=fact.inputs, created_at=event.at)
        case ExecutionCompleted():
            return replace(state, status=ExecutionStatus.COMPLETED, completed_at=event.at)
        case ExecutionFailed() as fact:
            return replace(
                state,
                status=ExecutionStatus.FAILED,
                error=Problem(fact.kind, fact.message, fact.traceback),
                resumable=fact.resumable,
                completed_at=event.at,
            )
        case ExecutionRedriven():
            return state
        case StepCompleted() | StepFailed() | StepRetried() as fact:
            return replace(state, steps={**state.steps, fact.step: _after(state.step(fact.step), fact)})


def _after(before: StepState, fact: StepCompleted | StepFailed | StepRetried) -> StepState:
    match fact:
        case StepRetried():
            return replace(before, attempt=fact.attempt + 1)
        case StepCompleted():
            return StepState(StepStatus.COMPLETED, output=fact.output, **_times(fact))
        case StepFailed():
            problem = Problem(fact.kind, fact.message, fact.traceback)
            return StepState(StepStatus.FAILED, error=problem, resumable=fact.resumable, **_times(fact))


def _times(fact: StepCompleted | StepFailed) -> dict[str, Any]:
    return {
        "attempt": fact.attempt,
        "started_at": fact.started_at,
        "completed_at": fact.started_at + timedelta(seconds=fact.duration_seconds),
        "duration_seconds": fact.duration_seconds,
    }


def output_of(workflow: Workflow, state: State) -> Json:
    """What the completed steps returned, merged in flow order."""
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
