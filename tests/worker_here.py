"""A worker in a thread of the test's process: runs what is published, in its order, as soon as it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from queue import Queue
from threading import Thread
from typing import Any
from uuid import UUID

import pytest

from workflows.catalog import registry
from workflows.engine.runner import Delivery, Runner
from zea.errors import StaleMessage

Message = tuple[str, list[Any]]


@contextmanager
def working(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """While the block runs, messages go to this worker instead of the broker. Delays are not waited for."""
    messages: Queue[Message | None] = Queue()

    def publish(signature: Any, _: timedelta) -> None:
        for message in first_messages(signature):
            messages.put(message)

    monkeypatch.setattr("workflows.engine.dispatch._publish", publish)
    worker = Thread(target=work, args=[messages], daemon=True)
    worker.start()
    try:
        yield
    finally:
        messages.put(None)
        worker.join(10)
        assert not worker.is_alive(), "the worker does not come to an end"


def first_messages(signature: Any) -> list[Message]:
    """What runs first: of a chain its first link, of a group what each of its members begins with."""
    match signature["task"]:
        case "celery.group":
            return [message for each in signature["kwargs"]["tasks"] for message in first_messages(each)]
        case "celery.chain":
            return first_messages(signature["kwargs"]["tasks"][0])
        case name:
            return [(str(name), list(signature["args"]))]


def work(messages: "Queue[Message | None]") -> None:
    runner = Runner(registry, worker="worker:here")
    tasks = registry.tasks()
    while message := messages.get():
        name, (execution_id, epoch, *repeated) = message
        if name in tasks:
            delivery = Delivery(*tasks[name], UUID(execution_id), epoch, repeated=bool(repeated))
            try:
                runner.run(delivery)
            except StaleMessage:
                continue
