"""Begins an execution: its row, its first event and the dispatch of its first units, in the caller's transaction."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from workflows.engine import dispatch, spans, store
from workflows.engine.canvas import canvas
from workflows.engine.definition import Workflow
from workflows.engine.events import Event, ExecutionStarted
from workflows.engine.planner import next_moves
from workflows.engine.progress import PATIENCE, queues_of
from workflows.engine.state import State
from workflows.engine.values import encode
from zea import clock, logs, tracing
from zea.db import after_commit, new_id
from zea.errors import InvalidInput

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Started:
    """The execution that a start came to; ``joined`` if its start key had begun it before."""

    execution_id: UUID
    joined: bool = False


def start(
    db: Session,
    workflow: Workflow,
    inputs: object,
    *,
    actor: str,
    start_key: str | None = None,
    execution_id: UUID | None = None,
    timeouts: Mapping[str, timedelta] | None = None,
) -> Started:
    """Begin an execution of ``workflow`` once ``db``'s transaction commits.

    ``inputs`` is an instance of the workflow's input. Two starts with one ``start_key`` are one execution. ``timeouts``
    are how long this execution's approvals and sleeps take, by name, instead of what the workflow says.

    Raises:
        InvalidInput: ``inputs`` is something else, or one of its values is of another type; or a timeout is not
            positive, or for nothing that waits.
    """
    if not isinstance(inputs, workflow.input):
        raise InvalidInput(f"{workflow} starts with a {workflow.input.__name__}, not a {type(inputs).__name__}.")
    execution_id = execution_id or new_id()
    public, private = encode(workflow.input_fields, inputs)
    # The database sets the moment; the one given here is only a place for it.
    fact = ExecutionStarted(workflow.name, workflow.version, public, timeouts=_seconds(workflow, timeouts or {}))
    started = Event(1, clock.now(), actor, fact)
    moves = next_moves(workflow, State(inputs=public))
    dispatched = store.Dispatched(queues_of(workflow, moves), PATIENCE)
    span = spans.begun(workflow, execution_id)
    traced = tracing.to_text(span)
    if store.insert(db, workflow, execution_id, started, private, start_key, dispatched, traced):
        dispatch.publish_after_commit(db, canvas(workflow, moves, execution_id, epoch=1))
        after_commit(db, lambda: _say_started(workflow, execution_id))
        after_commit(db, span.end)
        return Started(execution_id)
    assert start_key is not None, "an execution without a start key cannot collide"
    return Started(store.started_under(db, workflow.name, start_key), joined=True)


def _say_started(workflow: Workflow, execution_id: UUID) -> None:
    """The line that says which request began what: those of its steps have the execution's id only."""
    with logs.about(execution_id=execution_id):
        log.info("started %s", workflow)


def _seconds(workflow: Workflow, timeouts: Mapping[str, timedelta]) -> dict[str, float] | None:
    waits = sorted(step.name for step in workflow.steps if step.wait)
    for name, timeout in timeouts.items():
        if name not in waits:
            raise InvalidInput(
                f"{workflow} has no wait called {name}; it has {', '.join(waits) or 'none'}.", "timeouts"
            )
        if timeout <= timedelta():
            raise InvalidInput(f"The timeout of {name} must be longer than nothing.", "timeouts")
    return {name: timeout.total_seconds() for name, timeout in timeouts.items()} or None
