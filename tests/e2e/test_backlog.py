"""Ten thousand executions in one queue: the sweep tells waiting in line from lost, and sends nothing for nothing."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.journal import at_rest, column, how_often
from tests.e2e.nodes import TAKEN, ProcessContainer
from tests.e2e.trip import Errand, errand, registry
from tests.waiting import wait_until
from workflows.engine.client import ExecutionClient
from zea.db import transaction

EXECUTIONS = 10_000
# The messages of one are sent after its commit, all within the seconds that a sweep allows for that, on any machine.
PER_TRANSACTION = 100
SEEDERS = 4
# It takes a minute on two free processors.
WORKED_OFF_WITHIN = 240


def start_many(_: int) -> None:
    client = ExecutionClient(registry)
    with transaction() as db:
        for _ in range(PER_TRANSACTION):
            client.start(errand, Errand(), actor="test", db=db)


@pytest.mark.usefixtures("trip_sweeper")
@pytest.mark.timeout(WORKED_OFF_WITHIN + 60)
def test_what_waits_in_line_is_not_sent_again(trip_worker: ProcessContainer) -> None:
    trip_worker.signal("SIGSTOP")
    with ThreadPoolExecutor(SEEDERS) as pool:
        list(pool.map(start_many, range(EXECUTIONS // PER_TRANSACTION)))
    overdue = "SELECT count(*) FROM workflow_executions WHERE due_at < now()"
    wait_until(lambda: column(overdue) == [EXECUTIONS], 10, "all of it to be overdue, and none of it sent again")
    trip_worker.signal("SIGCONT")
    wait_until(at_rest(EXECUTIONS), WORKED_OFF_WITHIN, "the line to be worked off")
    assert column("SELECT DISTINCT status FROM workflow_executions") == ["completed"]
    assert column("SELECT count(*) FROM effects") == [EXECUTIONS]
    assert EXECUTIONS <= len(TAKEN.findall(trip_worker.logs())) <= 1.2 * EXECUTIONS
    assert how_often("execution.redriven") <= 0.01 * EXECUTIONS
    assert how_often("step.started") <= 0.01 * EXECUTIONS
