"""One attempt of a unit: its steps called in order after a savepoint, with arguments bound by name."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from workflows.engine import approvals, store
from workflows.engine.binding import Binding
from workflows.engine.clock import Clock
from workflows.engine.definition import Workflow
from workflows.engine.events import Fact, StepCompensated, StepCompleted, StepFailed, StepRetried, TimerSet
from workflows.engine.failures import TIMEOUT, Failure, classify
from workflows.engine.nodes import Approval, Sleep, Step, Unit, limit_of
from workflows.engine.state import State
from workflows.engine.values import Json
from zea import logs, tracing
from zea.db import undo_to_savepoint


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
    facts: list[Fact] = field(default_factory=list)
    _begun: Begun = field(init=False)

    @cached_property
    def _binding(self) -> Binding:
        return Binding(self.db, self.workflow, self.execution, self.state)

    @property
    def private(self) -> dict[str, Any]:
        return self._binding.private

    def make(self) -> None:
        """Call the unit's steps: all of their effects stay, or none and the fact that says why.

        Raises:
            TransactionGone: there is no transaction left to record the failure in.
        """
        logs.now_about(attempt=self._number)
        try:
            for step in self.unit.steps:
                self._begin(step)
                with logs.about(step=step.name), tracing.within(self.execution.trace_context):
                    self.facts += self._made(step)
        except Exception as error:
            if not undo_to_savepoint(self.db):
                raise TransactionGone(self._begun.step.name, error) from error
            self._fail(error)
        finally:
            store.attempt_is_over(self.db)

    def fail(self, step_name: str, error: Exception) -> None:
        """Note that an attempt made in another transaction, which is gone, came to nothing."""
        self._begin(next(step for step in self.unit.steps if step.name == step_name))
        self._fail(error)

    def _begin(self, step: Step) -> None:
        self._begun = Begun(step, self.clock())

    def _fail(self, error: Exception) -> None:
        self.facts = [self._failed(classify(error, lambda: self._binding.known_private))]
        self.private.clear()

    @property
    def _number(self) -> int:
        return self.state.tries_of(self.unit).attempt

    def _made(self, step: Step) -> list[Fact]:
        """What the step comes to: it is completed, or waits for somebody or for the clock."""
        match step.wait:
            case Approval() as wait:
                return approvals.requested(self._binding, step, wait, self._number, self.clock)
            case Sleep() as wait:
                return [self._asleep(step, wait)]
        result = self._binding.call(step, self._number, self.clock())
        if step.undoes:
            return [StepCompensated(step.undoes, self._number, self._begun.started_at, self._seconds())]
        return [self._completed(step, self._binding.keep(step, result))]

    def _asleep(self, step: Step, wait: Sleep) -> TimerSet | StepCompleted:
        wakes_at = self._end_of(step, wait)
        if wakes_at <= self.clock():
            return self._completed(step, {})
        return TimerSet(step.name, wakes_at, self._number)

    def _end_of(self, step: Step, wait: Sleep) -> datetime:
        if wait.until and step.name not in self.state.timeouts:
            moment: datetime = self._binding.value(step, wait.until)
            return moment
        return self._begun.started_at + approvals.timeout_of(step, wait.duration or timedelta(), self.state)

    def _completed(self, step: Step, output: Json) -> StepCompleted:
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
