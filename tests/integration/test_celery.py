"""The engine on real Celery: chains hop, groups join, and every message is needed."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from celery.contrib.testing.worker import start_worker
from celery.signals import task_prerun
from sqlalchemy.orm import Session

from workflows.engine.client import ExecutionClient
from workflows.engine.definition import Workflow, parallel, step
from workflows.engine.registry import Registry
from zea.broker import app
from zea.context import StepContext
from zea.errors import Refusal


@dataclass(frozen=True)
class Trip:
    length: int


def pack(db: Session, *, ctx: StepContext) -> None: ...
def leave(db: Session, *, length: int) -> None:
    if length == 13:
        raise Refusal("Not that far.")


def by_train(db: Session, *, length: int) -> None: ...
def by_boat(db: Session, *, length: int) -> None: ...
def sail(db: Session, *, length: int) -> None: ...
def arrive(db: Session, *, length: int) -> None: ...
def unpack(db: Session, *, length: int) -> None: ...


trip = Workflow(
    name="test.Trip",
    version=1,
    input=Trip,
    flow=[
        step(pack),
        step(leave),
        parallel(step(by_train), [step(by_boat), step(sail)]),
        step(arrive),
        parallel(),
        step(unpack),
    ],
)
registry = Registry(trip)
client = ExecutionClient(registry)


@pytest.fixture
def handled(database: str) -> Iterator[list[str]]:
    """A worker that runs, and the names of the tasks that it has run."""
    names: list[str] = []

    def note(sender: Any, **_: Any) -> None:
        names.append(sender.name)

    # Loading the tasks reads Celery's configuration, and so where the broker is.
    from tasks.steps import register_tasks

    if "trip.pack" not in app.tasks:
        register_tasks(registry)
    # A worker sets up the logging of its process, which here is that of every test after this one.
    level, handlers = logging.root.level, logging.root.handlers[:]
    task_prerun.connect(note)
    try:
        with start_worker(app, pool="solo", perform_ping_check=False, queues=["workflows", "notifications"]):
            yield names
    finally:
        task_prerun.disconnect(note)
        logging.root.setLevel(level)
        logging.root.handlers[:] = handlers


def test_an_execution_takes_one_message_for_each_step(handled: list[str]) -> None:
    execution_id = client.start(trip, Trip(3), actor="test").execution_id
    assert client.wait(execution_id, timedelta(seconds=10)).status == "completed"
    order = [event.step for event in client.events(execution_id) if event.step]
    assert order[:2] == ["pack", "leave"]
    assert sorted(order[2:5]) == ["by_boat", "by_train", "sail"]
    assert order.index("by_boat") < order.index("sail")
    assert order[5:] == ["arrive", "unpack"]
    assert sorted(handled) == sorted(f"trip.{name}" for name in order)


def test_what_a_refused_step_carried_is_never_sent(handled: list[str]) -> None:
    execution_id = client.start(trip, Trip(13), actor="test").execution_id
    assert client.wait(execution_id, timedelta(seconds=10)).status == "failed"
    assert handled == ["trip.pack", "trip.leave"]
