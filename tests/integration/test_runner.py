"""One delivery, one transaction: effects and events together or not at all, whatever is delivered twice or at once."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from workflows.engine import backlog, store, sweep
from workflows.engine.client import ExecutionClient
from workflows.engine.clock import Clock
from workflows.engine.definition import Workflow, atomic, parallel, step
from workflows.engine.events import Event, ExecutionRedriven
from workflows.engine.models import ExecutionStatus
from workflows.engine.planner import next_moves
from workflows.engine.progress import Progress
from workflows.engine.registry import Registry
from workflows.engine.runner import Delivery, Outcome, Runner
from workflows.engine.start import start
from workflows.engine.state import State, StepState, apply, replay
from zea.context import Personal, StepContext
from zea.credits.models import LedgerEntry
from zea.db import new_id, transaction
from zea.errors import FingerprintChanged, InvalidInput, Refusal, StaleMessage


@dataclass(frozen=True)
class Order:
    number: int
    note: Personal[str | None] = None


@dataclass(frozen=True)
class Taken:
    taken: int


def effect(db: Session, ctx: StepContext) -> None:
    db.execute(
        text("INSERT INTO effects VALUES (:execution, :step)"), {"execution": ctx.execution_id, "step": ctx.step}
    )


def take(db: Session, *, ctx: StepContext, number: int) -> Taken:
    effect(db, ctx)
    return Taken(number + 1)


def check(db: Session, *, ctx: StepContext, number: int, note: str | None) -> None:
    effect(db, ctx)
    match number:
        case 13:
            raise Refusal("No thirteen.")
        case 14:
            raise ValueError(f"cannot read {note}")
        case 15 if ctx.attempt < 3:
            db.execute(text("DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40P01'; END $$"))
        case 16:
            db.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        case 17:
            db.add(LedgerEntry(athlete_id=new_id(), kind="grant", amount=1, reason="my left knee", actor="test"))
            db.flush()


def left(db: Session, *, ctx: StepContext, taken: int) -> None:
    effect(db, ctx)


def right(db: Session, *, ctx: StepContext, taken: int) -> None:
    effect(db, ctx)


def finish(db: Session, *, ctx: StepContext) -> None:
    effect(db, ctx)


take_order = Workflow(
    name="test.TakeOrder",
    version=1,
    input=Order,
    subject="order:{number}",
    flow=[atomic(step(take), step(check)), parallel(step(left), step(right)), step(finish)],
)
registry = Registry(take_order)
runner = Runner(registry, worker="worker:test")
client = ExecutionClient(registry)
BLOCK = "take_to_check"


@pytest.fixture(autouse=True)
def effects_table(database: str) -> None:
    with transaction() as db:
        db.execute(text("CREATE TABLE effects (execution_id uuid, step text)"))


def begin(number: int = 1, note: str | None = None) -> UUID:
    return client.start(take_order, Order(number, note), actor="test").execution_id


def deliver(execution_id: UUID, unit: str, epoch: int = 1) -> Outcome:
    return runner.run(Delivery(take_order.name, unit, execution_id, epoch))


def effects(execution_id: UUID) -> list[str]:
    with transaction() as db:
        found = db.execute(text("SELECT step FROM effects WHERE execution_id = :id"), {"id": execution_id})
        return sorted(found.scalars())


def types(execution_id: UUID) -> list[str]:
    return [f"{event.type} {event.step}" if event.step else event.type for event in client.events(execution_id)]


def assert_replay_gives_the_row(execution_id: UUID, workflow: Workflow = take_order) -> None:
    with transaction() as db:
        row = store.read(db, execution_id)
        assert row is not None
        state = replay(store.events(db, execution_id))
        for column, value in store.summary(workflow, state).items():
            assert getattr(row, column) == value, column
        assert row.current == state
        assert (row.due_at is not None) == bool(next_moves(workflow, state))


def test_an_execution_runs_to_its_end_and_its_events_give_its_row_again() -> None:
    execution = begin()
    assert_replay_gives_the_row(execution)
    for unit in (BLOCK, "right", "left", "finish"):
        deliver(execution, unit)
        assert_replay_gives_the_row(execution)
    assert effects(execution) == ["check", "finish", "left", "right", "take"]
    assert types(execution) == [
        "execution.started",
        "step.completed take",
        "step.completed check",
        "step.completed right",
        "step.completed left",
        "step.completed finish",
        "execution.completed",
    ]
    status = client.get_execution_status(execution)
    assert (status.status, status.progress_percentage, status.output) == ("completed", 100.0, {"taken": 2})
    assert status.subject == "order:1"


@pytest.mark.parametrize("unit", [BLOCK, "left"])
def test_a_second_delivery_changes_nothing(unit: str) -> None:
    execution = begin()
    deliver(execution, BLOCK)
    if unit != BLOCK:
        deliver(execution, unit)
    before = types(execution), effects(execution)
    with pytest.raises(StaleMessage):
        deliver(execution, unit)
    assert (types(execution), effects(execution)) == before


@pytest.mark.parametrize("unit", [BLOCK, "left"])
def test_deliveries_at_once_have_one_effect(unit: str) -> None:
    for _ in range(20):
        execution = begin()
        if unit != BLOCK:
            deliver(execution, BLOCK)
        assert sorted(at_once(lambda id=execution: deliver(id, unit), times=4)).count("done") == 1
        assert effects(execution).count("left" if unit == "left" else "take") == 1


def at_once(call: Callable[[], object], times: int) -> list[str]:
    barrier = threading.Barrier(times)

    def attempt(_: int) -> str:
        barrier.wait()
        try:
            call()
        except StaleMessage:
            return "stale"
        return "done"

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(attempt, range(times)))


def test_a_duplicate_does_not_wait_for_the_step_that_is_running() -> None:
    execution = begin()
    with transaction() as db:
        claim = store.claim(db, execution, BLOCK, timedelta(seconds=30), with_row=True)
        assert claim is not None
        with ThreadPoolExecutor(1) as pool, pytest.raises(StaleMessage):
            pool.submit(deliver, execution, BLOCK).result(timeout=2)


def test_a_claim_reads_the_row_as_it_is_when_the_lock_is_got() -> None:
    """The row changes while the claim waits for it: what is read is what was committed, not the older snapshot."""
    execution = begin()
    with transaction() as holder:
        locked = store.lock(holder, execution)
        assert locked is not None
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(deliver, execution, BLOCK)
            wait_for_lock_waiter(holder)
            holder.execute(text("UPDATE workflow_executions SET epoch = 2 WHERE id = :id"), {"id": execution})
            holder.execute(text("COMMIT"))
            with pytest.raises(StaleMessage, match="no longer wanted"):
                waiting.result(timeout=5)
    assert effects(execution) == []


def wait_for_lock_waiter(db: Session) -> None:
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    for _ in range(2000):
        db.execute(text("SELECT pg_stat_clear_snapshot()"))
        if db.execute(waiting).scalar_one():
            return
    raise AssertionError("nobody waits for the row")


def test_a_message_of_another_epoch_is_not_acted_on() -> None:
    execution = begin()
    with pytest.raises(StaleMessage):
        deliver(execution, BLOCK, epoch=2)
    assert effects(execution) == []


def test_branches_that_end_at_the_same_instant_continue_once() -> None:
    for _ in range(50):
        execution = begin()
        deliver(execution, BLOCK)
        barrier = threading.Barrier(2)

        def branch(unit: str, execution: UUID = execution, barrier: threading.Barrier = barrier) -> Outcome:
            barrier.wait()
            return deliver(execution, unit)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(branch, ["left", "right"]))
        with transaction() as db:
            row = store.read(db, execution)
            assert row is not None
            assert [unit.name for unit in next_moves(take_order, row.current)] == ["finish"]


def test_a_refusal_undoes_the_block_and_is_never_resumable() -> None:
    execution = begin(13)
    deliver(execution, BLOCK)
    status = client.get_execution_status(execution)
    assert effects(execution) == []
    assert (status.status, status.resumable) == ("failed", False)
    assert status.error is not None
    assert (status.error.kind, status.error.message, status.error.traceback) == ("refused", "No thirteen.", None)
    assert types(execution) == ["execution.started", "step.failed check", "execution.failed"]
    assert_replay_gives_the_row(execution)


def test_an_unexpected_error_is_recorded_with_its_traceback_and_without_personal_values() -> None:
    execution = begin(14, note="my left knee")
    deliver(execution, BLOCK)
    status = client.get_execution_status(execution)
    assert status.error is not None
    assert status.error.message == "ValueError: cannot read [personal]"
    assert "in check" in (status.error.traceback or "")
    assert status.resumable
    with transaction() as db:
        kept = db.execute(text("SELECT row_to_json(e)::text FROM workflow_executions e")).scalars().all()
        told = db.execute(text("SELECT row_to_json(e)::text FROM workflow_events e")).scalars().all()
    assert "my left knee" not in "".join([*kept, *told])
    assert_replay_gives_the_row(execution)


def test_a_deadlock_is_retried_with_the_next_attempt() -> None:
    execution = begin(15)
    for _ in range(3):
        assert_replay_gives_the_row(execution)
        deliver(execution, BLOCK)
    assert effects(execution) == ["check", "take"]
    assert types(execution)[:4] == [
        "execution.started",
        "step.retried check",
        "step.retried check",
        "step.completed take",
    ]
    assert client.get_execution_status(execution).steps[1].attempt == 3


def test_a_lost_connection_undoes_the_step_and_it_is_tried_again(published: list[str]) -> None:
    execution = begin(16)
    deliver(execution, BLOCK)
    assert effects(execution) == []
    assert types(execution) == ["execution.started", "step.retried check"]
    assert published == ["take_order.take_to_check"] * 2
    assert_replay_gives_the_row(execution)


def test_a_flush_that_fails_takes_the_transaction_along_and_is_recorded_all_the_same() -> None:
    execution = begin(17)
    deliver(execution, BLOCK)
    status = client.get_execution_status(execution)
    assert status.error is not None
    assert status.error.kind == "database_error"
    assert "my left knee" not in str(status)
    assert effects(execution) == []
    assert_replay_gives_the_row(execution)


def test_one_start_key_is_one_execution() -> None:
    starts = [client.start(take_order, Order(1), actor="test", start_key="order-1") for _ in range(3)]
    assert [each.joined for each in starts] == [False, True, True]
    assert len({each.execution_id for each in starts}) == 1


def test_inputs_of_another_type_start_nothing() -> None:
    with pytest.raises(InvalidInput, match="starts with a Order, not a dict"):
        client.start(take_order, {"number": 1}, actor="test")
    with pytest.raises(InvalidInput, match=r"note must be .*, and is a int") as refused:
        client.start(take_order, Order(1, note=42), actor="test")  # type: ignore[arg-type]  # what is tested
    assert "42" not in str(refused.value)
    assert client.list_executions().items == []


def test_an_execution_that_is_rolled_back_is_not_dispatched(monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[Any] = []
    monkeypatch.setattr("workflows.engine.dispatch._publish", lambda *arguments: published.append(arguments))

    def start_and_fail() -> None:
        with transaction() as db:
            start(db, take_order, Order(1), actor="test")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        start_and_fail()
    assert published == []


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the tasks that would be published, instead of publishing them."""
    sent: list[str] = []
    monkeypatch.setattr(
        "workflows.engine.dispatch._publish", lambda signature, delay: sent.extend(first_tasks(signature))
    )
    return sent


def first_tasks(signature: Any) -> list[str]:
    """Which tasks run first: of a chain its first link, of a group those of each of its members."""
    match signature["task"]:
        case "celery.group":
            return sorted(name for each in signature["kwargs"]["tasks"] for name in first_tasks(each))
        case "celery.chain":
            return first_tasks(signature["kwargs"]["tasks"][0])
        case name:
            return [str(name)]


def test_the_branch_that_completes_the_join_publishes_what_follows(published: list[str]) -> None:
    execution = begin()
    deliver(execution, BLOCK)
    assert published == ["take_order.take_to_check", "take_order.left", "take_order.right"]
    deliver(execution, "right")
    assert len(published) == 3
    deliver(execution, "left")
    assert published[3:] == ["take_order.finish"]


ship_order = Workflow(name="test.ShipOrder", version=1, input=Order, flow=[step(take), step(check), step(finish)])
shipping = Registry(ship_order)
shippers = ExecutionClient(shipping)


def ship(execution_id: UUID, unit: str, *carried: str) -> Outcome:
    delivery = Delivery(ship_order.name, unit, execution_id, 1, frozenset(carried))
    return Runner(shipping, "worker:test").run(delivery)


def test_what_celerys_chain_carries_is_not_published_again(published: list[str]) -> None:
    execution = shippers.start(ship_order, Order(1), actor="test").execution_id
    assert ship(execution, "take", "ship_order.check").chain_continues
    assert published == ["ship_order.take"]


def test_what_no_chain_carries_is_published(published: list[str]) -> None:
    execution = shippers.start(ship_order, Order(1), actor="test").execution_id
    assert not ship(execution, "take", "ship_order.something_else").chain_continues
    assert published == ["ship_order.take", "ship_order.check"]


def test_a_chain_does_not_go_on_after_a_failure(published: list[str]) -> None:
    execution = shippers.start(ship_order, Order(13), actor="test").execution_id
    ship(execution, "take", "ship_order.check")
    assert not ship(execution, "check", "ship_order.finish").chain_continues


def test_what_a_step_returns_at_its_second_attempt_is_announced_too() -> None:
    before = State(steps={"take": StepState(attempt=2)})
    after = State(steps={"take": StepState(attempt=2, output={"taken": 1})})
    with transaction() as db:
        row = store.lock(db, begin())
        assert row is not None
        progress = Progress(db, take_order, row, Clock(store.now(db)), "test")
        progress.before, progress.state = before, after
        assert progress._is_visible
        progress.state = before
        assert not progress._is_visible


def make_due(execution_id: UUID) -> None:
    """It was dispatched a minute ago, and what was sent through its queues since then has been taken."""
    with transaction() as db:
        db.execute(text("UPDATE workflow_executions SET dispatched_at = dispatched_at - interval '1 minute'"))
        backlog.postpone(db, execution_id, timedelta(0))
        for queue in registry.queues():
            if probed_at := backlog.probe(db, queue, timedelta(0)):
                backlog.probe_passed(db, queue, probed_at)


def test_the_sweep_dispatches_what_is_due_again_and_waits_longer_each_time(published: list[str]) -> None:
    execution = begin()
    assert sweep.redrive(registry) == 0
    for _ in range(2):
        make_due(execution)
        assert sweep.redrive(registry) == 1
        assert sweep.redrive(registry) == 0
    assert published == ["take_order.take_to_check"] * 3
    assert types(execution) == ["execution.started", "execution.redriven", "execution.redriven"]
    assert_replay_gives_the_row(execution)
    with transaction() as db:
        row = store.read(db, execution)
        assert row is not None
        assert row.due_at is not None
        assert timedelta(seconds=19) < row.due_at - store.now(db) < timedelta(seconds=21)
        assert row.epoch == 1


def test_the_sweep_leaves_a_step_that_is_running_alone(published: list[str]) -> None:
    execution = begin()
    deliver(execution, BLOCK)
    make_due(execution)
    published.clear()
    with transaction() as db:
        assert store.claim(db, execution, "left", timedelta(seconds=30), with_row=False)
        assert sweep.redrive(registry) == 1
    assert published == ["take_order.right"]


def test_the_sweep_passes_over_a_row_that_is_held(published: list[str]) -> None:
    held, free = begin(), begin()
    make_due(held)
    make_due(free)
    with transaction() as db, ThreadPoolExecutor(1) as pool:
        assert store.claim(db, held, BLOCK, timedelta(seconds=30), with_row=True)
        assert pool.submit(sweep.redrive, registry).result(timeout=5) == 1


def test_a_row_that_moved_on_is_not_written_over() -> None:
    execution = begin()
    with transaction() as db:
        row = store.lock(db, execution)
        assert row is not None
        redriven = Event(row.position + 2, row.created_at, "test", ExecutionRedriven([]))
        with pytest.raises(AssertionError, match="moved on"):
            store.record(db, take_order, execution, apply(row.current, redriven), [redriven], None)
        db.invalidate()


def test_the_sweep_never_touches_the_versions_it_does_not_know(published: list[str]) -> None:
    execution = begin()
    make_due(execution)
    newer = Workflow(name=take_order.name, version=2, input=Order, flow=take_order.flow)
    with transaction() as db:
        assert backlog.due(db, Registry(newer).versions(), sweep.PUBLISHING, limit=10) == []
        assert backlog.due(db, registry.versions(), sweep.PUBLISHING, limit=10) == [execution]
    assert sweep.redrive(Registry(newer)) == 0
    assert client.get_execution_status(execution).status == ExecutionStatus.RUNNING


def test_one_bad_row_is_put_off_alone(published: list[str]) -> None:
    bad, good = begin(), begin()
    with transaction() as db:
        db.execute(text("UPDATE workflow_executions SET state = '{\"steps\": 1}' WHERE id = :id"), {"id": bad})
    make_due(bad)
    make_due(good)
    assert sweep.redrive(registry) == 1
    assert sweep.redrive(registry) == 0


def test_events_cannot_be_changed_or_removed() -> None:
    begin()
    for statement in (
        "UPDATE workflow_events SET actor = 'somebody else'",
        "DELETE FROM workflow_events",
        "TRUNCATE workflow_events CASCADE",
    ):
        with pytest.raises(DBAPIError, match="append-only"), transaction() as db:
            db.execute(text(statement))


def test_a_definition_that_changed_without_a_new_version_is_refused() -> None:
    with transaction() as db:
        registry.register(db)
    changed = Workflow(name=take_order.name, version=1, input=Order, flow=take_order.flow[:-1])
    with pytest.raises(FingerprintChanged, match=r"flow: .*finish removed"), transaction() as db:
        Registry(changed).verify(db)
