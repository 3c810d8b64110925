"""Moves an execution on while its row is held: adds facts, decides what follows, and has it published after commit."""

import logging
from datetime import timedelta

from sqlalchemy.orm import Session

from workflows.engine import approval_rows, dispatch, spans, store
from workflows.engine.binding import Binding
from workflows.engine.canvas import canvas
from workflows.engine.clock import Clock
from workflows.engine.definition import Workflow
from workflows.engine.events import (
    ApprovalCancelled,
    Event,
    ExecutionCancelled,
    ExecutionFailed,
    Fact,
    StepRetried,
    TimerCancelled,
    TimerSet,
)
from workflows.engine.failures import classify
from workflows.engine.nodes import Step, Unit
from workflows.engine.planner import Conclusion, conclusion, next_moves
from workflows.engine.policy import LONGEST_COUNTDOWN
from workflows.engine.state import apply
from workflows.engine.status import standing_of
from zea.context import Failure
from zea.db import after_commit, connection
from zea.errors import Cancelled

log = logging.getLogger(__name__)

# How long what was dispatched may take to begin before a sweep looks after it.
PATIENCE = timedelta(seconds=5)


class Progress:
    """The steps from a held row to the next one. Nothing is written before ``record``."""

    def __init__(self, db: Session, workflow: Workflow, execution: store.Stored, clock: Clock, actor: str) -> None:
        self._db = db
        self.workflow = workflow
        self.clock = clock
        self._actor = actor
        self.execution = execution
        self.before = execution.current
        self.state = self.before
        self._events: list[Event] = []

    def add(self, fact: Fact) -> None:
        event = Event(self.state.position + 1, self.clock(), self._actor, fact)
        self.state = apply(self.state, event)
        self._events.append(event)

    def conclude(self) -> None:
        """Add what the execution comes to, if nothing is left to run."""
        if ending := conclusion(self.workflow, self.state):
            self.end(ending)

    def end(self, ending: Conclusion) -> None:
        """Add ``ending``; nothing is waited for any more."""
        for timer in sorted(self.state.timers):
            self.add(TimerCancelled(timer))
        for approval in sorted(self.state.approvals):
            self.add(ApprovalCancelled(approval))
        self.add(ending)
        if hook := self.workflow.failure_hook:
            self._tell(hook, ending)

    def _tell(self, hook: Step, ending: Conclusion) -> None:
        """Have a failure told. It is recorded whether or not that succeeds, unless trying again may help."""
        failure = _failure_in(ending)
        if failure is None:
            return
        binding = Binding(self._db, self.workflow, self.execution, self.state)
        try:
            # On the connection: a session takes a savepoint only once it is asked for something itself.
            with connection(self._db).begin_nested():
                binding.call(hook, 1, self.clock(), failure=failure)
        except Exception as error:
            problem = classify(error, lambda: binding.known_private)
            if problem.transient:
                raise
            log.error("%s of %s failed: %s: %s", hook.name, self.execution.id, problem.kind, problem.message)

    def back_off(self, unit: Unit, retried: StepRetried) -> timedelta | None:
        """How long the unit's next message is held back; None if a timer was set instead, because that is long."""
        delay = timedelta(seconds=retried.delay_seconds)
        if delay <= LONGEST_COUNTDOWN:
            return delay
        self.add(TimerSet(unit.name, self.clock() + delay))
        return None

    @property
    def moves(self) -> tuple[Unit, ...]:
        """What may run now."""
        return next_moves(self.workflow, self.state)

    @property
    def new_moves(self) -> tuple[Unit, ...]:
        """What may run now and could not before."""
        earlier = {unit.name for unit in next_moves(self.workflow, self.before)}
        return tuple(unit for unit in self.moves if unit.name not in earlier)

    def queue_of(self, unit: Unit) -> str:
        """The queue that the unit's message goes to."""
        return dispatch.queue_of(self.workflow.task_name(unit))

    def record(self, patience: timedelta = PATIENCE, delay: timedelta = timedelta(), dispatches: int = 0) -> None:
        """Write the events and the row; ``due_at`` is ``delay`` and ``patience`` from now while something may run."""
        moves = self.moves
        dispatched = store.Dispatched(queues_of(self.workflow, moves), patience, delay, dispatches) if moves else None
        standing = store.record(self._db, self.workflow, self.execution.id, self.state, self._events, dispatched)
        approval_rows.write(self._db, self.execution.id, self._events)
        if traced := self.execution.trace_context:
            after_commit(self._db, lambda: self._trace(traced))
        if self._is_visible:
            dispatch.announce_after_commit(self._db, standing_of(standing))

    def _trace(self, trace_context: str) -> None:
        spans.tell(trace_context, self.workflow, self.execution.id, self.execution.created_at, self._events)

    @property
    def _is_visible(self) -> bool:
        """Whether anything has changed that somebody who waits can wait for: its status, its output, its error."""
        before, after = self.before, self.state
        return before.status != after.status or any(
            step.output != before.step(name).output for name, step in after.steps.items()
        )

    def publish(self, units: tuple[Unit, ...], delay: timedelta = timedelta(), dispatches: int = 0) -> None:
        """Have ``units`` sent to Celery after commit, and held back for ``delay``."""
        drawn = canvas(self.workflow, units, self.execution.id, self.state.epoch, dispatches)
        dispatch.publish_after_commit(self._db, drawn, delay)


def _failure_in(ending: Conclusion) -> Failure | None:
    match ending:
        case ExecutionFailed():
            return Failure(ending.kind, ending.message)
        case ExecutionCancelled():
            return Failure(Cancelled.kind, ending.reason)
    return None


def queues_of(workflow: Workflow, units: tuple[Unit, ...]) -> list[str]:
    """The queues that messages for these units go to."""
    return sorted({dispatch.queue_of(workflow.task_name(unit)) for unit in units})
