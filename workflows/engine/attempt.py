"""One attempt of a unit: its steps called in order after a savepoint, with arguments bound by name."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from time import perf_counter
from types import NoneType
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from workflows.engine import store
from workflows.engine.definition import Step, Unit, Workflow, limit_of
from workflows.engine.events import StepCompensated, StepCompleted, StepFailed, StepRetried
from workflows.engine.failures import TIMEOUT, Failure, classify
from workflows.engine.state import State
from workflows.engine.values import Json, encode, is_withheld
from zea.context import StepContext
from zea.db import undo_to_savepoint
from zea.errors import InvalidInput, PersonalValueErased


class Clock:
    """The database's clock, carried on by what this process measures since it was read."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._read_at = perf_counter()

    def __call__(self) -> datetime:
        return self._now + timedelta(seconds=perf_counter() - self._read_at)


class TransactionGone(Exception):
    """A step failed and took its transaction along; the failure can only be recorded by a new claim."""

    def __init__(self, step_name: str, error: Exception) -> None:
        super().__init__(step_name, error)
        self.step_name = step_name
        self.error = error


class Begun(NamedTuple):
    """The step that is being called, and when that began."""

    step: Step
    started_at: datetime


def _as_declared(step: Step, result: object) -> object:
    """What a step returned, which would be lost if it were not what it says that it returns."""
    if isinstance(result, step.result or NoneType):
        return result
    given, declared = type(result).__name__, step.result.__name__ if step.result else "None"
    raise InvalidInput(f"Step {step.name} returned a {given} instead of {declared}: correct it, then resume.")


def block_of(unit: Unit) -> str | None:
    """The name of the block that the unit is, or that it undoes; None for a single step."""
    return None if unit.steps[0].name == unit.name else unit.name


@dataclass
class Attempt:
    """The unit's work and, afterwards, what it came to: ``facts`` to record and ``private`` values to keep."""

    db: Session
    workflow: Workflow
    execution: store.Stored
    state: State
    unit: Unit
    clock: Clock
    facts: list[StepCompleted | StepCompensated | StepFailed | StepRetried] = field(default_factory=list)
    private: dict[str, Any] = field(default_factory=dict)
    _outputs: dict[str, Json] = field(default_factory=dict)
    _begun: Begun = field(init=False)

    def make(self) -> None:
        """Call the unit's steps: all of their effects stay, or none and the fact that says why.

        Raises:
            TransactionGone: there is no transaction left to record the failure in.
        """
        try:
            for step in self.unit.steps:
                self._begin(step)
                self.facts.append(self._done(step, self._call(step)))
        except Exception as error:
            if not undo_to_savepoint(self.db):
                raise TransactionGone(self._begun.step.name, error) from error
            self._fail(error)

    def fail(self, step_name: str, error: Exception) -> None:
        """Note that an attempt made in another transaction, which is gone, came to nothing."""
        self._begin(next(step for step in self.unit.steps if step.name == step_name))
        self._fail(error)

    def _begin(self, step: Step) -> None:
        self._begun = Begun(step, self.clock())

    def _fail(self, error: Exception) -> None:
        self.facts = [self._failed(classify(error, lambda: self._known_private))]
        self.private.clear()

    def _call(self, step: Step) -> Json:
        sources = self.workflow.sources[step.name]
        arguments = {
            parameter.name: parameter.decode(self._value(sources[parameter.name], parameter.name))
            for parameter in step.takes
            if parameter.name in sources
        }
        if step.wants_context:
            arguments["ctx"] = self._context(step)
        public, private = encode(step.returns, _as_declared(step, step.function(self.db, **arguments)))
        self.private |= {f"{step.name}.{name}": value for name, value in private.items()}
        self._outputs[step.name] = public
        return public

    def _context(self, step: Step) -> StepContext:
        return StepContext(
            execution_id=self.execution.id,
            step=step.name,
            attempt=self._number,
            actor=self.execution.started_by,
            now=self.clock(),
        )

    def _value(self, source: str, name: str) -> Any:
        value = self._outputs[source][name] if source in self._outputs else self.state.value(source, name)
        return self._personal(source, name) if is_withheld(value) else value

    def _personal(self, source: str, name: str) -> Any:
        try:
            return self._known_private[f"{source}.{name}"]
        except KeyError:
            raise PersonalValueErased(f"{self._begun.step.name} needs {name}, which was erased.") from None

    @cached_property
    def _stored_private(self) -> dict[str, Any]:
        return store.private_values(self.db, self.execution.id)

    @property
    def _known_private(self) -> dict[str, Any]:
        return self._stored_private | self.private

    @property
    def _number(self) -> int:
        return self.state.tries_of(self.unit).attempt

    def _done(self, step: Step, output: Json) -> StepCompleted | StepCompensated:
        if step.undoes:
            return StepCompensated(step.undoes, self._number, self._begun.started_at, self._seconds())
        return StepCompleted(step.name, self._number, self._begun.started_at, self._seconds(), output)

    def _failed(self, failure: Failure) -> StepFailed | StepRetried:
        step, started_at = self._begun
        if failure.kind == TIMEOUT:
            limit = limit_of(self.unit).total_seconds()
            failure = replace(failure, message=f"{failure.message}: {self.unit.name} may take {limit:g} s")
        block, number = block_of(self.unit), self._number
        failures = self.state.tries_of(self.unit).failures + 1
        if failure.transient and failures < step.retry.attempts:
            delay = step.retry.delay_after(failures).total_seconds()
            return StepRetried(step.name, number, failure.kind, failure.message, delay, block)
        return StepFailed(
            step=step.name,
            attempt=number,
            started_at=started_at,
            duration_seconds=self._seconds(),
            kind=failure.kind,
            message=failure.message,
            resumable=failure.resumable,
            traceback=failure.traceback,
            block=block,
        )

    def _seconds(self) -> float:
        return (self.clock() - self._begun.started_at).total_seconds()
