"""A worker that is told to stop: what it cannot finish in time is rolled back, and goes back into its queue."""

import os
import signal

from tests.e2e.faults import gates_held
from tests.e2e.journal import AT_REST_WITHIN, at_rest, effects, story, waiting_at_gates
from tests.e2e.nodes import ProcessContainer
from tests.e2e.trip import Errand, errand, registry
from tests.waiting import wait_until
from workflows.engine.client import ExecutionClient
from zea.db import new_id


def test_a_step_that_a_worker_could_not_finish_is_run_by_the_next_one(
    trip_worker: ProcessContainer, database: str
) -> None:
    """There is no sweep here: the message itself comes back."""
    execution_id = new_id()
    with gates_held(database, {"run": execution_id}):
        client = ExecutionClient(registry)
        client.start(errand, Errand(), actor="test", execution_id=execution_id)
        wait_until(waiting_at_gates, 10, "the step to be held")
        os.kill(trip_worker.process.pid, signal.SIGTERM)
        trip_worker.process.wait(20)
    assert not effects(execution_id)
    trip_worker.restart()
    wait_until(at_rest(1), AT_REST_WITHIN, "the next worker to do it")
    assert effects(execution_id) == {"run": 1}
    assert story(execution_id, "execution.completed", "execution.redriven") == ["execution.completed"]
