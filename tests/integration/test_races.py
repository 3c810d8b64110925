"""Whoever intervenes in an execution while it is delivered: one wins, the others are told so, nothing is done twice."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.racing import Call, at_once
from workflows.engine import store
from workflows.engine.client import ExecutionClient
from workflows.engine.definition import Workflow, parallel, step
from workflows.engine.models import ENDED
from workflows.engine.planner import next_moves
from workflows.engine.registry import Registry
from workflows.engine.runner import Delivery, Runner
from workflows.engine.state import replay
from zea.context import StepContext
from zea.db import transaction

ROUNDS = 40


@dataclass(frozen=True)
class Dive:
    """How deep: the last step cannot do ``TOO_DEEP`` until there is air."""

    depth: int = 1


TOO_DEEP = 13


def effect(db: Session, ctx: StepContext) -> None:
    db.execute(text("INSERT INTO effects VALUES (:id, :step)"), {"id": ctx.execution_id, "step": ctx.step})


def breathe(db: Session, *, ctx: StepContext) -> None:
    effect(db, ctx)


def left_fin(db: Session, *, ctx: StepContext) -> None:
    effect(db, ctx)


def right_fin(db: Session, *, ctx: StepContext) -> None:
    effect(db, ctx)


def jump(db: Session, *, ctx: StepContext, depth: int) -> None:
    effect(db, ctx)
    if depth == TOO_DEEP and not db.execute(text("SELECT count(*) FROM air")).scalar():
        raise ValueError("too deep")


def undo(db: Session, *, ctx: StepContext) -> None:
    effect(db, ctx)


FINS = ("left_fin", "right_fin")
plain = Workflow(
    name="test.PlainDive",
    version=1,
    input=Dive,
    flow=[step(breathe), parallel(step(left_fin), step(right_fin)), step(jump)],
)
careful = Workflow(
    name="test.CarefulDive",
    version=1,
    input=Dive,
    flow=[step(breathe, undo), parallel(step(left_fin, undo), step(right_fin, undo)), step(jump)],
)
registry = Registry(plain, careful)
client = ExecutionClient(registry)


@pytest.fixture(autouse=True)
def tables(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is published: the test delivers what it wants, when it wants."""
    monkeypatch.setattr("workflows.engine.dispatch._publish", lambda signature, delay: None)
    with transaction() as db:
        db.execute(text("CREATE TABLE effects (execution_id uuid, step text); CREATE TABLE air (bottles int)"))


def deliver(workflow: Workflow, execution_id: UUID, unit: str, epoch: int, repeated: bool = False) -> None:
    delivery = Delivery(workflow.name, unit, execution_id, epoch, repeated=repeated)
    Runner(registry, "worker:test").run(delivery)


def row_of(execution_id: UUID) -> store.Stored:
    with transaction() as db:
        row = store.read(db, execution_id)
    assert row is not None
    return row


def run_to_the_end(workflow: Workflow, execution_id: UUID) -> None:
    while moves := next_moves(workflow, (row := row_of(execution_id)).current):
        deliver(workflow, execution_id, moves[0].name, row.epoch)


def intervention(name: str, execution_id: UUID) -> tuple[str, Call]:
    return name, partial(getattr(client, name), execution_id, actor="test", reason="because")


def delivery(workflow: Workflow, execution_id: UUID, unit: str, epoch: int, repeated: bool) -> tuple[str, Call]:
    return f"{unit} of epoch {epoch}", partial(deliver, workflow, execution_id, unit, epoch, repeated)


def deliveries(
    workflow: Workflow, execution_id: UUID, units: Sequence[str], epochs: Sequence[int]
) -> list[tuple[str, Call]]:
    """Each unit at each epoch, both sent for the first time and sent again."""
    return [
        delivery(workflow, execution_id, unit, epoch, repeated)
        for unit in units
        for epoch in epochs
        for repeated in (False, True)
    ]


def effects(execution_id: UUID) -> Counter[str]:
    with transaction() as db:
        found = db.execute(text("SELECT step FROM effects WHERE execution_id = :id"), {"id": execution_id})
        return Counter(found.scalars())


def told(execution_id: UUID) -> Counter[str]:
    return Counter(event.type for event in client.events(execution_id))


def assert_consistent(execution_id: UUID) -> None:
    """Its events give its row again, and no effect is there twice."""
    with transaction() as db:
        assert replay(store.events(db, execution_id)) == row_of(execution_id).current
    assert set(effects(execution_id).values()) == {1}


def assert_no_deadlock() -> None:
    with transaction() as db:
        query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        assert db.execute(text(query)).scalar() == 0


def failed_dive() -> UUID:
    """Failed at its last step; what made it fail is gone."""
    with transaction() as db:
        db.execute(text("DELETE FROM air"))
    execution_id = client.start(plain, Dive(TOO_DEEP), actor="test").execution_id
    run_to_the_end(plain, execution_id)
    assert row_of(execution_id).status == "failed"
    with transaction() as db:
        db.execute(text("INSERT INTO air VALUES (1)"))
    return execution_id


def test_of_all_who_resume_cancel_and_rerun_what_is_delivered_each_wins_once_at_most() -> None:
    outcomes: Counter[str] = Counter()
    for _ in range(ROUNDS):
        execution_id = failed_dive()
        calls = [intervention(name, execution_id) for name in ("resume", "cancel", "rerun") for _ in range(3)]
        won = at_once([*calls, *deliveries(plain, execution_id, ["jump"], epochs=[1, 2])])
        run_to_the_end(plain, execution_id)
        status = row_of(execution_id).status
        assert won["resume"] == told(execution_id)["execution.resumed"] == 1
        assert won["cancel"] == told(execution_id)["execution.cancelled"] <= 1
        assert not won["jump of epoch 1"]
        assert status == ("cancelled" if won["cancel"] else "completed")
        assert effects(execution_id)["jump"] == (status == "completed")
        assert won["rerun"] == reruns(execution_id)
        assert_consistent(execution_id)
        outcomes += Counter([status]) + won
    assert_no_deadlock()
    # Each of them does win sometimes; otherwise there was no race.
    assert {"completed", "cancelled", "rerun"} <= outcomes.keys()


def reruns(execution_id: UUID) -> int:
    with transaction() as db:
        query = "SELECT count(*) FROM workflow_executions WHERE rerun_of = :id"
        return int(db.execute(text(query), {"id": execution_id}).scalar_one())


def test_a_cancel_wins_or_loses_against_the_steps_that_are_delivered() -> None:
    statuses: Counter[str] = Counter()
    for _ in range(ROUNDS):
        execution_id = client.start(careful, Dive(), actor="test").execution_id
        deliver(careful, execution_id, "breathe", epoch=1)
        calls = [intervention(name, execution_id) for name in ("cancel", "resume", "rerun") for _ in range(2)]
        won = at_once([*calls, *deliveries(careful, execution_id, [*FINS, "jump"], epochs=[1])])
        assert not won["resume"]
        race_to_the_end(careful, execution_id)
        statuses[status := row_of(execution_id).status] += 1
        assert status == ("cancelled" if won["cancel"] else "completed")
        assert won["cancel"] <= 1
        assert_consistent(execution_id)
        done = {name for name in effects(execution_id) if not name.startswith("undo_")}
        undone = {name.removeprefix("undo_") for name in effects(execution_id) if name.startswith("undo_")}
        assert undone == (done if status == "cancelled" else set())
    assert_no_deadlock()
    assert statuses["cancelled"]


def race_to_the_end(workflow: Workflow, execution_id: UUID) -> None:
    """Each next move is delivered several times at once, some of them stale, and somebody cancels again.

    It can happen that none wins: a stale one that holds the claim, while it finds out, turns the others away.
    """
    while (row := row_of(execution_id)).status not in ENDED:
        moves = [unit.name for unit in next_moves(workflow, row.current)]
        calls = deliveries(workflow, execution_id, moves, epochs=[row.epoch, row.epoch - 1])
        late = [intervention("cancel", execution_id)] if row.status == "compensating" else []
        assert at_once([*calls, *late]) <= Counter(f"{move} of epoch {row.epoch}" for move in moves)
