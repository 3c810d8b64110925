"""The engine on a real worker: chains hop, groups join, and an execution takes one message for each unit."""

from datetime import timedelta

from tests.e2e.journal import nothing_is_queued
from tests.e2e.nodes import TAKEN, ProcessContainer
from tests.e2e.trip import TOO_FAR, Trip, registry, ride, trip
from tests.waiting import wait_until
from workflows.engine.client import ExecutionClient
from workflows.engine.definition import Workflow


def travel(workflow: Workflow, length: int, worker: ProcessContainer, tasks: int) -> tuple[str, list[str], list[str]]:
    """How the execution ended, the steps in the order in which they ended, and the messages that were taken."""
    client = ExecutionClient(registry)
    execution_id = client.start(workflow, Trip(length), actor="test").execution_id
    ended = client.wait(execution_id, timedelta(seconds=20)).status
    wait_until(nothing_is_queued, 10, "every message to be taken")
    wait_until(lambda: len(TAKEN.findall(worker.logs())) >= tasks, 10, "the worker to log every task")
    steps = [event.step for event in client.events(execution_id) if event.step]
    return ended, steps, TAKEN.findall(worker.logs())


def test_an_execution_takes_one_message_for_each_unit(trip_worker: ProcessContainer) -> None:
    ended, steps, tasks = travel(trip, 3, trip_worker, len(trip.units))
    assert ended == "completed"
    assert steps[:3] == ["pack", "pay", "leave"]
    assert sorted(steps[3:6]) == ["by_boat", "notify_hotel", "sail"]
    assert steps.index("by_boat") < steps.index("sail")
    assert steps[6:] == ["arrive", "stay"]
    assert sorted(tasks) == sorted(unit.name for unit in trip.units)


def test_what_a_refused_step_carried_is_never_sent(trip_worker: ProcessContainer) -> None:
    passed = ["board", "pay_fare"]
    assert travel(ride, TOO_FAR, trip_worker, len(passed)) == ("failed", passed, passed)
