"""Runs one delivery: a unit's effects, its events and what follows from them, in one transaction."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from workflows.engine import store
from workflows.engine.attempt import Attempt, Clock, TransactionGone
from workflows.engine.definition import Unit, Workflow
from workflows.engine.events import StepRetried
from workflows.engine.planner import next_moves
from workflows.engine.progress import Progress
from workflows.engine.registry import Registry
from zea.db import transaction
from zea.errors import StaleMessage

# How long a step may take before the database ends its transaction and frees its claim.
STEP_TIMEOUT = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message: a unit of an execution at an epoch, and the tasks that Celery's chain publishes after it."""

    workflow_name: str
    unit_name: str
    execution_id: UUID
    epoch: int
    carried: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a delivery came to; ``chain_continues`` says whether Celery's own hop is right to go on."""

    text: str
    chain_continues: bool


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
        try:
            with transaction() as db:
                return self._run(db, delivery, Attempt.make)
        except TransactionGone as error:
            gone = error
        # Recorded by a new claim, which first reads what is true by now.
        with transaction() as db:
            return self._run(db, delivery, lambda attempt, _: attempt.fail(gone.step_name, gone.error))

    def _run(self, db: Session, delivery: Delivery, work: Callable[[Attempt, Unit], None]) -> Outcome:
        # A unit that runs alone keeps the row with its claim. A branch takes the row only to close, so that branches
        # run side by side.
        alone = self.registry.runs_alone(delivery.workflow_name, delivery.unit_name)
        claim = store.claim(db, delivery.execution_id, delivery.unit_name, STEP_TIMEOUT, with_row=alone)
        if claim is None:
            raise StaleMessage(f"{delivery.unit_name} of {delivery.execution_id} is running elsewhere.")
        clock = Clock(claim.now)
        workflow, unit, execution = self._wanted(delivery, claim.execution)
        attempt = Attempt(db, workflow, execution, execution.current, clock)
        work(attempt, unit)
        if not alone:
            # Only whoever holds the row sees how the other branches ended, so only they can decide the join.
            workflow, unit, execution = self._wanted(delivery, store.lock(db, delivery.execution_id))
        progress = Progress(db, workflow, execution, clock, self.worker)
        return _close(db, progress, workflow, unit, attempt, delivery)

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


def _close(
    db: Session, progress: Progress, workflow: Workflow, unit: Unit, attempt: Attempt, delivery: Delivery
) -> Outcome:
    """Record what the attempt came to, and have what follows published unless Celery's chain does it anyway."""
    for fact in attempt.facts:
        progress.add(fact)
    progress.conclude()
    progress.record()
    store.keep_private(db, delivery.execution_id, attempt.private)
    last = attempt.facts[-1]
    following = progress.new_moves
    chain_continues = delivery.carried == {workflow.task_name(each) for each in following}
    if isinstance(last, StepRetried):
        progress.publish((unit,), last.delay_seconds)
    elif not chain_continues:
        progress.publish(following)
    return Outcome(f"{last.type} {last.step}", chain_continues)
