"""Protections that nothing else would miss: each test goes red when the one that it is about is taken out."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

import httpx
import pytest
import redis
from celery import Celery, Task
from celery.app.trace import build_tracer
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from tests.integration.conftest import Person
from tests.integration.test_database import backend, in_a_fork
from tests.integration.test_runner import first_tasks
from tests.waiting import wait_until
from workflows.engine import backlog, dispatch, interventions, store, sweep
from workflows.engine.client import ExecutionClient
from workflows.engine.definition import Workflow, atomic, parallel, step
from workflows.engine.planner import next_moves
from workflows.engine.policy import Retry
from workflows.engine.registry import Registry
from workflows.engine.runner import Delivery, Outcome, Runner
from workflows.engine.status import Standing
from zea import clock
from zea.api import app as api_app
from zea.api import waiting
from zea.api.models import IdempotencyKey
from zea.context import Personal, StepContext
from zea.db import POOL_SIZE, new_id, transaction
from zea.errors import (
    Busy,
    DefinitionError,
    FingerprintChanged,
    InvalidInput,
    NotPossible,
    Refusal,
    Unreachable,
    ZeaError,
)

Deed = Callable[[Session], object]
SECOND = timedelta(seconds=1)
# What a step does after it has left its mark, and what it returns instead of what it should.
deeds: dict[str, Deed] = {}
answers: dict[str, object] = {}


@dataclass(frozen=True)
class Parcel:
    """What is carried."""

    contents: str = "shoes"


@dataclass(frozen=True)
class Collected:
    door: Personal[str]


def mark(db: Session, ctx: StepContext) -> None:
    db.execute(text("INSERT INTO marks VALUES (:id, :step)"), {"id": ctx.execution_id, "step": ctx.step})
    deeds.get(ctx.step, lambda _: None)(db)


def collect(db: Session, *, ctx: StepContext) -> Collected:
    mark(db, ctx)
    return answers.get("collect", Collected("the blue one"))  # type: ignore[return-value]  # what is tested


def give_back(db: Session, *, ctx: StepContext) -> None:
    mark(db, ctx)


def weigh(db: Session, *, ctx: StepContext) -> None:
    mark(db, ctx)
    return answers.get("weigh")  # type: ignore[return-value]  # what is tested


def unload(db: Session, *, ctx: StepContext) -> None:
    mark(db, ctx)


def carry(db: Session, *, ctx: StepContext) -> None:
    mark(db, ctx)


def notify_sender(db: Session, *, ctx: StepContext) -> None:
    mark(db, ctx)


def hand_over(db: Session, *, ctx: StepContext) -> None:
    mark(db, ctx)


def sign(db: Session, *, ctx: StepContext) -> None:
    mark(db, ctx)


parcel = Workflow(
    name="test.Parcel",
    version=1,
    input=Parcel,
    flow=[
        atomic(step(collect, undo=give_back), step(weigh, undo=unload)),
        parallel(step(carry, retry=Retry(first_delay=timedelta(minutes=1))), step(notify_sender)),
        step(hand_over),
        step(sign),
    ],
)
registry = Registry(parcel)
client = ExecutionClient(registry)
BLOCK = "collect_to_weigh"


@pytest.fixture(autouse=True)
def marks_table(database: str) -> Iterator[None]:
    with transaction() as db:
        db.execute(text("CREATE TABLE marks (execution_id uuid, step text)"))
    yield
    deeds.clear()
    answers.clear()


@pytest.fixture(autouse=True)
def published(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the tasks that would be published, instead of publishing them."""
    sent: list[str] = []
    monkeypatch.setattr(
        "workflows.engine.dispatch._publish", lambda signature, delay: sent.extend(first_tasks(signature))
    )
    return sent


def raising(error: Exception) -> Deed:
    def deed(_: Session) -> None:
        raise error

    return deed


def deadlock(db: Session) -> None:
    db.execute(text("DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40P01'; END $$"))


def be_busy(db: Session) -> None:
    for _ in range(10):
        db.execute(text("SELECT pg_sleep(0.2)"))


def be_slow(db: Session) -> None:
    db.execute(text("SELECT pg_sleep(2)"))


def begin() -> UUID:
    return client.start(parcel, Parcel(), actor="test").execution_id


def stored(execution_id: UUID) -> store.Stored:
    with transaction() as db:
        row = store.read(db, execution_id)
    assert row is not None
    return row


def deliver(execution_id: UUID, *units: str) -> Outcome:
    for unit in units:
        delivery = Delivery(parcel.name, unit, execution_id, stored(execution_id).epoch)
        outcome = Runner(registry, "worker:test").run(delivery)
    return outcome


def drive(execution_id: UUID) -> str:
    """Deliver what may run until nothing may; answers how it stands then."""
    while moves := next_moves(parcel, stored(execution_id).current):
        deliver(execution_id, moves[0].name)
    return stored(execution_id).status


def marks(execution_id: UUID) -> list[str]:
    with transaction() as db:
        found = db.execute(text("SELECT step FROM marks WHERE execution_id = :id"), {"id": execution_id})
        return sorted(found.scalars())


def types(execution_id: UUID) -> list[str]:
    return [f"{event.type} {event.step}" if event.step else event.type for event in client.events(execution_id)]


def execute(statement: str, **values: Any) -> Any:
    with transaction() as db:
        return db.execute(text(statement), values)


class TestClaim:
    """Whoever holds it is alone, a duplicate is told so at once, and it ends with its time."""

    @pytest.mark.parametrize("with_row", [True, False])
    def test_a_duplicate_is_told_at_once(self, with_row: bool) -> None:
        execution = begin()
        with transaction() as holder, transaction() as duplicate:
            assert store.claim(holder, execution, BLOCK, 9 * SECOND, with_row=with_row)
            assert store.claim(duplicate, execution, BLOCK, SECOND, with_row=with_row) is None

    def test_of_another_unit_does_not_wait_for_a_branch(self) -> None:
        execution = begin()
        with transaction() as one, transaction() as other:
            assert store.claim(one, execution, "carry", 9 * SECOND, with_row=False)
            assert store.claim(other, execution, "notify_sender", SECOND, with_row=False)

    @pytest.fixture
    def before_17(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server that knows no limit for a whole transaction, which would end everything else at the same moment."""
        monkeypatch.setattr(store, "TRANSACTION_LIMIT_SINCE", 10**9)

    @pytest.mark.usefixtures("before_17")
    def test_ends_a_statement_that_takes_too_long(self) -> None:
        with pytest.raises(DBAPIError, match="statement timeout"):
            self.hold(lambda db: db.execute(text("SELECT pg_sleep(3)")))

    @pytest.mark.usefixtures("before_17")
    def test_is_taken_from_whoever_stands_still(self) -> None:
        execution = begin()

        def stand_still(db: Session) -> None:
            wait_until(lambda: self.is_free(execution), 5, "the claim to be free")

        with pytest.raises(DBAPIError, match=r"idle-in-transaction|closed"):
            self.hold(stand_still, execution)

    def test_is_taken_from_whoever_is_busy_for_too_long(self) -> None:
        with pytest.raises(DBAPIError, match=r"transaction timeout|closed"):
            self.hold(be_busy)

    @pytest.mark.usefixtures("before_17")
    def test_is_taken_from_whoever_is_busy_where_the_server_does_not_look(self) -> None:
        with pytest.raises(DBAPIError, match="transaction timeout"):
            self.hold(be_busy)

    @pytest.mark.usefixtures("before_17")
    def test_a_step_that_was_busy_for_too_long_is_tried_again_where_the_server_does_not_look(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Registry, "limit", lambda *_: SECOND / 2)
        deeds["weigh"] = be_busy
        execution = begin()
        deliver(execution, BLOCK)
        retried = client.events(execution)[-1]
        assert (retried.type, retried.step, retried.data["kind"]) == ("step.retried", "weigh", "timeout")

    @pytest.mark.usefixtures("before_17")
    @pytest.mark.parametrize("overdue", [be_busy, be_slow], ids=["busy", "slow"])
    def test_a_last_attempt_that_took_too_long_is_told_of_where_the_server_does_not_look(
        self, monkeypatch: pytest.MonkeyPatch, overdue: Deed
    ) -> None:
        """What is recorded of an attempt is no part of what it may take, and telling of it asks the database too."""
        monkeypatch.setattr(Registry, "limit", lambda *_: SECOND / 2)
        letter = Workflow(
            name="test.Letter",
            version=1,
            input=Parcel,
            flow=[step(weigh, retry=Retry(attempts=1))],
            on_failure=notify_sender,
        )
        post = Registry(letter)
        deeds["weigh"] = overdue
        execution = ExecutionClient(post).start(letter, Parcel(), actor="test").execution_id
        Runner(post, "worker:test").run(Delivery(letter.name, "weigh", execution, stored(execution).epoch))
        assert [event.type for event in client.events(execution)][1:] == ["step.failed", "execution.failed"]
        assert marks(execution) == ["notify_sender"]

    def hold(self, work: Deed, execution_id: UUID | None = None) -> None:
        """Work for as long as it likes, under a claim of half a second."""
        with transaction() as db:
            assert store.claim(db, execution_id or begin(), BLOCK, SECOND / 2, with_row=True)
            work(db)
            db.execute(text("SELECT 1"))

    def is_free(self, execution_id: UUID) -> bool:
        with transaction() as db:
            return store.claim(db, execution_id, BLOCK, SECOND, with_row=False) is not None

    def test_bounds_how_long_it_waits_for_a_lock(self) -> None:
        with transaction() as db:
            store.claim(db, begin(), BLOCK, 7 * SECOND, with_row=True)
            assert db.execute(text("SHOW lock_timeout")).scalar() == "7s"

    def test_the_connection_tells_when_the_other_side_is_gone(self) -> None:
        with transaction() as db:
            connection = db.connection().connection.driver_connection
        assert connection is not None
        parameters = connection.info.get_parameters()
        expected = {"keepalives": "1", "keepalives_idle": "10", "tcp_user_timeout": "10000"}
        assert expected.items() <= parameters.items()

    def test_what_a_failed_attempt_had_only_planned_to_write_is_not_written(self) -> None:
        """It was added to the session, and no statement had been sent for it when the step failed."""

        def plan_and_refuse(db: Session) -> None:
            db.add(IdempotencyKey(caller="test", route="test", key="test", request_hash="test"))
            raise Refusal

        deeds["weigh"] = plan_and_refuse
        execution = begin()
        deliver(execution, BLOCK)
        assert stored(execution).status == "failed"
        assert execute("SELECT count(*) FROM idempotency_keys").scalar() == 0

    def test_personal_values_of_a_failed_attempt_are_not_kept(self) -> None:
        """Kept, they would stand in the way of those of the attempt that succeeds."""
        deeds["weigh"] = raising(ZeaError("The scales are broken."))
        execution = begin()
        deliver(execution, BLOCK)
        assert execute("SELECT count(*) FROM workflow_private").scalar() == 0
        deeds.clear()
        client.resume(execution, actor="test")
        deliver(execution, BLOCK)
        assert execute("SELECT value FROM workflow_private").scalars().all() == ["the blue one"]

    def test_moments_are_those_of_the_databases_clock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The process's clock is a day ahead."""
        now = clock.now()
        monkeypatch.setattr("zea.clock.now", lambda: datetime.now(UTC) + timedelta(days=1))
        deeds["carry"] = deadlock
        execution = begin()
        deliver(execution, BLOCK, "notify_sender", "carry")
        row = stored(execution)
        assert row.wakes_at is not None
        moments = [event.at for event in client.events(execution)] + [row.created_at, row.wakes_at]
        assert max(abs(each - now) for each in moments) < timedelta(minutes=5)


class TestSchema:
    """What must never be is refused by the tables themselves."""

    @pytest.mark.parametrize("type_", ["step.completed", "step.compensated"])
    def test_a_step_is_completed_once_and_compensated_once(self, type_: str) -> None:
        insert = "INSERT INTO workflow_events VALUES (:id, :position, :type, 'weigh', now(), 'test', '{}')"
        execution = begin()
        execute(insert, id=execution, position=100, type=type_)
        with pytest.raises(IntegrityError, match="uq_workflow_events_step"):
            execute(insert, id=execution, position=101, type=type_)

    def test_what_has_ended_is_not_due(self) -> None:
        execution = begin()
        drive(execution)
        with pytest.raises(IntegrityError, match="ended_is_not_due"):
            execute("UPDATE workflow_executions SET due_at = now() WHERE id = :id", id=execution)

    def test_a_start_key_is_taken_once(self) -> None:
        execute("UPDATE workflow_executions SET start_key = 'once' WHERE id = :id", id=begin())
        with pytest.raises(IntegrityError, match="uq_workflow_executions_start_key"):
            execute("UPDATE workflow_executions SET start_key = 'once' WHERE id = :id", id=begin())


@cache
def parcel_app() -> Celery:
    from tasks.steps import app, register_tasks  # reads Celery's settings, which the fixtures have made

    register_tasks(registry)
    return app


def parcel_task(unit: str) -> Task:
    return parcel_app().tasks[f"parcel.{unit}"]


class TestTask:
    """What Celery does with the rest of a chain follows from how a task ends."""

    @pytest.fixture
    def sent(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Names of the tasks that Celery's own hop would publish."""
        sent: list[str] = []
        monkeypatch.setattr("celery.canvas.Signature.apply_async", lambda self, *_, **__: sent.append(self.task))
        return sent

    def trace(self, execution_id: UUID, unit: str, *carried: str, dispatches: int = 0, **delivery: bool) -> None:
        """As a worker's process runs a message."""
        task = parcel_task(unit)
        chain = [task.app.signature(f"parcel.{name}", args=(str(execution_id), 1), immutable=True) for name in carried]
        arguments = (str(execution_id), stored(execution_id).epoch, *([dispatches] if dispatches else []))
        message_id = str(new_id())
        request = {"id": message_id, "hostname": "test", "delivery_info": delivery, "chain": chain[::-1]}
        build_tracer(task.name, task, app=task.app)(message_id, arguments, {}, request)

    def test_what_follows_in_its_chain_is_sent_once(self, sent: list[str]) -> None:
        execution = begin()
        deliver(execution, BLOCK, "carry", "notify_sender")
        self.trace(execution, "hand_over", "sign")
        assert (marks(execution).count("hand_over"), sent) == (1, ["parcel.sign"])

    def test_a_duplicate_does_not_look_as_if_it_ran_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        told: list[str] = []
        monkeypatch.setattr(Task, "send_event", lambda self, type, **_: told.append(type))
        execution = begin()
        self.trace(execution, BLOCK)
        assert told == []
        self.trace(execution, BLOCK)
        assert told == ["task-rejected"]

    def test_a_duplicate_sends_nothing(self, sent: list[str]) -> None:
        execution = begin()
        deliver(execution, BLOCK, "carry", "notify_sender", "hand_over")
        self.trace(execution, "hand_over", "sign")
        assert (marks(execution).count("hand_over"), sent) == (1, [])

    def test_a_failure_sends_nothing(self, sent: list[str]) -> None:
        deeds["hand_over"] = raising(Refusal())
        execution = begin()
        deliver(execution, BLOCK, "carry", "notify_sender")
        self.trace(execution, "hand_over", "sign")
        assert (stored(execution).status, sent) == ("compensating", [])

    @pytest.mark.parametrize("repeated", [{"dispatches": 1}, {"redelivered": True}], ids=str)
    def test_one_that_was_sent_or_delivered_again_says_that_it_has_started(self, repeated: dict[str, Any]) -> None:
        first, again = begin(), begin()
        self.trace(first, BLOCK)
        self.trace(again, BLOCK, **repeated)
        assert "step.started collect" not in types(first)
        assert "step.started collect" in types(again)

    def test_one_that_does_not_talk_to_the_database_any_more_is_ended(self) -> None:
        from tasks.steps import app

        steps = [task for name, task in app.tasks.items() if name.startswith("booking_request.")]
        assert steps
        assert {task.time_limit for task in steps} == {90}

    def test_sweeps_never_stand_behind_steps(self) -> None:
        assert dispatch.queue_of("sweep.redrive") not in [
            *registry.queues(),
            dispatch.queue_of("notifications.deliver"),
        ]

    def test_beats_ticks_expire_before_the_next_one(self) -> None:
        from tasks.schedule import app

        ticks = app.conf.beat_schedule.values()
        assert ticks
        assert [tick for tick in ticks if tick["options"].get("expires") != tick["schedule"]] == []


class TestProcess:
    """A process with other definitions does not start; a forked one has connections of its own."""

    @pytest.fixture
    def changed(self) -> None:
        from workflows import catalog

        with transaction() as db:
            catalog.registry.register(db)
        execute("UPDATE workflow_definitions SET fingerprint = 'another', shape = '{}'")

    @pytest.mark.usefixtures("changed")
    def test_a_worker_with_another_definition_does_not_start(self) -> None:
        from tasks import process

        with pytest.raises(SystemExit, match="is not the one that is registered"):
            process.worker_init.send(sender=None)

    @pytest.mark.usefixtures("changed")
    def test_an_api_with_another_definition_does_not_start(self) -> None:
        async def start() -> None:
            async with api_app.lifespan(FastAPI()):
                raise AssertionError("it started")

        with pytest.raises(FingerprintChanged):
            asyncio.run(start())

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_a_workers_process_has_connections_of_its_own(self) -> None:
        from tasks import process

        def child() -> int:
            process.worker_process_init.send(sender=None)
            return backend()

        ours = backend()
        assert in_a_fork(child) != ours
        assert backend() == ours


class TestBroker:
    """Whatever the broker does, a publish ends within a second or so, and what was not sent stays due."""

    def seconds_to_publish(self, address: str) -> float:
        import celeryconfig  # reads the broker's address, which the fixtures have made

        app = Celery("elsewhere")
        app.config_from_object(celeryconfig)
        app.conf.broker_url = address
        begun_at = time.monotonic()
        signature = app.signature("nothing", options={"ignore_result": True})
        # In a thread of its own, so that one that hangs fails the test and no more.
        publishing = threading.Thread(target=self.publish, args=(signature, timedelta()), daemon=True)
        publishing.start()
        publishing.join(5)
        return time.monotonic() - begun_at

    @pytest.fixture(autouse=True)
    def publishing(self, published: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()

    publish = staticmethod(dispatch._publish)

    def test_that_is_silent_holds_nobody_up(self) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as silent:
            assert self.seconds_to_publish(f"redis://127.0.0.1:{silent.getsockname()[1]}/0") < 2

    def test_that_is_away_holds_nobody_up(self) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as closed:
            address = f"redis://127.0.0.1:{closed.getsockname()[1]}/0"
        assert self.seconds_to_publish(address) < 2


def test_no_thread_waits_for_anothers_turn_to_publish() -> None:
    from zea.broker import app

    assert app.conf.broker_pool_limit >= POOL_SIZE


class TestStart:
    """Accepted means committed, together with what the caller committed along."""

    def test_in_a_callers_transaction_ends_with_it(self, published: list[str]) -> None:
        def start_and_fail() -> None:
            with transaction() as db:
                client.start(parcel, Parcel(), actor="test", db=db)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            start_and_fail()
        assert client.list_executions().items == []
        assert published == []

    def test_of_what_no_worker_would_run_is_refused(self) -> None:
        changed = Workflow(name=parcel.name, version=1, input=Parcel, flow=[step(sign)])
        for stranger in (changed, Workflow(name="test.Stranger", version=1, input=Parcel, flow=[step(sign)])):
            with pytest.raises(InvalidInput, match="is not in the catalog"):
                client.start(stranger, Parcel(), actor="test")

    def test_that_fails_leaves_its_idempotency_key_free(
        self, api: httpx.Client, athlete: Person, coach: Person, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Failing:
            def start(self, *_: object, **__: object) -> None:
                raise ZeaError("It cannot be started.")

        def ask() -> httpx.Response:
            body = {"coach_id": str(coach.user_id), "slot_datetime": "2099-01-01T10:00:00Z"}
            headers = {**athlete.headers, "Idempotency-Key": "k1", "Prefer": "wait=0"}
            return api.post("/api/bookings", json=body, headers=headers)

        with monkeypatch.context() as patch:
            patch.setattr("zea.api.routes.booking_requests.client", Failing())
            assert ask().status_code == 500
        answer = ask()
        assert answer.status_code == 202, answer.text
        assert stored(UUID(answer.json()["execution_id"])).status == "running"

    def test_what_is_announced_is_committed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[str] = []
        monkeypatch.setattr(dispatch, "_announce", lambda told: seen.append(stored(told.execution_id).status))
        drive(begin())
        assert seen[-1] == "completed"


class TestWaiting:
    """Whoever waits is told, whatever becomes of the announcements."""

    class Rows:
        def standings(self, execution_ids: Sequence[UUID]) -> list[Standing]:
            return [Standing(each, "completed", {}, None) for each in execution_ids]

    def seconds_to_be_told(self) -> float:
        async def wait() -> None:
            room = waiting.WaitingRoom(self.Rows())  # type: ignore[arg-type]  # all that the room asks of a client
            with room.expecting(new_id()) as waiter:
                async with room.open():
                    await waiter.until(lambda standing: standing.status == "completed", timedelta(seconds=5))

        begun_at = time.monotonic()
        asyncio.run(wait())
        return time.monotonic() - begun_at

    def test_a_look_finds_what_was_not_heard(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def away() -> None:
            raise redis.ConnectionError("The broker is away.")

        monkeypatch.setattr(waiting, "_subscription", away)
        assert self.seconds_to_be_told() < 3

    def test_a_new_subscription_is_followed_by_a_look(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Silent:
            async def get_message(self, **_: float) -> None:
                await asyncio.sleep(60)

        @asynccontextmanager
        async def subscription() -> AsyncIterator[Silent]:
            yield Silent()

        monkeypatch.setattr(waiting, "POLL_SECONDS", 60)
        monkeypatch.setattr(waiting, "_subscription", subscription)
        assert self.seconds_to_be_told() < 3


class TestSweep:
    """It sends again what is lost and nothing else, however many sweeps there are."""

    def lose(self, execution_id: UUID) -> None:
        execute(
            """UPDATE workflow_executions
               SET due_at = clock_timestamp(), dispatched_at = clock_timestamp() - interval '1 minute'
               WHERE id = :id""",
            id=execution_id,
        )

    def pass_probe(self, queue: str) -> None:
        with transaction() as db:
            probed_at = backlog.probe(db, queue, timedelta(0))
            assert probed_at is not None
            backlog.probe_passed(db, queue, probed_at)

    def test_of_two_units_only_the_one_whose_queue_was_overtaken_is_lost(self, published: list[str]) -> None:
        execution = begin()
        deliver(execution, BLOCK)
        published.clear()
        self.lose(execution)
        self.pass_probe("notifications")
        assert sweep.redrive(registry) == 1
        assert published == ["parcel.notify_sender"]

    def test_a_second_sweep_that_found_the_same_does_nothing(self) -> None:
        execution = begin()
        self.lose(execution)
        self.pass_probe("workflows")
        assert sweep.redrive(registry) == 1
        with transaction() as db:
            assert backlog.lock_if_due(db, execution) is None

    def sleeping(self) -> UUID:
        deeds["carry"] = deadlock
        execution = begin()
        deliver(execution, BLOCK, "notify_sender", "carry")
        return execution

    def wake(self, execution_id: UUID) -> None:
        timers = text("""
            UPDATE workflow_executions SET wakes_at = clock_timestamp(),
                state = jsonb_set(state, '{timers,carry}', to_jsonb(clock_timestamp()))
            WHERE id = :id""")
        with transaction() as db:
            db.execute(timers, {"id": execution_id})

    def test_a_timer_fires_once_and_not_before_its_moment(self) -> None:
        execution = self.sleeping()
        with transaction() as db:
            assert backlog.lock_if_awake(db, execution) is None
        assert sweep.fire(registry) == 0
        self.wake(execution)
        assert sweep.fire(registry) == 1
        with transaction() as db:
            assert backlog.lock_if_awake(db, execution) is None
        assert types(execution).count("timer.fired") == 1

    @pytest.mark.parametrize("take", [backlog.lock_if_due, backlog.lock_if_awake], ids=lambda take: take.__name__)
    def test_a_row_that_is_held_is_passed_over(self, take: Callable[[Session, UUID], object]) -> None:
        execution = self.sleeping()
        self.wake(execution)
        execute("UPDATE workflow_executions SET due_at = clock_timestamp() WHERE id = :id", id=execution)
        with transaction() as holder, transaction() as db:
            assert store.lock(holder, execution)
            db.execute(text("SET LOCAL lock_timeout = '1s'"))
            assert take(db, execution) is None

    def test_timers_of_unknown_versions_are_left_alone(self) -> None:
        newer = Workflow(name=parcel.name, version=2, input=Parcel, flow=parcel.flow)
        execution = self.sleeping()
        self.wake(execution)
        with transaction() as db:
            assert backlog.awake(db, Registry(newer).versions(), limit=10) == []
            assert backlog.awake(db, registry.versions(), limit=10) == [execution]

    def test_a_probe_that_comes_late_does_not_turn_the_clock_back(self) -> None:
        with transaction() as db:
            first, second = (backlog.probe(db, "workflows", timedelta(0)) for _ in range(2))
            assert first is not None
            assert second is not None
            backlog.probe_passed(db, "workflows", second)
            backlog.probe_passed(db, "workflows", first)
        assert execute("SELECT passed_at FROM workflow_queues").scalar() == second

    def test_a_long_line_puts_the_next_probe_off_for_seconds_only(self) -> None:
        with transaction() as db:
            backlog.probe(db, "workflows", timedelta(0))
        lag = "UPDATE workflow_queues SET probed_at = clock_timestamp() - :ago * :second, passed_at = :passed"
        for ago, sent in ((1, False), (4, False), (6, True)):
            execute(lag, ago=ago, second=SECOND, passed=clock.now() - timedelta(hours=1))
            with transaction() as db:
                assert (backlog.probe(db, "workflows", SECOND / 2) is not None) == sent


class TestInterventions:
    """What people do to an execution waits for the step that holds it, and is all or nothing."""

    def test_a_cancellation_waits_for_the_step_that_holds_the_row(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(interventions, "STEP_PATIENCE", SECOND / 5)
        execution = begin()
        with transaction() as holder:
            assert store.claim(holder, execution, BLOCK, 3 * SECOND, with_row=True)
            with pytest.raises(Busy):
                client.cancel(execution, actor="test", reason="no")
        assert stored(execution).status == "running"

    def test_a_block_is_undone_as_a_whole_or_not_at_all(self) -> None:
        deeds["hand_over"] = raising(Refusal())
        deeds["undo_collect"] = raising(ZeaError("Nobody is at home."))
        execution = begin()
        assert drive(execution) == "failed"
        assert "undo_weigh" not in marks(execution)
        assert "step.compensated weigh" not in types(execution)
        deeds.clear()
        client.resume(execution, actor="test")
        assert drive(execution) == "failed"
        assert [each for each in types(execution) if "compensated" in each] == [
            "step.compensated weigh",
            "step.compensated collect",
        ]

    def test_what_they_refuse_says_what_to_do_instead(self) -> None:
        ended = begin()
        client.cancel(ended, actor="test", reason="no")
        for intervene in (client.cancel, client.resume):
            with pytest.raises(NotPossible, match="Begin it anew with rerun"):
                intervene(ended, actor="test", reason="no")
        with pytest.raises(NotPossible, match="It goes on by itself"):
            client.resume(begin(), actor="test")


class TestStep:
    """What a step returns is what it says that it returns; what it returns otherwise would be lost."""

    @pytest.mark.parametrize(
        ("name", "returned", "said"),
        [
            ("weigh", 12, "weigh returned a int instead of None"),
            ("collect", {"door": "blue"}, "collect returned a dict instead of Collected"),
        ],
    )
    def test_that_returns_something_else_fails(self, name: str, returned: object, said: str) -> None:
        answers[name] = returned
        execution = begin()
        deliver(execution, BLOCK)
        view = client.get_execution_status(execution)
        assert view.error is not None
        assert (view.error.kind, view.resumable) == ("invalid_input", True)
        assert said in view.error.message
        assert marks(execution) == []

    @pytest.mark.parametrize("error", [Busy(), Unreachable()], ids=lambda error: error.kind)
    def test_that_finds_somebody_busy_or_away_is_tried_again(self, error: ZeaError) -> None:
        deeds["weigh"] = raising(error)
        execution = begin()
        deliver(execution, BLOCK)
        assert types(execution)[-1] == "step.retried weigh"

    def test_that_takes_too_long_is_told_how_long_it_may_take(self) -> None:
        deeds["hand_over"] = lambda db: db.execute(text("SET LOCAL statement_timeout = 50; SELECT pg_sleep(5)"))
        execution = begin()
        deliver(execution, BLOCK, "carry", "notify_sender", "hand_over")
        retried = client.events(execution)[-1]
        assert (retried.type, retried.data["kind"]) == ("step.retried", "timeout")
        assert retried.data["message"].endswith(": hand_over may take 30 s")


class TestNewerRelease:
    """While two releases run, the older one shows what the newer one has written."""

    def test_its_events_and_statuses_are_shown(self) -> None:
        execution = begin()
        execute("ALTER TABLE workflow_executions DROP CONSTRAINT ck_workflow_executions_status")
        execute("UPDATE workflow_executions SET status = 'dreaming' WHERE id = :id", id=execution)
        execute("""
            INSERT INTO workflow_events
            SELECT execution_id, 2, 'dream.begun', NULL, at, actor, '{"of": "sheep"}' FROM workflow_events""")
        event = client.events(execution)[-1]
        assert (event.type, event.data) == ("dream.begun", {"of": "sheep"})
        assert client.get_execution_status(execution).status == "dreaming"
        assert [each.status for each in client.list_executions().items] == ["dreaming"]


class TestRetry:
    def test_those_who_failed_together_do_not_come_back_together(self) -> None:
        assert len({Retry().delay_after(1) for _ in range(20)}) > 10


class TestPersonalValues:
    """They are nowhere but in the one table from which they can be erased."""

    def test_are_in_no_error_of_the_database(self) -> None:
        with pytest.raises(DBAPIError) as caught:
            execute("SELECT 1 / (length(:note) - length(:note))", note="my left knee")
        assert "my left knee" not in str(caught.value)

    def test_are_not_kept_when_the_database_quotes_the_row_that_it_refuses(self) -> None:
        execute("CREATE TABLE notes (note text CHECK (length(note) < 3))")
        values = {"note": "my left knee"}
        deeds["weigh"] = lambda db: db.execute(text("INSERT INTO notes VALUES (:note)"), values)
        execution = begin()
        deliver(execution, BLOCK)
        view = client.get_execution_status(execution)
        assert view.error is not None
        assert view.error.kind == "database_error"
        assert "knee" not in str(view)

    def test_inside_of_another_value_are_refused(self) -> None:
        @dataclass(frozen=True)
        class Address:
            street: Personal[str]

        @dataclass(frozen=True)
        class Letter:
            address: Address

        with pytest.raises(DefinitionError, match="a part of address is personal"):
            Workflow(name="test.Letter", version=1, input=Letter, flow=[step(sign)])
