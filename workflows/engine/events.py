"""The facts of an execution: each a frozen dataclass, written once into ``workflow_events``, never changed."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, get_args

from pydantic import TypeAdapter

from workflows.engine.values import Json


@dataclass(frozen=True, slots=True)
class ExecutionStarted:
    """Somebody started it. ``inputs`` hold a mark in the place of each personal value."""

    type: ClassVar[str] = "execution.started"
    workflow: str
    version: int
    inputs: Json


@dataclass(frozen=True, slots=True)
class ExecutionCompleted:
    """Every step is completed."""

    type: ClassVar[str] = "execution.completed"


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
class ExecutionRedriven:
    """Its steps were due and not running, so they were dispatched again."""

    type: ClassVar[str] = "execution.redriven"
    dispatched: list[str]


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
    """A step ended in an error that trying again does not mend."""

    type: ClassVar[str] = "step.failed"
    step: str
    attempt: int
    started_at: datetime
    duration_seconds: float
    kind: str
    message: str
    resumable: bool
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class StepRetried:
    """An attempt was rolled back by something transient; the next one follows ``delay_seconds`` later."""

    type: ClassVar[str] = "step.retried"
    step: str
    attempt: int
    kind: str
    message: str
    delay_seconds: float


Fact = (
    ExecutionStarted
    | ExecutionCompleted
    | ExecutionFailed
    | ExecutionRedriven
    | StepCompleted
    | StepFailed
    | StepRetried
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
