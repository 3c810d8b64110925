"""The facts of an execution: each a frozen dataclass, written once into ``workflow_events``, never changed."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal, get_args

from pydantic import TypeAdapter

from workflows.engine.values import Json


@dataclass(frozen=True, slots=True)
class ExecutionStarted:
    """Somebody started it. ``inputs`` hold a mark in the place of each personal value.

    ``rerun_of`` is the execution that this one repeats, from ``from_step`` on or whole, for the ``reason`` given.
    ``timeouts`` are seconds that this execution's waits take, by their names, instead of what the workflow says.
    """

    type: ClassVar[str] = "execution.started"
    workflow: str
    version: int
    inputs: Json
    rerun_of: str | None = None
    from_step: str | None = None
    reason: str | None = None
    timeouts: dict[str, float] | None = None


@dataclass(frozen=True, slots=True)
class ExecutionCompleted:
    """Every step is completed."""

    type: ClassVar[str] = "execution.completed"


@dataclass(frozen=True, slots=True)
class ExecutionCompensating:
    """What was completed is being undone, newest first, because a step failed or somebody cancelled it."""

    type: ClassVar[str] = "execution.compensating"
    cause: Literal["failed", "cancelled"]
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ExecutionFailed:
    """A step failed and nothing else can run. What was refused is never resumed."""

    type: ClassVar[str] = "execution.failed"
    failed_step: str
    kind: str
    message: str
    resumable: bool
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class ExecutionCancelled:
    """Somebody ended it, and what was completed is undone."""

    type: ClassVar[str] = "execution.cancelled"
    cancelled_by: str
    reason: str


@dataclass(frozen=True, slots=True)
class ExecutionResumed:
    """Somebody let the failed ``steps`` be tried again."""

    type: ClassVar[str] = "execution.resumed"
    steps: list[str]
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ExecutionRedriven:
    """Its steps were due and not running, so they were dispatched again."""

    type: ClassVar[str] = "execution.redriven"
    dispatched: list[str]


@dataclass(frozen=True, slots=True)
class StepStarted:
    """An attempt begins: said beforehand only by steps that take long, and by those that were dispatched again."""

    type: ClassVar[str] = "step.started"
    step: str
    attempt: int
    block: str | None = None


@dataclass(frozen=True, slots=True)
class StepCompleted:
    """A step's effects and this fact were committed together. ``duration_seconds`` is measured in the worker."""

    type: ClassVar[str] = "step.completed"
    step: str
    attempt: int
    started_at: datetime
    duration_seconds: float
    output: Json


@dataclass(frozen=True, slots=True)
class StepFailed:
    """A step ended in an error that trying again does not mend. ``block`` is the block that it was rolled back with."""

    type: ClassVar[str] = "step.failed"
    step: str
    attempt: int
    started_at: datetime
    duration_seconds: float
    kind: str
    message: str
    resumable: bool
    traceback: str | None = None
    block: str | None = None


@dataclass(frozen=True, slots=True)
class StepRetried:
    """An attempt was rolled back by something transient; the next one follows ``delay_seconds`` later."""

    type: ClassVar[str] = "step.retried"
    step: str
    attempt: int
    kind: str
    message: str
    delay_seconds: float
    block: str | None = None


@dataclass(frozen=True, slots=True)
class StepSkipped:
    """A step does not run in this execution: its result is taken from the one that this one reruns."""

    type: ClassVar[str] = "step.skipped"
    step: str
    output: Json


@dataclass(frozen=True, slots=True)
class StepCompensated:
    """A completed step was undone. ``attempt``, times and duration are those of its undo."""

    type: ClassVar[str] = "step.compensated"
    step: str
    attempt: int
    started_at: datetime
    duration_seconds: float


@dataclass(frozen=True, slots=True)
class TimerSet:
    """The unit called ``timer`` runs no sooner than ``fires_at``; with an ``attempt``, its sleep is over then."""

    type: ClassVar[str] = "timer.set"
    timer: str
    fires_at: datetime
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class TimerFired:
    """Its moment has come."""

    type: ClassVar[str] = "timer.fired"
    timer: str


@dataclass(frozen=True, slots=True)
class TimerCancelled:
    """It is not waited for any more."""

    type: ClassVar[str] = "timer.cancelled"
    timer: str


@dataclass(frozen=True, slots=True)
class ApprovalRequested:
    """Whoever is ``assignee`` has until ``expires_at`` to decide, and is reminded at ``remind_at``."""

    type: ClassVar[str] = "approval.requested"
    approval: str
    approval_id: str
    approval_type: str
    assignee: str
    attempt: int
    expires_at: datetime
    remind_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ApprovalReminded:
    """Part of its time is over, and its assignee was told so."""

    type: ClassVar[str] = "approval.reminded"
    approval: str


@dataclass(frozen=True, slots=True)
class ApprovalApproved:
    """The answer was given. ``data`` holds a mark in the place of each personal value."""

    type: ClassVar[str] = "approval.approved"
    approval: str
    data: Json


@dataclass(frozen=True, slots=True)
class ApprovalRejected:
    """The answer was refused."""

    type: ClassVar[str] = "approval.rejected"
    approval: str
    reason: str


@dataclass(frozen=True, slots=True)
class ApprovalExpired:
    """Nobody decided in time."""

    type: ClassVar[str] = "approval.expired"
    approval: str


@dataclass(frozen=True, slots=True)
class ApprovalCancelled:
    """It is not waited for any more."""

    type: ClassVar[str] = "approval.cancelled"
    approval: str


ApprovalFact = (
    ApprovalRequested | ApprovalReminded | ApprovalApproved | ApprovalRejected | ApprovalExpired | ApprovalCancelled
)
Fact = (
    ExecutionStarted
    | ExecutionCompleted
    | ExecutionCompensating
    | ExecutionFailed
    | ExecutionCancelled
    | ExecutionResumed
    | ExecutionRedriven
    | StepStarted
    | StepCompleted
    | StepFailed
    | StepRetried
    | StepSkipped
    | StepCompensated
    | TimerSet
    | TimerFired
    | TimerCancelled
    | ApprovalFact
)
ADAPTERS: dict[str, TypeAdapter[Any]] = {fact.type: TypeAdapter(fact) for fact in get_args(Fact)}


@dataclass(frozen=True, slots=True)
class Event:
    """A fact with its place in the execution's history, its moment by the database's clock, and who caused it."""

    position: int
    at: datetime
    actor: str
    fact: Fact

    def to_row(self) -> Json:
        """As ``workflow_events`` keeps it."""
        data = ADAPTERS[self.fact.type].dump_python(self.fact, mode="json")
        return {
            "position": self.position,
            "type": self.fact.type,
            "step": data.pop("step", None),
            "at": self.at.isoformat(),
            "actor": self.actor,
            "data": data,
        }

    @classmethod
    def from_row(cls, position: int, type: str, step: str | None, at: datetime, actor: str, data: Json) -> "Event":
        named = data if step is None else {"step": step, **data}
        return cls(position, at, actor, ADAPTERS[type].validate_python(named))
