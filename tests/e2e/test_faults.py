"""Whatever is killed, flushed or frozen, at every step: each execution ends once, and each effect is there once.

A step stands still where a test holds its gate, so that "inside" is an exact place; with the broker frozen, a worker
stands between a commit and the publish of what follows.
"""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.e2e.conftest import CELERY_IS_READY
from tests.e2e.faults import Machine, gates_held
from tests.e2e.journal import (
    AT_REST_WITHIN,
    STEPS,
    UNDOS,
    assert_travelled_once,
    at_rest,
    column,
    effects,
    how_often,
    nothing_is_queued,
    redeliver_what_is_unacknowledged,
    story,
    waiting_at_gates,
)
from tests.e2e.nodes import LEFT_ALONE, TAKEN, ProcessContainer, StartNode, with_test_workflows
from tests.e2e.trip import TOO_FAR, WAYS, Delay, Errand, Trip, delayed, errand, meal, registry, short_nap, trip
from tests.waiting import wait_until
from workflows.engine import store
from workflows.engine.client import ExecutionClient
from workflows.engine.planner import next_moves
from workflows.engine.policy import MAXIMUM_VANISHED
from workflows.engine.runner import Delivery, Runner
from zea.db import new_id, transaction
from zea.stack import processes

client = ExecutionClient(registry)
POINTS = [*STEPS, *UNDOS]
Fault = Callable[[Machine], None]
Trips = dict[str, UUID]
FAULTS = pytest.mark.parametrize(
    "fault", [Machine.kill_worker, Machine.kill_children, Machine.flush_broker], ids=lambda fault: fault.__name__
)


@pytest.fixture
def concurrency() -> int:
    """A process for each point at which a step can be held, and one to spare."""
    return len(POINTS) + 1


@pytest.fixture
def trips() -> Trips:
    """The id of an execution for each point at which something can go wrong."""
    return {point: new_id() for point in POINTS}


def set_off(point: str, execution_id: UUID) -> None:
    length = TOO_FAR if point in UNDOS else 1
    client.start(trip, Trip(length), actor="test", execution_id=execution_id)


def bring_before(point: str, execution_id: UUID) -> None:
    """Run in this process all that can run before the unit that ``point`` belongs to."""
    target = next(unit for unit in trip.tasks.values() if point in [step.name for step in unit.steps])
    runner = Runner(registry, "worker:test")
    while True:
        with transaction() as db:
            row = store.read(db, execution_id)
        assert row is not None
        before = [unit for unit in next_moves(trip, row.current) if unit is not target]
        if not before:
            return
        runner.run(Delivery(trip.name, before[0].name, execution_id, row.epoch))


def assert_all_travelled_once(trips: Trips) -> None:
    wait_until(at_rest(len(trips)), AT_REST_WITHIN, "every execution to end")
    redeliver_what_is_unacknowledged()
    wait_until(nothing_is_queued, 10, "the last duplicates to be taken")
    for execution_id in trips.values():
        assert_travelled_once(execution_id)


def set_off_to_gates(trips: Trips) -> None:
    for point, execution_id in trips.items():
        set_off(point, execution_id)
    wait_until(lambda: waiting_at_gates() == len(trips), AT_REST_WITHIN, "each execution to come to its gate")


def committed(trips: Trips) -> bool:
    """Whether the step that was held is committed in every execution."""
    query = """
        SELECT count(*) FROM unnest(:executions ::uuid[], :points ::text[]) AS held (execution_id, step)
        JOIN effects USING (execution_id, step)"""
    return column(query, executions=list(trips.values()), points=list(trips)) == [len(trips)]


@FAULTS
@pytest.mark.usefixtures("trip_sweeper")
class TestFaultAtEveryStep:
    def test_before_it_has_begun(self, machine: Machine, fault: Fault, trips: Trips) -> None:
        """Its message, and those of the steps before it, lie in the queue."""
        with machine.frozen_worker():
            for point, execution_id in trips.items():
                set_off(point, execution_id)
                bring_before(point, execution_id)
            fault(machine)
        assert_all_travelled_once(trips)

    def test_inside_it(self, machine: Machine, fault: Fault, trips: Trips, database: str) -> None:
        with gates_held(database, trips):
            set_off_to_gates(trips)
            fault(machine)
        assert_all_travelled_once(trips)

    def test_between_its_commit_and_what_follows(
        self, machine: Machine, fault: Fault, trips: Trips, database: str
    ) -> None:
        """The broker is frozen while the steps commit, so the fault comes before what follows is published."""
        with gates_held(database, trips) as release:
            set_off_to_gates(trips)
            with machine.frozen_broker():
                release()
                wait_until(lambda: committed(trips), 5, "the held steps to commit")
                fault(machine)
        assert_all_travelled_once(trips)


class TestWithFewProcesses:
    @pytest.fixture
    def concurrency(self) -> int:
        return 2

    @pytest.mark.usefixtures("trip_sweeper")
    def test_the_claim_of_a_killed_worker_is_free_before_its_statement_would_have_ended(
        self, machine: Machine, database: str
    ) -> None:
        """The database does not go on waiting for a lock on behalf of a worker that is dead."""
        trips = {"arrive": new_id()}
        with gates_held(database, trips):
            set_off_to_gates(trips)
            wait_until(lambda: is_claimed(trips["arrive"], "arrive"), 10, "the step to be claimed")
            machine.kill_worker()
            wait_until(lambda: not is_claimed(trips["arrive"], "arrive"), 10, "the dead worker's claim to be free")
        assert_all_travelled_once(trips)

    @pytest.mark.usefixtures("trip_sweeper")
    def test_a_frozen_worker_loses_its_step_and_wakes_up_to_nothing(
        self, trip_worker: ProcessContainer, start_node: StartNode, environment: dict[str, str], database: str
    ) -> None:
        execution_id = new_id()
        with gates_held(database, {"nap": execution_id}):
            client.start(short_nap, Errand(), actor="test", execution_id=execution_id)
            wait_until(waiting_at_gates, 10, "the step to be held")
            trip_worker.signal("SIGSTOP")
        second = start_node(
            with_test_workflows(processes.worker(environment), concurrency=2, name="second"), CELERY_IS_READY
        )
        second.ready()
        wait_until(at_rest(1), AT_REST_WITHIN, "the other worker to do it")
        told = story(execution_id)
        trip_worker.signal("SIGCONT")
        wait_until(lambda: TAKEN.search(trip_worker.logs()), 10, "the worker to say what came of its step")
        assert f"{LEFT_ALONE}nap of {execution_id}" in trip_worker.logs(), trip_worker.logs()
        assert effects(execution_id) == {"nap": 1, "run": 1}
        assert story(execution_id) == told
        assert told == [
            "execution.started",
            "execution.redriven",
            "step.started nap",
            "step.completed nap",
            "step.completed run",
            "execution.completed",
        ]

    @pytest.mark.usefixtures("trip_worker", "trip_sweeper")
    def test_a_step_that_kills_its_process_is_given_up_and_can_be_resumed(self) -> None:
        """Meanwhile others are served; what killed it is gone when it is resumed."""
        execution_id = new_id()
        with transaction() as db:
            db.execute(text("INSERT INTO poison VALUES (:id)"), {"id": execution_id})
        client.start(meal, Errand(), actor="test", execution_id=execution_id)

        def ended_while_another_was_served() -> bool:
            other = client.start(errand, Errand(), actor="test").execution_id
            assert client.wait(other, timedelta(seconds=15)).status == "completed"
            return client.get_execution_status(execution_id).status == "failed"

        wait_until(ended_while_another_was_served, 90, "the step to be given up")
        ended = client.get_execution_status(execution_id)
        assert ended.error is not None
        assert (ended.status, ended.error.kind, ended.resumable) == ("failed", "worker_lost", True)
        assert len(story(execution_id, "step.started")) == MAXIMUM_VANISHED
        assert len(story(execution_id, "execution.redriven")) == MAXIMUM_VANISHED + 1
        assert not effects(execution_id)
        assert how_often("step.started") == MAXIMUM_VANISHED
        with transaction() as db:
            db.execute(text("DELETE FROM poison"))
        client.resume(execution_id, actor="test")
        assert client.wait(execution_id, timedelta(seconds=AT_REST_WITHIN)).status == "completed"
        assert effects(execution_id) == {"eat": 1, "run": 1}

    @pytest.mark.usefixtures("trip_worker", "trip_sweeper")
    def test_the_database_ends_a_step_that_takes_too_long(self) -> None:
        ids = {way: client.start(delayed, Delay(way), actor="test").execution_id for way in WAYS}
        wait_until(at_rest(len(ids)), AT_REST_WITHIN, "every step to be given up")
        for execution_id in ids.values():
            ended = client.get_execution_status(execution_id)
            assert ended.error is not None
            assert (ended.status, ended.resumable) == ("failed", True)
            assert ended.error.kind in ("timeout", "connection_lost")
            assert story(execution_id) == [
                "execution.started",
                "step.retried dawdle",
                "step.failed dawdle",
                "execution.failed",
            ]
            assert not effects(execution_id)


def is_claimed(execution_id: UUID, unit_name: str) -> bool:
    with transaction() as db:
        return store.claim_key(execution_id, unit_name) in store.held_keys(db)
