"""Every message many times over and in any order, for as long as the executions live: each step still happens once."""

import json
from itertools import cycle
from uuid import UUID

import pytest
import redis

from tests.e2e.faults import Machine
from tests.e2e.journal import QUEUES, assert_travelled_once, at_rest, nothing_is_queued
from tests.e2e.nodes import LEFT_ALONE, ProcessContainer
from tests.e2e.trip import TOO_FAR, Trip, registry, trip
from tests.waiting import wait_until
from workflows.engine.client import ExecutionClient
from zea import config
from zea.broker import app

EXECUTIONS = 30
EPOCHS = (1, 2)
COPIES = 2


def start_trips() -> list[UUID]:
    """Half of them will be undone."""
    client = ExecutionClient(registry)
    lengths = [TOO_FAR if number % 2 else 1 for number in range(EXECUTIONS)]
    return [client.start(trip, Trip(length), actor="test").execution_id for length in lengths]


def send_every_step(execution_id: UUID) -> None:
    """The last step first, as an older and as a newer message, sent for the first time and sent again."""
    for unit in reversed(trip.tasks.values()):
        for epoch in EPOCHS:
            for again in ((), (1,)):
                app.send_task(trip.task_name(unit), args=(str(execution_id), epoch, *again), ignore_result=True)


class Echo:
    """Turns the queues round, and puts copies of what it has not copied yet into them."""

    def __init__(self) -> None:
        self.copied: set[str] = set()
        self._broker = redis.Redis.from_url(config.redis_url())
        self._length = 0

    def is_spent(self) -> bool:
        """Whether half of what was queued after the last time has been taken."""
        return sum(self._broker.llen(queue) for queue in QUEUES) <= self._length / 2

    def repeat(self) -> None:
        for queue in QUEUES:
            messages = self._broker.lrange(queue, 0, -1)
            new = [message for message in messages if task_id(message) not in self.copied]
            self.copied |= {task_id(message) for message in new}
            if messages:
                with self._broker.pipeline() as rewrite:
                    rewrite.delete(queue).lpush(queue, *messages, *new * COPIES).execute()
        self._length = sum(self._broker.llen(queue) for queue in QUEUES)


def task_id(message: bytes) -> str:
    return str(json.loads(message)["headers"]["id"])


@pytest.mark.usefixtures("trip_sweeper")
def test_what_is_delivered_many_times_in_any_order_happens_once(
    machine: Machine, trip_worker: ProcessContainer
) -> None:
    echo, at_the_end = Echo(), at_rest(EXECUTIONS)
    with machine.frozen_worker():
        executions = start_trips()
        echo.repeat()
    turn = cycle(executions)

    def ended_meanwhile() -> bool:
        if echo.is_spent():
            with machine.frozen_worker():
                send_every_step(next(turn))
                echo.repeat()
        return at_the_end()

    wait_until(ended_meanwhile, 120, "every execution to end")
    wait_until(nothing_is_queued, 60, "the last duplicates to be taken")
    for execution_id in executions:
        assert_travelled_once(execution_id)
    assert "ERROR" not in trip_worker.logs()
    assert trip_worker.logs().count(LEFT_ALONE) > COPIES * EXECUTIONS * len(trip.units)
