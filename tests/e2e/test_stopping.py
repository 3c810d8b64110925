"""What is told to stop does so within half a minute and loses nothing, however much there is to do."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from pytest_celery import CeleryWorkerCluster

from tests.e2e.conftest import API_IS_READY, api_at_a_free_port
from tests.e2e.faults import gates_held
from tests.e2e.journal import AT_REST_WITHIN, at_rest, effects, story, waiting_at_gates
from tests.e2e.nodes import ProcessContainer, StartNode, renamed
from tests.e2e.stream import STARTS_MANY, Stream
from tests.e2e.trip import Errand, errand, registry
from tests.waiting import wait_until
from workflows.engine.client import ExecutionClient
from zea.db import new_id


def test_a_step_that_a_worker_could_not_finish_is_run_by_the_next_one(
    trip_worker: ProcessContainer, database: str
) -> None:
    """What it could not finish in time is rolled back. There is no sweep here: the message itself comes back."""
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


@pytest.fixture
def apis(start_node: StartNode, environment: dict[str, str]) -> dict[str, ProcessContainer]:
    """Two APIs by their addresses."""
    programs = {
        door: renamed(program, f"api-{door[-5:]}") for program, door in map(api_at_a_free_port, [environment] * 2)
    }
    started = {door: start_node(program, API_IS_READY) for door, program in programs.items()}
    for node in started.values():
        node.ready()
    return started


@contextmanager
def half_a_request(door: str) -> Iterator[None]:
    """A client that has begun to ask for something and never sends the rest."""
    address = urlsplit(door)
    with socket.create_connection((address.hostname or "", address.port or 0)) as connection:
        connection.sendall(b"POST /api/auth/refresh HTTP/1.1\r\nHost: zea\r\nContent-Length: 100\r\n\r\n{")
        yield


def stop_while_asked(door: str, api: ProcessContainer, stream: Stream) -> None:
    with half_a_request(door):
        stream.wait_for()
        api.stop()
    stream.wait_for()


@pytest.mark.timeout(STARTS_MANY)
@pytest.mark.usefixtures("beat")
def test_all_that_serves_is_stopped_and_started_again_while_bookings_stream_in(
    apis: dict[str, ProcessContainer], celery_worker_cluster: CeleryWorkerCluster
) -> None:
    """One after the other: while the only worker is away, bookings are accepted, and confirmed once it is back."""
    worker, sweeper = (each.container for each in celery_worker_cluster)
    with Stream(*apis) as stream:
        stream.wait_for()
        worker.stop()
        wait_until(lambda: 202 in stream.statuses(), 15, "a booking to be accepted without a worker")
        worker.restart()
        stream.wait_for()
        sweeper.stop()
        sweeper.restart()
        first, second = apis
        stop_while_asked(first, apis[first], stream)
        apis[first].restart()
        stop_while_asked(second, apis[second], stream)
    assert stream.unanswered, "an API that was stopped was asked"
    stream.assert_each_is_booked_once()
