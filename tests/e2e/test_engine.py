"""The engine on a real worker: chains hop, groups join, and an execution takes one message for each step."""

import re
import sys
from datetime import timedelta

import pytest

from tests.e2e.conftest import CELERY_IS_READY
from tests.e2e.nodes import ProcessContainer, StartNode
from tests.waiting import wait_until
from workflows.engine.client import ExecutionClient
from zea.stack.child import Program

ENDED = re.compile(r"Task trip\.(\w+)\[\S+\] succeeded")


@pytest.fixture
def worker(start_node: StartNode) -> ProcessContainer:
    command = [sys.executable, "-m", "celery", "-A", "tests.e2e.trip", "worker", "-Q", "workflows,notifications"]
    program = Program("trip", lambda: [*command, "-c", "2", "-n", "trip@%h", "--loglevel", "INFO"])
    node = start_node(program, CELERY_IS_READY)
    node.ready()
    return node


def travel(length: int, worker: ProcessContainer) -> tuple[str, list[str], list[str]]:
    """How the execution ended, the steps in the order in which they ended, and the tasks that the worker has run."""
    from tests.e2e.trip import Trip, registry, trip  # reads Celery's settings, which the fixtures have made

    client = ExecutionClient(registry)
    execution_id = client.start(trip, Trip(length), actor="test").execution_id
    ended = client.wait(execution_id, timedelta(seconds=20)).status
    steps = [event.step for event in client.events(execution_id) if event.step]
    wait_until(lambda: len(ENDED.findall(worker.logs())) >= len(steps), 10, "the worker to log every task")
    return ended, steps, ENDED.findall(worker.logs())


def test_an_execution_takes_one_message_for_each_step(worker: ProcessContainer) -> None:
    ended, steps, tasks = travel(3, worker)
    assert ended == "completed"
    assert steps[:2] == ["pack", "leave"]
    assert sorted(steps[2:5]) == ["by_boat", "by_train", "sail"]
    assert steps.index("by_boat") < steps.index("sail")
    assert steps[5:] == ["arrive", "unpack"]
    assert sorted(tasks) == sorted(steps)


def test_what_a_refused_step_carried_is_never_sent(worker: ProcessContainer) -> None:
    assert travel(13, worker) == ("failed", ["pack", "leave"], ["pack", "leave"])
