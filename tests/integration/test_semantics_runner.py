"""Whatever happens to an execution on the real engine and database: it comes to what the oracle says, once."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count
from random import Random
from threading import Event as Flag
from threading import Lock
from time import monotonic
from typing import Any
from uuid import UUID
from zlib import crc32

import pytest
from hypothesis import HealthCheck, example, given, note, settings
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from tests.drawn_flows import NAME, Action, Nothing, Plot, plots, workflow_of
from tests.integration.test_runner import assert_replay_gives_the_row
from tests.unit.oracle import Flow, Model, Unit, assert_lawful, effects_of
from workflows.engine import store, sweep
from workflows.engine.client import ExecutionClient
from workflows.engine.planner import next_moves
from workflows.engine.registry import Registry
from workflows.engine.runner import Delivery, Runner
from workflows.engine.status import EventView
from zea.context import StepContext
from zea.db import transaction
from zea.errors import Busy, NotPossible, Refusal, StaleMessage

WORKERS = 4
LONGEST_SECONDS = 30
QUEUES = ("workflows", "notifications")
PASSING = ("deadlock", "connection_lost")
versions = count(1)
on_stage: list["Play"] = []


def one_of(fate: str, number: int) -> str:
    """There are several ways to fail for a passing reason, and to die."""
    ways = {"deadlock": ("deadlock", "connection_lost", "cut_off"), "killed": ("killed", "killed_with_its_connection")}
    return ways[fate][number % len(ways[fate])] if fate in ways else fate


def queue_of(name: str) -> str:
    return QUEUES[name.startswith("notify_")]


def backend_of(db: Session) -> int:
    return int(db.execute(text("SELECT pg_backend_pid()")).scalar_one())


class Killed(BaseException):
    """The worker is no more: nothing after this runs in it."""


@dataclass(frozen=True)
class Message:
    """One that the broker holds, and the tasks that Celery's chain publishes after it."""

    unit: str
    epoch: int
    dispatches: int
    chain: tuple[Any, ...] = ()
    delay: timedelta = timedelta()
    redelivered: bool = False

    @property
    def carried(self) -> frozenset[str]:
        return frozenset(link["task"] for link in self.chain[:1])


def messages_of(signature: Any, chain: tuple[Any, ...] = ()) -> Iterator[Message]:
    """What comes into the queues when this is published."""
    match signature["task"]:
        case "celery.group":
            for each in signature["kwargs"]["tasks"]:
                yield from messages_of(each)
        case "celery.chain":
            first, *rest = signature["kwargs"]["tasks"]
            yield from messages_of(first, tuple(rest))
        case task:
            _, epoch, *dispatches = signature["args"]
            yield Message(task.partition(".")[2], epoch, dispatches[0] if dispatches else 0, chain)


def retold(flow: Flow, events: list[EventView]) -> Model:
    """The model that is told what the events tell; each of them was possible when it was recorded."""
    model = Model(flow)
    names = {step: unit.name for unit in model.units.values() for step in unit.steps}
    names |= {f"undo_{step}": f"undo_{name}" for step, name in names.items()}
    for event in events:
        step = f"undo_{event.step}" if event.type == "step.compensated" else event.step
        _retell(model, event, names[step] if step else "", step)
    return model


def _retell(model: Model, event: EventView, name: str, step: str | None) -> None:
    match event.type, event.data:
        case "step.started", _:
            assert model.begins(name)
        case (("step.completed" | "step.compensated"), _):
            if step == effects_of(model.units[name.removeprefix("undo_")], name)[-1]:
                model.succeeds(name)
        case "step.retried", {"kind": kind}:
            model.fails_for_now(name, kind)
            assert name not in model.failed
        case "step.failed", {"kind": "worker_lost"}:
            assert not model.begins(name)
        case "step.failed", {"kind": kind} if kind in PASSING:
            model.fails_for_now(name, kind)
            assert name in model.failed
        case "step.failed", {"kind": kind}:
            model.fails(name, kind)
        case "timer.fired", {"timer": timer}:
            model.wakes(timer)
        case "execution.compensating", {"cause": "cancelled"}:
            model.is_cancelled()
        case "execution.cancelled", _ if not model.undoing:
            model.is_cancelled()
        case "execution.resumed", _:
            model.is_resumed()
    match event.type:
        case "execution.compensating":
            assert model.undoing
        case "execution.completed" | "execution.failed" | "execution.cancelled":
            assert event.type == f"execution.{model.ended}"


class Play:
    """One execution with its broker, its workers and whoever looks after it; ``fate`` says what a step comes to."""

    def __init__(self, plot: Plot, fate: Callable[[StepContext], str]) -> None:
        self.flow, self.model, self.fate = plot.flow, Model(plot.flow), fate
        self.workflow = workflow_of(plot.flow, self.act_step, next(versions))
        self.registry = Registry(self.workflow)
        self.runner = Runner(self.registry, worker="worker:test")
        self.client = ExecutionClient(self.registry)
        self.broker: list[Message] = []
        self.seen: set[tuple[str, int]] = set()
        on_stage[:] = [self]

    def start(self) -> None:
        self.execution_id: UUID = self.client.start(self.workflow, Nothing(), actor="test").execution_id

    # What the engine is connected to.

    def publish(self, signature: Any, delay: timedelta) -> None:
        for message in messages_of(signature):
            self.broker.append(replace(message, delay=delay))
            self.seen.add((message.unit, message.epoch))

    def act_step(self, db: Session, ctx: StepContext) -> None:
        """Every step and every undo: an effect, and then what is to become of the attempt."""
        effect = {"id": ctx.execution_id, "step": ctx.step}
        db.execute(text("INSERT INTO effects (execution_id, step) VALUES (:id, :step)"), effect)
        match self.fate(ctx):
            case "refused":
                raise Refusal
            case "unexpected_error":
                raise ValueError("nobody expected this")
            case "deadlock":
                db.execute(text("DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40P01'; END $$"))
            case "connection_lost":
                db.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
            case "cut_off":
                # What is sent next finds out, be that another step or the end of the attempt.
                with transaction() as other:
                    other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": backend_of(db)})
            case "killed":
                raise Killed
            case "killed_with_its_connection":
                with suppress(DBAPIError):
                    db.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
                raise Killed

    def run(self, message: Message) -> None:
        """As a worker does.

        Raises:
            StaleMessage: it is not acted on, and so is nothing that its chain carries.
            Killed: the worker.
        """
        repeated = message.redelivered or message.dispatches > 0
        delivery = Delivery(NAME, message.unit, self.execution_id, message.epoch, message.carried, repeated)
        if self.runner.run(delivery).chain_continues and message.chain:
            next_one = next(messages_of(message.chain[0]))
            self.broker.append(replace(next_one, chain=message.chain[1:]))
            self.seen.add((next_one.unit, next_one.epoch))

    # What the database says.

    @property
    def row(self) -> store.Stored:
        with transaction() as db:
            row = store.read(db, self.execution_id)
        assert row is not None
        return row

    @property
    def effects(self) -> list[str]:
        """The steps whose effects stand, in the order in which they were made."""
        query = text("SELECT step FROM effects WHERE execution_id = :id ORDER BY number")
        with transaction() as db:
            return list(db.execute(query, {"id": self.execution_id}).scalars())

    @property
    def dispatched_at(self) -> datetime:
        query = text("SELECT dispatched_at FROM workflow_executions WHERE id = :id")
        with transaction() as db:
            moment: datetime = db.execute(query, {"id": self.execution_id}).scalar_one()
        return moment

    def check(self) -> None:
        row, model = self.row, self.model
        assert row.status == model.status
        assert row.epoch == model.epoch
        assert (row.error["kind"] if row.error else None) == model.error
        assert bool(row.error and row.error["resumable"]) == model.resumable
        moves = next_moves(self.workflow, row.current)
        assert [unit.name for unit in moves] == model.runnable
        assert all(row.current.tries_of(unit).attempt == model.over[unit.name] + 1 for unit in moves)
        assert (row.due_at is not None) == bool(model.runnable)
        assert (row.wakes_at is not None) == bool(model.napping)
        assert_replay_gives_the_row(self.execution_id, self.workflow)

    def check_end(self) -> None:
        """It ended as the oracle says, and no message that there ever was changes anything any more."""
        assert_lawful(self.flow, self.model.effects, self.row.status, self.model.error)
        before = self.row.position
        for unit, epoch in sorted(self.seen):
            with pytest.raises(StaleMessage):
                self.run(Message(unit, epoch, 1))
        assert self.row.position == before

    # What comes over it.

    def pass_time(self, worked_off: list[str]) -> None:
        """A minute passes, and what was sent before has been taken from those queues which are worked off."""
        dispatched = text("""
            UPDATE workflow_executions SET dispatched_at = dispatched_at - interval '1 minute',
                due_at = clock_timestamp() WHERE id = :id AND due_at IS NOT NULL""")
        probed = text("""
            INSERT INTO workflow_queues (queue, probed_at, passed_at)
            SELECT queue, clock_timestamp(),
                CASE WHEN queue = ANY (:worked_off) THEN clock_timestamp() ELSE '2026-01-01' END
            FROM unnest(CAST(:queues AS text[])) AS queue
            ON CONFLICT (queue) DO UPDATE SET probed_at = excluded.probed_at, passed_at = excluded.passed_at""")
        with transaction() as db:
            db.execute(dispatched, {"id": self.execution_id})
            db.execute(probed, {"queues": list(QUEUES), "worked_off": worked_off})

    def let_timers_pass(self, names: list[str]) -> None:
        """The moment of these timers comes."""
        with transaction() as db:
            db.execute(
                text("""
                    UPDATE workflow_executions SET wakes_at = clock_timestamp(), state = jsonb_set(state, '{timers}', (
                        SELECT jsonb_object_agg(
                            key, CASE WHEN key = ANY (:names) THEN to_jsonb(clock_timestamp()) ELSE value END
                        ) FROM jsonb_each(state -> 'timers')
                    )) WHERE id = :id AND wakes_at IS NOT NULL AND state -> 'timers' ?| :names"""),
                {"id": self.execution_id, "names": names},
            )


class Told(Play):
    """Everything happens one after the other; the model is told what happens, and is asked what must come of it."""

    def __init__(self, plot: Plot) -> None:
        super().__init__(plot, lambda _: self.plan.pop(0))
        self.fates = plot.fates
        self.plan: list[str] = []
        self.start()
        self.check_published([], self.broker)
        self.check()

    def act(self, action: Action) -> None:
        getattr(self, action.what)(action.number)
        self.check()
        assert self.effects == self.model.effects

    def check_published(self, before: list[str], sent: list[Message]) -> None:
        """Whatever may run now and could not before was sent, once, by whoever made it so. Nothing else was."""
        assert sorted(message.unit for message in sent) == sorted(set(self.model.runnable) - set(before))
        assert all(message.epoch == self.model.epoch for message in sent)

    def work(self, number: int) -> None:
        """A worker takes any message, not the oldest."""
        if self.broker:
            self.deliver(self.broker.pop(number % len(self.broker)), number)
        else:
            self.sweep(number)

    def work_twice(self, number: int) -> None:
        """A message is delivered, and stays to be delivered again."""
        if self.broker:
            self.deliver(self.broker[number % len(self.broker)], number)

    def deliver(self, message: Message, number: int = 0, fates: tuple[str, ...] | None = None) -> None:
        model, before, sent_before = self.model, self.model.runnable, len(self.broker)
        if not model.wants(message.unit, message.epoch):
            with pytest.raises(StaleMessage):
                self.run(message)
            assert len(self.broker) == sent_before
            return
        fate = self.plan_for(message.unit, number, fates or self.fates)
        unit = model.units[message.unit.removeprefix("undo_")]
        if (message.redelivered or message.dispatches or unit.long) and not model.begins(message.unit):
            self.run(message)
            self.check_published(before, self.broker[sent_before:])
            return
        try:
            self.run(message)
        except Killed:
            self.broker.append(replace(message, redelivered=True))
            return
        self.tell(message.unit, fate)
        again = message.unit in model.runnable
        held_back = [each.unit for each in self.broker[sent_before:] if each.delay]
        assert held_back == [message.unit] * again, "only what failed is held back"
        if again:
            *_, retried = self.client.events(self.execution_id)
            held_until = retried.at + self.broker[-1].delay
            assert self.dispatched_at >= held_until, "until then no probe that overtakes it says that it is lost"
        self.check_published(
            [name for name in before if not (again and name == message.unit)], self.broker[sent_before:]
        )

    def plan_for(self, name: str, number: int, fates: tuple[str, ...]) -> str:
        """What the attempt comes to: in the middle of a block, or at its end."""
        fate = fates[number // 8 % len(fates)]
        unit = self.workflow.unit(name)
        assert unit is not None
        steps = len(unit.steps)
        way = one_of(fate, number)
        self.plan = ["done"] * (steps if fate == "done" else number % steps) + [way]
        return way

    def tell(self, name: str, fate: str) -> None:
        match fate:
            case "done":
                self.model.succeeds(name)
            case "deadlock":
                self.model.fails_for_now(name, "deadlock")
            case "connection_lost" | "cut_off":
                self.model.fails_for_now(name, "connection_lost")
            case _:
                self.model.fails(name, fate)

    def lose(self, number: int) -> None:
        if self.broker:
            self.broker.pop(number % len(self.broker))

    def sweep(self, number: int = 0) -> None:
        """What was sent through a queue that is worked off is lost; what waits in line in another one is not."""
        worked_off = [QUEUES, QUEUES, QUEUES[:1], QUEUES[1:]][number % 4]
        self.pass_time(list(worked_off))
        lost = [name for name in self.model.runnable if queue_of(name) in worked_off]
        sent_before = len(self.broker)
        assert sweep.redrive(self.registry) == bool(lost)
        self.check_published([name for name in self.model.runnable if name not in lost], self.broker[sent_before:])
        assert all(message.dispatches for message in self.broker[sent_before:])

    def clock(self, number: int = 0) -> None:
        """The moment of every timer comes, or that of one of them alone."""
        before, sent_before = self.model.runnable, len(self.broker)
        waking = sorted(self.model.napping)[: 1 if number % 2 else None]
        self.let_timers_pass(waking)
        assert sweep.fire(self.registry) == bool(waking)
        for name in waking:
            self.model.wakes(name)
        self.check_published(before, self.broker[sent_before:])

    def cancel(self, _: int) -> None:
        sent_before = len(self.broker)
        if not self.model.can_be_cancelled:
            with pytest.raises(NotPossible):
                self.client.cancel(self.execution_id, actor="user:test", reason="no more")
            return
        self.client.cancel(self.execution_id, actor="user:test", reason="no more")
        self.model.is_cancelled()
        self.check_published([], self.broker[sent_before:])

    def resume(self, _: int = 0) -> None:
        sent_before = len(self.broker)
        if not self.model.resumable:
            with pytest.raises(NotPossible):
                self.client.resume(self.execution_id, actor="user:test")
            return
        self.client.resume(self.execution_id, actor="user:test")
        self.model.is_resumed()
        self.check_published([], self.broker[sent_before:])

    def come_to_an_end(self) -> None:
        """Workers stay alive, every step succeeds, and what is lost is sent again."""
        for _ in range(50):
            if self.model.ended:
                break
            self.sweep()
            while self.broker:
                self.deliver(self.broker.pop(), fates=("done",))
            self.clock()
        self.check()
        assert self.model.ended
        assert self.effects == self.model.effects
        assert retold(self.flow, self.client.events(self.execution_id)).history == self.model.history
        self.check_end()


class Raced(Play):
    """Workers take what they get, all at once; what the events tell is what happened, and is judged in the end."""

    def __init__(self, plot: Plot) -> None:
        super().__init__(plot, self.fate_of)
        self.fates = plot.fates
        self.salt = plot.story[0].number
        # One in three is cancelled, by whoever takes the message of that number.
        self.cancelled_with = self.salt // 3 % 16 if self.salt % 3 == 0 else None
        self.taking = Lock()
        self.taken = 0
        self.start()

    def fate_of(self, ctx: StepContext) -> str:
        """The same for each attempt, whoever makes it and however often; the fourth one succeeds."""
        number = crc32(f"{self.salt} {ctx.step} {ctx.attempt}".encode())
        return one_of(self.fates[number // 8 % len(self.fates)], number) if ctx.attempt < 4 else "done"

    def work_off(self) -> None:
        """Four workers, until it has ended."""
        over, deadline = Flag(), monotonic() + LONGEST_SECONDS

        def work(number: int) -> None:
            random = Random(self.salt + number)
            while not over.is_set():
                assert monotonic() < deadline, "it does not end"
                try:
                    if taken := self.take(random):
                        self.deliver(*taken)
                    elif self.row.completed_at:
                        over.set()
                    else:
                        self.look_after()
                except BaseException:
                    over.set()
                    raise

        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(work, range(WORKERS)))

    def take(self, random: Random) -> tuple[Message, int] | None:
        """Any message, and its number; every other one is delivered a second time."""
        with self.taking:
            if not self.broker:
                return None
            self.taken += 1
            place = random.randrange(len(self.broker))
            message = self.broker[place] if random.random() < 0.5 else self.broker.pop(place)
            return message, self.taken

    def deliver(self, message: Message, number: int) -> None:
        if number == self.cancelled_with:
            with suppress(NotPossible, Busy):
                self.client.cancel(self.execution_id, actor="user:test", reason="no more")
        try:
            self.run(message)
        except StaleMessage:
            with self.taking, suppress(ValueError):
                self.broker.remove(message)
        except Killed:
            self.broker.append(replace(message, redelivered=True))

    def look_after(self) -> None:
        self.pass_time(list(QUEUES))
        self.let_timers_pass(list(self.row.current.timers))
        sweep.redrive(self.registry)
        sweep.fire(self.registry)

    def come_to_an_end(self) -> None:
        self.work_off()
        self.model = retold(self.flow, self.client.events(self.execution_id))
        self.check()
        assert sorted(self.effects) == sorted(self.model.effects)
        undone = [effect for effect in self.effects if effect.startswith("undo_")]
        assert undone == [effect for effect in self.model.effects if effect.startswith("undo_")]
        self.check_end()


@pytest.fixture(autouse=True)
def stage(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is published comes to the broker of the play that is on."""
    with transaction() as db:
        db.execute(text("CREATE TABLE effects (number serial, execution_id uuid, step text)"))
    monkeypatch.setattr(
        "workflows.engine.dispatch._publish", lambda signature, delay: on_stage[0].publish(signature, delay)
    )


each_in_one_database = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# One branch begins to wait for the clock after another one has failed: what was done in it is undone at once.
NOBODY_WAITS = Plot(
    flow=[
        [
            [Unit("step_1", ("step_1",), attempts=2, naps=True)],
            [Unit("step_2", ("step_2",), undoable=frozenset({"step_2"})), Unit("step_3", ("step_3",))],
        ]
    ],
    fates=("done", "deadlock"),
    story=[Action("work", 1), Action("work", 9), Action("work", 8)],
)

# Two branches wait for the clock: the moment of one has come, that of the other has not.
TWO_MOMENTS = Plot(
    flow=[[[Unit(name, (name,), attempts=2, naps=True)] for name in ("step_1", "step_2")]],
    fates=("deadlock",),
    story=[Action("work", 0), Action("work", 0), Action("clock", 1)],
)


@settings(each_in_one_database, max_examples=90)
@example(plot=NOBODY_WAITS)
@example(plot=TWO_MOMENTS)
@given(plot=plots(longest=40))
def test_any_execution_goes_and_ends_as_the_oracle_says(plot: Plot) -> None:
    note(str(plot))
    play = Told(plot)
    for action in plot.story:
        play.act(action)
    play.come_to_an_end()
    while play.model.resumable:
        play.resume()
        play.come_to_an_end()


@settings(each_in_one_database, max_examples=50)
@given(plot=plots(longest=24))
def test_any_execution_worked_on_by_four_at_once_ends_as_its_events_tell(plot: Plot) -> None:
    note(str(plot))
    play = Raced(plot)
    play.come_to_an_end()
    if play.model.resumable:
        play.client.resume(play.execution_id, actor="user:test")
        play.come_to_an_end()
