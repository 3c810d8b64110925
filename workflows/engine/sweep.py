"""What beat calls: looks after executions that should have moved by now. Bounded; harmless if repeated."""

import logging
from datetime import timedelta
from uuid import UUID

from workflows.engine import store
from workflows.engine.attempt import Clock
from workflows.engine.events import ExecutionRedriven
from workflows.engine.progress import PATIENCE, Progress
from workflows.engine.registry import Registry
from zea.db import transaction

log = logging.getLogger(__name__)

BATCH = 200
ACTOR = "sweep"
LONGEST_PATIENCE = timedelta(minutes=5)


def redrive(registry: Registry) -> int:
    """Dispatch again what is due and not running; answers how many executions that were."""
    with transaction() as db:
        due = store.due(db, registry.versions(), BATCH)
    return sum(_redrive_or_postpone(registry, execution_id) for execution_id in due)


def _redrive_or_postpone(registry: Registry, execution_id: UUID) -> bool:
    """One bad row is put off alone; the others of the batch have their turn."""
    try:
        return _redrive(registry, execution_id)
    except Exception:
        log.exception("execution %s could not be driven on; looking at it again in %s", execution_id, LONGEST_PATIENCE)
    with transaction() as db:
        store.postpone(db, execution_id, LONGEST_PATIENCE)
    return False


def _redrive(registry: Registry, execution_id: UUID) -> bool:
    with transaction() as db:
        execution = store.lock_if_due(db, execution_id)
        if execution is None:
            return False
        workflow = registry.get(execution.workflow, execution.version)
        assert workflow is not None, "only registered versions are read as due"
        progress = Progress(db, workflow, execution, Clock(store.now(db)), ACTOR)
        held = store.held_keys(db)
        idle = tuple(unit for unit in progress.moves if store.claim_key(execution_id, unit.name) not in held)
        if not idle:
            store.postpone(db, execution_id, PATIENCE)
            return False
        progress.add(ExecutionRedriven([unit.name for unit in idle]))
        progress.record(patience_after(execution.dispatches + 1), execution.dispatches + 1)
        progress.publish(idle)
        return True


def patience_after(dispatches: int) -> timedelta:
    """5, 10, 20 … 300 seconds: a message that stands in a long line is not repeated for every pass of the sweep."""
    return min(PATIENCE * float(2 ** min(dispatches, 10)), LONGEST_PATIENCE)
