"""Runs one delivery: a unit's effects, its events and what follows from them, in one transaction."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from uuid import UUID

import psycopg
from sqlalchemy.orm import Session

from workflows.engine import store
from workflows.engine.attempt import Attempt, TransactionGone, block_of
from workflows.engine.clock import Clock
from workflows.engine.definition import Workflow
from workflows.engine.events import StepFailed, StepRetried, StepStarted
from workflows.engine.nodes import Unit
from workflows.engine.planner import next_moves
from workflows.engine.policy import MAXIMUM_VANISHED
from workflows.engine.progress import Progress
from workflows.engine.registry import Registry
from workflows.engine.state import State
from zea import logs
from zea.db import driver_connection, transaction
from zea.errors import StaleMessage

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message: a unit of an execution at an epoch, and the tasks that Celery's chain publishes after it.

    ``repeated`` says that an earlier message for the same attempt may have been lost together with its worker.
    """

    workflow_name: str
    unit_name: str
    execution_id: UUID
    epoch: int
    carried: frozenset[str] = frozenset()
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a delivery came to; ``chain_continues`` says whether Celery's own hop is right to go on."""

    text: str
    chain_continues: bool
    error_kind: str | None = None


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs deliveries; ``worker`` is the actor of what it records."""

    registry: Registry
    worker: str

    def run(self, delivery: Delivery) -> Outcome:
        """Do the delivery's work, once.

        Raises:
            StaleMessage: the unit is done, running elsewhere, or no longer wanted; nothing was changed.
        """
        with logs.about(execution_id=delivery.execution_id, step=delivery.unit_name):
            begun_at = perf_counter()
            try:
                outcome = self._run_once(delivery)
            except StaleMessage as stale:
                log.info("left alone: %s", stale.message)
                raise
            level = logging.INFO if outcome.error_kind is None else logging.WARNING
            said = outcome.text if outcome.error_kind is None else f"{outcome.text}: {outcome.error_kind}"
            log.log(level, "%s, %.1f ms", said, 1000 * (perf_counter() - begun_at))
            return outcome

    def _run_once(self, delivery: Delivery) -> Outcome:
        says_so = delivery.repeated or self.registry.is_long(delivery.workflow_name, delivery.unit_name)
        try:
            with transaction() as db:
                return self._run(db, delivery, Attempt.make, says_so=says_so)
        except TransactionGone as error:
            gone = error
        # Recorded by a new claim, which first reads what is true by now.
        with transaction() as db:
            return self._run(db, delivery, lambda attempt: attempt.fail(gone.step_name, gone.error), says_so=False)

    def _run(self, db: Session, delivery: Delivery, work: Callable[[Attempt], None], *, says_so: bool) -> Outcome:
        # A unit that runs alone keeps the row with its claim. A branch takes the row only to close, so that branches
        # run side by side; so does one that says that it has started, which is committed beside this transaction.
        with_row = not says_so and self.registry.runs_alone(delivery.workflow_name, delivery.unit_name)
        limit = self.registry.limit(delivery.workflow_name, delivery.unit_name)
        claim = store.claim(db, delivery.execution_id, delivery.unit_name, limit, with_row=with_row)
        if claim is None:
            raise StaleMessage(f"{delivery.unit_name} of {delivery.execution_id} is running elsewhere.")
        clock = Clock(claim.now)
        workflow, unit, execution = self._wanted(delivery, claim.execution)
        state = self._say_started(delivery) if says_so else execution.current
        if state is None:
            return Outcome(f"{StepFailed.type} {unit.name}", chain_continues=False, error_kind="worker_lost")
        if not with_row and self.registry.asks(delivery.workflow_name, delivery.unit_name):
            # Who saves an answer before it is asked for, and who asks, meet in the row: one of them sees the other.
            workflow, unit, execution = self._wanted(delivery, store.lock(db, delivery.execution_id))
        attempt = Attempt(db, workflow, execution, state, unit, clock)
        work(attempt)
        try:
            if not with_row:
                # Only whoever holds the row sees how the other branches ended, so only they can decide the join.
                workflow, unit, execution = self._wanted(delivery, store.lock(db, delivery.execution_id))
            progress = Progress(db, workflow, execution, clock, self.worker)
            return _close(db, progress, workflow, unit, attempt, delivery)
        except psycopg.Error as error:
            # A step that sent nothing for longer than it may learns only here that its transaction has ended.
            if not driver_connection(db).closed:
                raise
            raise TransactionGone(unit.steps[-1].name, error) from error

    def _wanted(self, delivery: Delivery, execution: store.Stored | None) -> tuple[Workflow, Unit, store.Stored]:
        """A message is acted on exactly when its epoch is current and its unit is among the next moves."""
        if execution is None:
            raise StaleMessage(f"There is no execution {delivery.execution_id}.")
        workflow = self.registry.get(execution.workflow, execution.version)
        unit = workflow and workflow.unit(delivery.unit_name)
        if workflow is None or unit is None:
            raise StaleMessage(f"{execution.workflow} version {execution.version} is not known here.")
        if execution.epoch != delivery.epoch or unit not in next_moves(workflow, execution.current):
            raise StaleMessage(f"{delivery.unit_name} of {delivery.execution_id} is no longer wanted.")
        return workflow, unit, execution

    def _say_started(self, delivery: Delivery) -> State | None:
        """Commit that an attempt begins, while the claim is held; None if so many vanished that the unit has failed."""
        with transaction() as db:
            workflow, unit, execution = self._wanted(delivery, store.lock(db, delivery.execution_id))
            clock = Clock(store.now(db))
            progress = Progress(db, workflow, execution, clock, self.worker)
            tries = progress.state.tries_of(unit)
            begun = tries.begun()
            step, block = unit.steps[0].name, block_of(unit)
            if begun.vanished < MAXIMUM_VANISHED:
                progress.add(StepStarted(step, begun.attempt, block))
                progress.record()
                return progress.state
            vanished = f"{begun.vanished} workers began it and were not heard of again"
            message = f"{vanished}: find what kills them, then resume."
            progress.add(StepFailed(step, tries.attempt, clock(), 0.0, "worker_lost", message, True, block=block))
            progress.conclude()
            progress.record()
            progress.publish(progress.new_moves)
            return None


def _close(
    db: Session, progress: Progress, workflow: Workflow, unit: Unit, attempt: Attempt, delivery: Delivery
) -> Outcome:
    """Record what the attempt came to, and have what follows published unless Celery's chain does it anyway."""
    for fact in attempt.facts:
        progress.add(fact)
    last = attempt.facts[-1]
    if isinstance(last, StepRetried):
        return _try_again(progress, unit, last)
    progress.conclude()
    progress.record()
    store.keep_private(db, delivery.execution_id, attempt.private)
    following = progress.new_moves
    chain_continues = delivery.carried == {workflow.task_name(each) for each in following}
    if not chain_continues:
        progress.publish(following)
    return Outcome(f"{last.type} {unit.name}", chain_continues, last.kind if isinstance(last, StepFailed) else None)


def _try_again(progress: Progress, unit: Unit, retried: StepRetried) -> Outcome:
    delay = progress.back_off(unit, retried)
    progress.conclude()
    if delay is None:
        progress.record()
        # The timer may have been all that the execution still waited for before it is undone.
        progress.publish(progress.new_moves)
    else:
        progress.record(delay=delay)
        progress.publish((unit,), delay)
    return Outcome(f"{retried.type} {unit.name}", chain_continues=False, error_kind=retried.kind)
