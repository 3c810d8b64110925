"""Branches that end at the same instant: one of them continues, each time, and none waits for the other."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from workflows.engine.client import ExecutionClient
from workflows.engine.definition import Workflow, parallel, step
from workflows.engine.registry import Registry
from workflows.engine.runner import Delivery, Runner

TIMES = 500
# A branch has done its work and is about to close when it comes here.
finish_line = Barrier(2, timeout=10)


@dataclass(frozen=True)
class Race:
    """Nothing to say about it."""


def left(db: Session) -> None:
    finish_line.wait()


def right(db: Session) -> None:
    finish_line.wait()


def rest(db: Session) -> None: ...


followed = Workflow(name="test.Followed", version=1, input=Race, flow=[parallel(step(left), step(right)), step(rest)])
alone = Workflow(name="test.Alone", version=1, input=Race, flow=[parallel(step(left), step(right))])
registry = Registry(followed, alone)
client = ExecutionClient(registry)


@pytest.fixture
def published(database: str, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each task would have been published, by its name, instead of publishing it."""
    sent: Counter[str] = Counter()
    monkeypatch.setattr("workflows.engine.dispatch._publish", lambda signature, delay: sent.update([signature["task"]]))
    return sent


def run(workflow: Workflow, unit: str, execution_id: UUID) -> None:
    Runner(registry, "worker:test").run(Delivery(workflow.name, unit, execution_id, 1))


def run_branches(workflow: Workflow) -> list[UUID]:
    """Executions whose two branches have come to their ends together."""
    executions = [client.start(workflow, Race(), actor="test").execution_id for _ in range(TIMES)]
    with ThreadPoolExecutor(2) as pool:
        for execution_id in executions:
            list(pool.map(run, [workflow] * 2, ["left", "right"], [execution_id] * 2))
    return executions


def assert_completed_once(execution_id: UUID) -> None:
    told = [event.type for event in client.events(execution_id)]
    assert told.count("execution.completed") == 1
    assert told[-1] == "execution.completed"
    assert client.get_execution_status(execution_id).status == "completed"


def test_the_step_after_the_join_is_published_once(published: Counter[str]) -> None:
    executions = run_branches(followed)
    assert published == {"celery.group": TIMES, "followed.rest": TIMES}
    for execution_id in executions:
        run(followed, "rest", execution_id)
        assert_completed_once(execution_id)


def test_where_nothing_follows_the_execution_ends_once(published: Counter[str]) -> None:
    for execution_id in run_branches(alone):
        assert_completed_once(execution_id)
    assert published == {"celery.group": TIMES}
