"""What beat calls: looks after executions that should have moved by now. Bounded; harmless if repeated."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from time import monotonic
from uuid import UUID

import psycopg
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from workflows.engine import approvals, backlog, counts, dispatch, store
from workflows.engine.clock import Clock
from workflows.engine.events import ExecutionRedriven, StepCompleted, TimerFired
from workflows.engine.nodes import Sleep, Step, Unit
from workflows.engine.progress import PATIENCE, Progress
from workflows.engine.registry import Registry
from zea import logs
from zea.db import transaction

log = logging.getLogger(__name__)

BATCH = 200
# How long one pass begins new batches while there is more to do.
PASS_SECONDS = 4.0
ACTOR = "sweep"
LONGEST_PATIENCE = timedelta(minutes=5)
# A publish is bounded to a second after its commit; what a probe overtakes by more than this is lost.
PUBLISHING = timedelta(seconds=2)

Find = Callable[[Session], list[UUID]]
Take = Callable[[Session, UUID], store.Stored | None]
Move = Callable[[Progress, Session], bool]


def redrive(registry: Registry) -> int:
    """Dispatch again what was lost; answers how many executions that were.

    Lost is what is due, not running, and was overtaken by a probe in its queue.
    """
    return _pass(
        registry,
        lambda db: backlog.due(db, registry.versions(), PUBLISHING, BATCH),
        backlog.lock_if_due,
        _redrive,
    )


def fire(registry: Registry) -> int:
    """Let timers fire, remind of approvals and end those whose time is over; answers how many executions that moved."""
    return _pass(registry, lambda db: backlog.awake(db, registry.versions(), BATCH), backlog.lock_if_awake, _fire)


def probe(registry: Registry, interval: timedelta) -> int:
    """Send a message through each queue that tells, when it is taken, how far the queue is worked off.

    A queue is probed at most once in ``interval``, however many sweeps there are. Answers how many were sent.
    """
    sent = 0
    for queue in registry.queues():
        with transaction() as db:
            if probed_at := backlog.probe(db, queue, interval):
                dispatch.probe_after_commit(db, queue, probed_at)
                sent += 1
    return sent


def probe_passed(queue: str, probed_at: datetime) -> None:
    """A probe has come out of its queue: whatever was sent before it has, too."""
    with transaction() as db:
        backlog.probe_passed(db, queue, probed_at)


def count() -> None:
    """Count what has happened since the last time, once, however many sweeps there are."""
    begun_at = monotonic()
    while True:
        with transaction() as db:
            counted = counts.advance(db)
        if counted is None or not counted.there_is_more or monotonic() - begun_at > PASS_SECONDS:
            return


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Count a pass, and how long it takes."""
    begun_at = monotonic()
    yield
    with transaction() as db:
        counts.sweep_took(db, name, monotonic() - begun_at)


def _pass(registry: Registry, find: Find, take: Take, move: Move) -> int:
    """Batch after batch, while there is more and time is left; each execution in a transaction of its own."""
    moved, begun_at = 0, monotonic()
    while True:
        with transaction() as db:
            found = find(db)
        moved += sum(_move_or_postpone(registry, execution_id, take, move) for execution_id in found)
        if len(found) < BATCH or monotonic() - begun_at > PASS_SECONDS:
            return moved


def _move_or_postpone(registry: Registry, execution_id: UUID, take: Take, move: Move) -> bool:
    """One bad row is put off alone; the others of the batch have their turn."""
    with logs.about(execution_id=execution_id):
        try:
            return _move(registry, execution_id, take, move)
        except (psycopg.OperationalError, OperationalError) as error:
            # Not the row's fault: it stays due, and the next pass finds it.
            log.warning("could not be driven on now: %s", type(error).__name__)
            return False
        except Exception:
            log.exception("could not be driven on; looking at it again in %s", LONGEST_PATIENCE)
        with transaction() as db:
            backlog.postpone(db, execution_id, LONGEST_PATIENCE)
        return False


def _move(registry: Registry, execution_id: UUID, take: Take, move: Move) -> bool:
    with transaction() as db:
        execution = take(db, execution_id)
        if execution is None:
            return False
        workflow = registry.get(execution.workflow, execution.version)
        assert workflow is not None, "only executions of registered versions are found"
        return move(Progress(db, workflow, execution, Clock(store.now(db)), ACTOR), db)


def _redrive(progress: Progress, db: Session) -> bool:
    execution = progress.execution
    lost = _lost(progress, db)
    if progress.moves and not lost:
        backlog.postpone(db, execution.id, PATIENCE)
        return False
    dispatches = execution.dispatches + 1
    progress.add(ExecutionRedriven([unit.name for unit in lost]))
    # It is due, so something may run; where nothing may, what it comes to was not seen, and is decided now.
    progress.conclude()
    progress.record(patience_after(dispatches), dispatches=dispatches)
    progress.publish(lost or progress.moves, dispatches=dispatches)
    return True


def _lost(progress: Progress, db: Session) -> tuple[Unit, ...]:
    """What may run, is not running, and does not wait in line either."""
    held = store.held_keys(db)
    overtaken = backlog.overtaken_queues(db, progress.execution.id, PUBLISHING)
    idle = (unit for unit in progress.moves if store.claim_key(progress.execution.id, unit.name) not in held)
    return tuple(unit for unit in idle if not overtaken or progress.queue_of(unit) in overtaken)


def _fire(progress: Progress, db: Session) -> bool:
    now = store.now(db)
    for timer, fires_at in sorted(progress.state.timers.items()):
        if fires_at <= now:
            _wake(progress, timer)
    for name, pending in sorted(progress.state.approvals.items()):
        step = progress.workflow.step(name)
        if pending.expires_at <= now:
            approvals.decide(progress, db, step, approvals.EXPIRED)
        elif pending.remind_at and pending.remind_at <= now:
            approvals.remind(progress, db, step)
    progress.conclude()
    progress.record()
    progress.publish(progress.new_moves)
    return True


def _wake(progress: Progress, timer: str) -> None:
    """What waited for the clock may run; what slept is done with that."""
    progress.add(TimerFired(timer))
    unit, slept = progress.workflow.unit(timer), progress.state.step(timer)
    if isinstance(unit, Step) and isinstance(unit.wait, Sleep) and slept.started_at:
        took = (progress.clock() - slept.started_at).total_seconds()
        progress.add(StepCompleted(timer, slept.attempt, slept.started_at, took, {}))


def patience_after(dispatches: int) -> timedelta:
    """5, 10, 20 … 300 seconds: what is lost again and again is not sent in every pass of the sweep."""
    return min(PATIENCE * float(2 ** min(dispatches, 10)), LONGEST_PATIENCE)
