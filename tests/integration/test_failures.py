"""What happens when steps fail: tried again, undone, resumed, run anew; each once, and told as it was."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.integration.test_runner import assert_replay_gives_the_row, first_tasks
from workflows.engine import backlog, store, sweep
from workflows.engine.client import ExecutionClient
from workflows.engine.definition import Workflow, atomic, parallel, step
from workflows.engine.planner import next_moves
from workflows.engine.policy import MAXIMUM_VANISHED, Retry
from workflows.engine.registry import Registry
from workflows.engine.runner import Delivery, Outcome, Runner
from workflows.engine.status import ExecutionView
from zea.context import Personal, StepContext
from zea.db import transaction
from zea.errors import InvalidInput, NotFound, NotPossible, Refusal, StaleMessage, ZeaError

ACTOR = "user:admin"


@dataclass(frozen=True)
class Journey:
    """Where to; ``wish`` is nobody's business."""

    traveller: str
    wish: Personal[str | None] = None


@dataclass(frozen=True)
class Room:
    room: int


@dataclass(frozen=True)
class Seat:
    seat: int


class NoSeat(Refusal):
    """There is no seat."""

    kind = "no_seat"


def note(db: Session, ctx: StepContext, what: str = "") -> None:
    """An effect: a row that tells which step made it, in the order in which they did."""
    db.execute(
        text("INSERT INTO effects (execution_id, step, told) VALUES (:id, :step, :told)"),
        {"id": ctx.execution_id, "step": ctx.step, "told": what},
    )
    trouble = db.execute(text("SELECT code FROM troubles WHERE step = :step"), {"step": ctx.step}).scalar()
    match trouble:
        case None:
            return
        case "refused":
            raise NoSeat
        case "domain":
            raise ZeaError("It cannot be done.")
        case "bug":
            raise ValueError("nobody expected this")
        case code:
            db.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '{code}'; END $$"))


def pack(db: Session, *, ctx: StepContext, traveller: str) -> None:
    note(db, ctx, traveller)


def unpack(db: Session, *, ctx: StepContext, traveller: str) -> None:
    note(db, ctx, traveller)


def take_room(db: Session, *, ctx: StepContext) -> Room:
    note(db, ctx)
    return Room(12)


def leave_room(db: Session, *, ctx: StepContext, room: int) -> None:
    note(db, ctx, str(room))


def make_bed(db: Session, *, ctx: StepContext) -> None:
    note(db, ctx)


def take_seat(db: Session, *, ctx: StepContext, wish: str | None) -> Seat:
    note(db, ctx, wish or "")
    return Seat(7)


def leave_seat(db: Session, *, ctx: StepContext, seat: int, wish: str | None) -> None:
    note(db, ctx, f"{seat} {wish}")


def travel(db: Session, *, ctx: StepContext, room: int, seat: int) -> None:
    note(db, ctx, f"{room} {seat}")


journey = Workflow(
    name="test.Journey",
    version=1,
    input=Journey,
    subject="traveller:{traveller}",
    flow=[
        step(pack, undo=unpack),
        parallel(
            atomic(step(take_room, undo=leave_room), step(make_bed)),
            step(take_seat, undo=leave_seat, retry=Retry(attempts=2, first_delay=timedelta(minutes=1))),
        ),
        step(travel, timeout=timedelta(seconds=20)),
    ],
)


def see(db: Session, *, ctx: StepContext) -> None:
    note(db, ctx)


def hear(db: Session, *, ctx: StepContext) -> None:
    note(db, ctx)


def tell(db: Session, *, ctx: StepContext, traveller: str) -> None:
    note(db, ctx, traveller)


def rest(db: Session, *, ctx: StepContext) -> None:
    note(db, ctx)


# Nothing in it can be undone.
visit = Workflow(
    name="test.Visit",
    version=1,
    input=Journey,
    flow=[step(see), parallel(step(hear), [step(tell), step(rest)])],
)
registry = Registry(journey, visit)
runner = Runner(registry, worker="worker:test")
client = ExecutionClient(registry)
ROOM = "take_room_to_make_bed"


@pytest.fixture(autouse=True)
def tables(database: str) -> None:
    with transaction() as db:
        db.execute(
            text("CREATE TABLE effects (number serial, execution_id uuid, step text, told text)"),
        )
        db.execute(text("CREATE TABLE troubles (step text PRIMARY KEY, code text)"))


@pytest.fixture(autouse=True)
def published(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """Names of the tasks that would be published, with the seconds that they would be held back."""
    sent: list[tuple[str, float]] = []

    def publish(signature: Any, delay: timedelta) -> None:
        sent.extend((name.rpartition(".")[2], delay.total_seconds()) for name in first_tasks(signature))

    monkeypatch.setattr("workflows.engine.dispatch._publish", publish)
    return sent


def trouble(step_name: str, code: str) -> None:
    with transaction() as db:
        db.execute(text("INSERT INTO troubles VALUES (:step, :code)"), {"step": step_name, "code": code})


def mend() -> None:
    with transaction() as db:
        db.execute(text("DELETE FROM troubles"))


def begin(workflow: Workflow = journey, wish: str | None = None) -> UUID:
    return client.start(workflow, Journey("Ana", wish), actor="test").execution_id


def stored(execution_id: UUID) -> store.Stored:
    with transaction() as db:
        row = store.read(db, execution_id)
    assert row is not None
    return row


def deliver(execution_id: UUID, unit: str, *, repeated: bool = False) -> Outcome:
    """A message of the present epoch."""
    row = stored(execution_id)
    outcome = runner.run(Delivery(row.workflow, unit, execution_id, row.epoch, repeated=repeated))
    assert_replay_gives_the_row(execution_id, workflow_of(row))
    return outcome


def drive(execution_id: UUID, *, fire: bool = True) -> ExecutionView:
    """Deliver what may run until nothing may; timers fire at once."""
    for _ in range(100):
        row = stored(execution_id)
        moves = next_moves(workflow_of(row), row.current)
        if moves:
            deliver(execution_id, moves[0].name)
        elif fire and row.wakes_at:
            fire_timers(execution_id)
        else:
            return client.get_execution_status(execution_id)
    raise AssertionError("it does not end")


def fire_timers(execution_id: UUID) -> None:
    with transaction() as db:
        db.execute(
            text("""
                UPDATE workflow_executions SET wakes_at = clock_timestamp(), state = jsonb_set(state, '{timers}', (
                    SELECT jsonb_object_agg(key, to_jsonb(clock_timestamp())) FROM jsonb_each(state -> 'timers')
                )) WHERE id = :id"""),
            {"id": execution_id},
        )
    assert sweep.fire(registry) == 1


def workflow_of(row: store.Stored) -> Workflow:
    workflow = registry.get(row.workflow, row.version)
    assert workflow is not None
    return workflow


def effects(execution_id: UUID) -> list[str]:
    """The steps whose effects stand, in the order in which they were made."""
    query = text("SELECT step FROM effects WHERE execution_id = :id ORDER BY number")
    with transaction() as db:
        return list(db.execute(query, {"id": execution_id}).scalars())


def told_by(execution_id: UUID, step_name: str) -> str:
    query = text("SELECT told FROM effects WHERE execution_id = :id AND step = :step")
    with transaction() as db:
        return str(db.execute(query, {"id": execution_id, "step": step_name}).scalar_one())


def types(execution_id: UUID) -> list[str]:
    return [f"{event.type} {event.step}" if event.step else event.type for event in client.events(execution_id)]


def statuses(view: ExecutionView) -> dict[str, str]:
    return {step.step_name: str(step.status) for step in view.steps}


class TestCompensation:
    """What was completed is undone, newest first, one at a time, and only then has the execution failed."""

    def test_undoes_what_was_completed_newest_first(self) -> None:
        trouble("travel", "domain")
        execution = begin(wish="a window")
        for unit in ("pack", "take_seat", ROOM, "travel"):
            deliver(execution, unit)
        assert client.get_execution_status(execution).status == "compensating"
        assert stored(execution).epoch == 2
        view = drive(execution)
        assert effects(execution)[4:] == ["undo_take_room", "undo_take_seat", "undo_pack"]
        assert (view.status, view.resumable) == ("failed", False)
        assert view.error is not None
        assert (view.error.kind, view.error.message) == ("internal_error", "It cannot be done.")
        assert types(execution)[-6:] == [
            "step.failed travel",
            "execution.compensating",
            "step.compensated take_room",
            "step.compensated take_seat",
            "step.compensated pack",
            "execution.failed",
        ]
        assert statuses(view) == {
            "pack": "compensated",
            "take_room": "compensated",
            "make_bed": "completed",
            "take_seat": "compensated",
            "travel": "failed",
        }

    def test_gives_an_undo_what_its_step_took_and_returned(self) -> None:
        trouble("travel", "refused")
        execution = begin(wish="a window")
        drive(execution)
        assert told_by(execution, "undo_take_seat") == "7 a window"
        assert told_by(execution, "undo_take_room") == "12"
        assert told_by(execution, "undo_pack") == "Ana"

    def test_waits_until_the_other_branches_have_ended(self) -> None:
        trouble("take_seat", "refused")
        execution = begin()
        deliver(execution, "pack")
        deliver(execution, "take_seat")
        assert client.get_execution_status(execution).status == "running"
        deliver(execution, ROOM)
        assert client.get_execution_status(execution).status == "compensating"
        view = drive(execution)
        assert (view.status, view.resumable) == ("failed", False)
        assert effects(execution) == ["pack", "take_room", "make_bed", "undo_take_room", "undo_pack"]

    def test_publishes_one_undo_after_the_other(self, published: list[tuple[str, float]]) -> None:
        trouble("travel", "domain")
        execution = begin()
        for unit in ("pack", "take_seat", ROOM, "travel", f"undo_{ROOM}"):
            deliver(execution, unit)
        assert published[-2:] == [(f"undo_{ROOM}", 0), ("undo_take_seat", 0)]

    def test_does_not_act_on_messages_from_before_it_began(self) -> None:
        trouble("travel", "domain")
        execution = begin()
        drive(execution)
        for unit in ("pack", ROOM, "take_seat", "travel", "undo_pack"):
            for epoch in (1, 2):
                with pytest.raises(StaleMessage):
                    runner.run(Delivery(journey.name, unit, execution, epoch))
        assert effects(execution).count("undo_pack") == 1

    def test_that_fails_is_told_and_can_be_resumed(self) -> None:
        trouble("travel", "domain")
        trouble("undo_take_seat", "bug")
        execution = begin()
        view = drive(execution)
        assert view.error is not None
        assert (view.status, view.error.kind, view.resumable) == ("failed", "compensation_failed", True)
        assert "undo_take_seat" in view.error.message
        assert statuses(view)["take_seat"] == "completed"
        assert "undo_pack" not in effects(execution)
        mend()
        resumed = client.resume(execution, actor=ACTOR, reason="mended")
        assert resumed.status == "compensating"
        view = drive(execution)
        assert view.error is not None
        assert (view.status, view.error.kind, view.resumable) == ("failed", "internal_error", False)
        assert [effects(execution).count(f"undo_{name}") for name in ("take_seat", "take_room", "pack")] == [1, 1, 1]

    def test_tries_an_undo_again_by_its_steps_policy(self, published: list[tuple[str, float]]) -> None:
        trouble("travel", "domain")
        trouble("undo_pack", "40P01")
        execution = begin()
        for unit in ("pack", ROOM, "take_seat", "travel", "undo_take_seat", f"undo_{ROOM}", "undo_pack"):
            deliver(execution, unit)
        assert types(execution)[-1] == "step.retried undo_pack"
        name, delay = published[-1]
        assert (name, 0.1 < delay < 0.3) == ("undo_pack", True)
        mend()
        assert drive(execution).status == "failed"


class TestRetry:
    """Only what passes is tried again, as often and as late as the step's policy says."""

    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            ("40P01", "deadlock"),
            ("40001", "serialization_failure"),
            ("55P03", "timeout"),
            ("57014", "timeout"),
        ],
    )
    def test_ends_with_the_attempts_of_the_policy(self, code: str, kind: str) -> None:
        trouble("see", code)
        execution = begin(visit)
        view = drive(execution)
        assert view.error is not None
        assert (view.status, view.error.kind, view.resumable) == ("failed", kind, True)
        assert types(execution)[1:] == ["step.retried see"] * 4 + ["step.failed see", "execution.failed"]
        assert view.steps[0].attempt == 5
        assert effects(execution) == []

    @pytest.mark.parametrize("code", ["domain", "bug", "refused", "23505"])
    def test_is_not_for_what_does_not_pass(self, code: str) -> None:
        trouble("see", code)
        execution = begin(visit)
        assert drive(execution).status == "failed"
        assert "step.retried see" not in types(execution)

    def test_waits_longer_each_time(self, published: list[tuple[str, float]]) -> None:
        trouble("see", "40P01")
        drive(begin(visit))
        delays = [delay for name, delay in published if name == "see" and delay]
        assert len(delays) == 4
        for delay, nominal in zip(delays, (0.2, 0.4, 0.8, 1.6), strict=True):
            assert 0.75 * nominal <= delay <= 1.25 * nominal

    def test_over_thirty_seconds_is_a_timer_and_no_message(self, published: list[tuple[str, float]]) -> None:
        trouble("take_seat", "40P01")
        execution = begin()
        for unit in ("pack", ROOM):
            deliver(execution, unit)
        published.clear()
        deliver(execution, "take_seat")
        assert published == []
        view = client.get_execution_status(execution)
        assert (view.status, statuses(view)["take_seat"]) == ("sleeping", "waiting")
        assert [timer.timer for timer in view.timers] == ["take_seat"]
        assert 40 < view.timers[0].remaining_seconds < 76
        assert stored(execution).due_at is None
        with pytest.raises(StaleMessage):
            deliver(execution, "take_seat")
        assert sweep.fire(registry) == 0
        mend()
        fire_timers(execution)
        assert published == [("take_seat", 0)]
        view = drive(execution)
        assert view.status == "completed"
        assert view.steps[3].attempt == 2
        assert types(execution).count("timer.set") == types(execution).count("timer.fired") == 1

    def test_a_branch_that_waits_for_the_clock_does_not_hold_up_a_failure(self) -> None:
        trouble("take_seat", "40P01")
        trouble("take_room", "domain")
        execution = begin()
        for unit in ("pack", "take_seat"):
            deliver(execution, unit)
        assert client.get_execution_status(execution).status == "running"
        deliver(execution, ROOM)
        assert "timer.cancelled" in types(execution)
        assert client.get_execution_status(execution).status == "compensating"
        assert drive(execution).status == "failed"
        assert effects(execution) == ["pack", "undo_pack"]


class TestVanishedAttempts:
    """An attempt is known to have begun only where that was committed; five that vanish are enough."""

    def vanish(self, execution_id: UUID, unit: str) -> None:
        """A worker dies inside the step: nothing of its transaction is left, but what it said beforehand is."""

        class Killed(BaseException):
            pass

        def die(*_: object, **__: object) -> None:
            raise Killed

        delivery = Delivery(visit.name, unit, execution_id, stored(execution_id).epoch, repeated=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("workflows.engine.runner.Attempt.make", die)
            with pytest.raises(Killed):
                runner.run(delivery)
        assert_replay_gives_the_row(execution_id, visit)

    def test_the_first_short_delivery_says_nothing_beforehand(self) -> None:
        execution = begin(visit)
        deliver(execution, "see")
        assert types(execution) == ["execution.started", "step.completed see"]

    def test_a_repeated_one_and_a_long_step_do(self) -> None:
        execution = begin()
        deliver(execution, "pack", repeated=True)
        deliver(execution, ROOM, repeated=True)
        deliver(execution, "take_seat")
        deliver(execution, "travel")
        assert [each for each in types(execution) if "started" in each] == [
            "execution.started",
            "step.started pack",
            "step.started take_room",
            "step.started travel",
        ]

    def test_are_counted_and_end_as_worker_lost(self) -> None:
        execution = begin(visit)
        for _ in range(MAXIMUM_VANISHED):
            self.vanish(execution, "see")
        assert client.get_execution_status(execution).status == "running"
        deliver(execution, "see", repeated=True)
        view = client.get_execution_status(execution)
        assert view.error is not None
        assert (view.status, view.error.kind, view.resumable) == ("failed", "worker_lost", True)
        assert types(execution).count("step.started see") == MAXIMUM_VANISHED
        assert effects(execution) == []
        client.resume(execution, actor=ACTOR)
        view = drive(execution)
        assert (view.status, view.steps[0].attempt) == ("completed", MAXIMUM_VANISHED + 1)

    def test_in_between_do_not_count_once_one_has_ended(self) -> None:
        execution = begin(visit)
        for _ in range(MAXIMUM_VANISHED - 1):
            self.vanish(execution, "see")
        trouble("see", "40P01")
        deliver(execution, "see", repeated=True)
        mend()
        for _ in range(MAXIMUM_VANISHED - 1):
            self.vanish(execution, "see")
        assert drive(execution).status == "completed"

    def test_a_duplicate_of_a_running_step_does_not_count_as_a_start(self) -> None:
        execution = begin(visit)
        with transaction() as db:
            assert store.claim(db, execution, "see", timedelta(seconds=30), with_row=False)
            with pytest.raises(StaleMessage):
                deliver(execution, "see", repeated=True)
        assert types(execution) == ["execution.started"]


class TestCancel:
    """Whoever cancels ends the execution, with their name and reason; what was completed is undone."""

    def test_undoes_what_was_completed(self) -> None:
        execution = begin()
        for unit in ("pack", "take_seat"):
            deliver(execution, unit)
        view = client.cancel(execution, actor=ACTOR, reason="the coach is ill")
        assert view.status == "compensating"
        with pytest.raises(StaleMessage):
            runner.run(Delivery(journey.name, ROOM, execution, 1))
        view = drive(execution)
        assert (view.status, view.resumable) == ("cancelled", False)
        assert view.error is not None
        assert (view.error.kind, view.error.message) == ("cancelled", "the coach is ill")
        assert effects(execution) == ["pack", "take_seat", "undo_take_seat", "undo_pack"]
        compensating, cancelled = (
            next(event for event in client.events(execution) if event.type == f"execution.{what}")
            for what in ("compensating", "cancelled")
        )
        assert (compensating.actor, compensating.data["reason"]) == (ACTOR, "the coach is ill")
        assert cancelled.data == {"cancelled_by": ACTOR, "reason": "the coach is ill"}

    def test_ends_at_once_where_nothing_is_to_be_undone(self) -> None:
        execution = begin(visit)
        deliver(execution, "see")
        assert client.cancel(execution, actor=ACTOR, reason="no").status == "cancelled"
        assert_replay_gives_the_row(execution, visit)
        for unit in ("hear", "tell"):
            with pytest.raises(StaleMessage):
                deliver(execution, unit)

    def test_cancels_timers_along(self) -> None:
        trouble("take_seat", "40P01")
        execution = begin()
        for unit in ("pack", "take_seat", ROOM):
            deliver(execution, unit)
        client.cancel(execution, actor=ACTOR, reason="no")
        assert stored(execution).wakes_at is None
        assert drive(execution).status == "cancelled"
        assert "timer.cancelled" in types(execution)

    def test_a_branch_that_runs_meanwhile_leaves_no_effect(self) -> None:
        """It closes after the cancellation was committed, and finds that it is no longer wanted."""
        execution = begin(visit)
        deliver(execution, "see")
        closing = store.lock

        def cancel_first(db: Session, execution_id: UUID) -> store.Stored | None:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(store, "lock", closing)
                client.cancel(execution_id, actor=ACTOR, reason="no")
            return closing(db, execution_id)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "lock", cancel_first)
            with pytest.raises(StaleMessage):
                runner.run(Delivery(visit.name, "hear", execution, 1))
        assert effects(execution) == ["see"]

    def test_is_refused_once_it_has_ended_or_is_being_undone(self) -> None:
        trouble("travel", "domain")
        execution = begin()
        for unit in ("pack", "take_seat", ROOM, "travel"):
            deliver(execution, unit)
        with pytest.raises(NotPossible, match="compensating already"):
            client.cancel(execution, actor=ACTOR, reason="no")
        drive(execution)
        with pytest.raises(NotPossible, match="failed already"):
            client.cancel(execution, actor=ACTOR, reason="no")


class TestResume:
    """A failed execution goes on where it failed, with new attempts, as often as it takes."""

    def test_runs_what_failed_and_nothing_else(self) -> None:
        trouble("tell", "domain")
        trouble("hear", "bug")
        execution = begin(visit)
        assert drive(execution).resumable
        with pytest.raises(StaleMessage):
            deliver(execution, "tell")
        mend()
        view = client.resume(execution, actor=ACTOR, reason="mended")
        assert (view.status, view.error) == ("running", None)
        with pytest.raises(StaleMessage):
            runner.run(Delivery(visit.name, "tell", execution, 1))
        view = drive(execution)
        assert view.status == "completed"
        assert effects(execution) == ["see", "hear", "tell", "rest"]
        assert [step.attempt for step in view.steps] == [1, 2, 2, 1]
        resumed = next(event for event in client.events(execution) if event.type == "execution.resumed")
        assert (resumed.actor, resumed.data) == (ACTOR, {"steps": ["hear", "tell"], "reason": "mended"})

    def test_gives_a_step_all_its_attempts_again(self) -> None:
        trouble("see", "40P01")
        execution = begin(visit)
        drive(execution)
        client.resume(execution, actor=ACTOR)
        drive(execution)
        assert types(execution).count("step.retried see") == 8

    def test_is_refused_for_a_refusal_whichever_branch_it_came_from(self) -> None:
        trouble("hear", "bug")
        trouble("tell", "refused")
        execution = begin(visit)
        view = drive(execution)
        assert (view.status, view.resumable) == ("failed", False)
        with pytest.raises(NotPossible, match="was refused"):
            client.resume(execution, actor=ACTOR)

    def test_is_refused_for_what_was_undone_runs_or_does_not_exist(self) -> None:
        trouble("travel", "domain")
        undone, running = begin(), begin()
        drive(undone)
        with pytest.raises(NotPossible, match="was undone"):
            client.resume(undone, actor=ACTOR)
        with pytest.raises(NotPossible, match="is running"):
            client.resume(running, actor=ACTOR)
        with pytest.raises(NotFound):
            client.resume(UUID(int=1), actor=ACTOR)


class TestRerun:
    """A new execution with the inputs of an old one, linked to it."""

    def test_whole_runs_everything_again_with_the_personal_values(self) -> None:
        trouble("travel", "refused")
        old = begin(wish="a window")
        drive(old)
        mend()
        new = client.rerun(old, actor=ACTOR, reason="there is a seat now").execution_id
        view = drive(new)
        assert (view.status, view.rerun_of, view.started_by) == ("completed", old, ACTOR)
        assert told_by(new, "take_seat") == "a window"
        started = client.events(new)[0]
        assert (started.data["rerun_of"], started.data["reason"]) == (str(old), "there is a seat now")
        assert client.get_execution_status(old).status == "failed"

    def test_from_a_step_takes_over_what_stands_before_and_beside_it(self, published: list[tuple[str, float]]) -> None:
        old = begin(visit)
        drive(old)
        published.clear()
        new = client.rerun(old, actor=ACTOR, reason="again", from_step="tell").execution_id
        assert published == [("tell", 0)]
        assert_replay_gives_the_row(new, visit)
        view = drive(new)
        assert view.status == "completed"
        assert statuses(view) == {"see": "skipped", "hear": "skipped", "tell": "completed", "rest": "completed"}
        assert effects(new) == ["tell", "rest"]
        assert view.progress_percentage == 100

    def test_never_undoes_what_it_took_over(self) -> None:
        old = begin()
        drive(old)
        trouble("travel", "domain")
        new = client.rerun(old, actor=ACTOR, reason="again", from_step="take_seat").execution_id
        view = drive(new)
        assert (view.status, effects(new)) == ("failed", ["take_seat", "undo_take_seat"])

    def test_from_a_step_of_a_block_runs_the_block(self) -> None:
        old = begin()
        drive(old)
        new = client.rerun(old, actor=ACTOR, reason="again", from_step="make_bed").execution_id
        drive(new)
        assert effects(new) == ["take_room", "make_bed", "travel"]

    def test_is_refused_where_what_it_builds_on_does_not_stand(self) -> None:
        trouble("travel", "domain")
        old = begin()
        drive(old)
        with pytest.raises(NotPossible, match="not all stands that travel builds on"):
            client.rerun(old, actor=ACTOR, reason="again", from_step="travel")
        with pytest.raises(InvalidInput, match="has no step fly"):
            client.rerun(old, actor=ACTOR, reason="again", from_step="fly")
        with pytest.raises(NotPossible, match="once it has ended"):
            client.rerun(begin(), actor=ACTOR, reason="again")
        with transaction() as db:
            assert db.execute(text("SELECT count(*) FROM workflow_executions WHERE rerun_of IS NOT NULL")).scalar() == 0


class TestPersonalValues:
    """They stand in one table only, from where they can be erased."""

    def test_are_in_no_event_whatever_fails(self) -> None:
        trouble("leave_seat", "bug")
        for failing in ("take_seat", "travel", "undo_take_seat"):
            mend()
            trouble(failing, "bug")
            trouble("undo_pack", "bug")
            drive(begin(wish="a window on the left"))
        with transaction() as db:
            for table in ("workflow_executions", "workflow_events", "workflow_definitions"):
                rows = db.execute(text(f"SELECT row_to_json(t)::text FROM {table} t")).scalars().all()
                assert "window" not in "".join(rows)

    def test_that_were_erased_fail_the_step_that_needs_them_and_say_so(self) -> None:
        execution = begin(wish="a window")
        for unit in ("pack", ROOM):
            deliver(execution, unit)
        with transaction() as db:
            db.execute(text("DELETE FROM workflow_private"))
        view = drive(execution)
        assert view.status == "failed"
        assert view.error is not None
        assert (view.error.kind, view.error.message) == (
            "personal_value_erased",
            "take_seat needs wish, which was erased.",
        )


class TestVersions:
    """An execution finishes on the version that it was started on."""

    def test_two_versions_run_side_by_side(self) -> None:
        newer = Workflow(name=visit.name, version=2, input=Journey, flow=[step(see), step(rest)])
        both = Runner(Registry(visit, newer), worker="worker:test")
        ana = Journey("Ana")
        old, new = begin(visit), ExecutionClient(Registry(newer)).start(newer, ana, actor="test").execution_id
        for execution, units in ((old, ("see", "hear", "tell", "rest")), (new, ("see", "rest"))):
            for unit in units:
                both.run(Delivery(visit.name, unit, execution, 1))
            assert stored(execution).status == "completed"

    def test_one_that_is_not_known_is_left_alone_and_shown(self) -> None:
        newer = Workflow(name=visit.name, version=2, input=Journey, flow=[step(see), step(rest)])
        execution = ExecutionClient(Registry(newer)).start(newer, Journey("Ana"), actor="test").execution_id
        with pytest.raises(StaleMessage, match="version 2 is not known here"):
            deliver_unknown(execution)
        with pytest.raises(NotPossible, match="version 2 is not known here"):
            client.cancel(execution, actor=ACTOR, reason="no")
        listed = client.list_executions().items[0]
        assert (listed.execution_id, listed.workflow_version, listed.status) == (execution, 2, "running")


def deliver_unknown(execution_id: UUID) -> None:
    runner.run(Delivery(visit.name, "see", execution_id, 1))


class TestSweep:
    """What is lost is told from what waits in line by a probe that was sent through the same queue."""

    def lose(self, execution_id: UUID, minutes: int = 1) -> None:
        with transaction() as db:
            db.execute(
                text("""
                    UPDATE workflow_executions SET due_at = clock_timestamp(),
                        dispatched_at = clock_timestamp() - :minutes * interval '1 minute'
                    WHERE id = :id"""),
                {"id": execution_id, "minutes": minutes},
            )

    def probe(self, queue: str, *, passed: bool) -> None:
        with transaction() as db:
            probed_at = backlog.probe(db, queue, timedelta(0))
            assert probed_at is not None
            if passed:
                backlog.probe_passed(db, queue, probed_at)

    def test_leaves_alone_what_no_probe_has_overtaken(self) -> None:
        execution = begin(visit)
        self.lose(execution)
        assert sweep.redrive(registry) == 0
        self.probe("workflows", passed=False)
        self.probe("notifications", passed=True)
        assert sweep.redrive(registry) == 0
        self.probe("workflows", passed=True)
        assert sweep.redrive(registry) == 1

    def test_a_probe_sent_with_the_message_proves_nothing(self) -> None:
        execution = begin(visit)
        self.lose(execution, minutes=0)
        self.probe("workflows", passed=True)
        assert sweep.redrive(registry) == 0

    def test_does_not_look_twice_as_long_lines_cost_nothing(self, published: list[tuple[str, float]]) -> None:
        assert sweep.probe(registry, timedelta(seconds=1)) == len(registry.queues()) == 1
        assert published == [("passed", 0)]
        assert sweep.probe(registry, timedelta(seconds=1)) == 0

    def test_marks_what_it_sends_again_as_repeated(self, monkeypatch: pytest.MonkeyPatch) -> None:
        sent: list[Any] = []
        monkeypatch.setattr("workflows.engine.dispatch._publish", lambda signature, _: sent.append(signature.args))
        execution = begin(visit)
        self.lose(execution)
        self.probe("workflows", passed=True)
        assert sweep.redrive(registry) == 1
        assert sent == [(str(execution), 1), (str(execution), 1, 1)]

    def test_decides_what_was_left_undecided(self) -> None:
        """Due, and nothing may run: planned again."""
        execution = begin(visit)
        for unit in ("see", "hear", "tell"):
            deliver(execution, unit)
        with transaction() as db:
            db.execute(
                text("""
                    UPDATE workflow_executions
                    SET state = jsonb_set(state, '{steps,rest}', '{"status": "completed", "position": 5}')"""),
            )
        self.lose(execution)
        self.probe("workflows", passed=True)
        assert sweep.redrive(registry) == 1
        assert stored(execution).status == "completed"

    def test_works_off_more_than_one_batch_in_a_pass(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sweep, "BATCH", 2)
        executions = [begin(visit) for _ in range(5)]
        for execution in executions:
            self.lose(execution)
        self.probe("workflows", passed=True)
        assert sweep.redrive(registry) == 5

    @pytest.mark.parametrize("find", ["due", "awake"])
    def test_reads_only_what_is_due(self, find: str) -> None:
        """With many that wait and few that are due, the plan uses the partial index."""
        query = {"due": backlog.DUE, "awake": backlog.AWAKE}[find]
        column = {"due": "due_at", "awake": "wakes_at"}[find]
        with transaction() as db:
            db.execute(
                text(f"""
                    INSERT INTO workflow_executions (id, workflow, version, status, started_by, inputs, state, output,
                        completed_steps, total_steps, epoch, position, dispatches, queues, {column}, created_at)
                    SELECT gen_random_uuid(), 'test.Visit', 1, 'running', 'test', '{{}}', '{{}}', '{{}}', 0, 4, 1, 1, 0,
                        '{{}}', now() + n * interval '1 second', now()
                    FROM generate_series(-5, 20000) AS n""")
            )
            db.execute(text("ANALYZE workflow_executions"))
            arguments = {"names": ["test.Visit"], "versions": [1], "publishing": timedelta(), "limit": 200}
            plan = store.cursor(db).execute(f"EXPLAIN {query}", arguments).fetchall()
        assert f"ix_workflow_executions_{column}" in str(plan)
        assert f"Index Cond: ({column} <=" in str(plan)
        assert "Seq Scan on workflow_executions" not in str(plan)


def test_no_execution_can_be_forgotten() -> None:
    """One that has not ended, and that nothing would ever look at again, is refused by the schema."""
    execution = begin(visit)
    with pytest.raises(Exception, match="never_forgotten"), transaction() as db:
        db.execute(text("UPDATE workflow_executions SET due_at = NULL WHERE id = :id"), {"id": execution})


def test_a_database_that_goes_away_during_a_pass_puts_nothing_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no row's fault: what was due stays due for the next pass."""
    execution = begin(visit)
    TestSweep().lose(execution)
    TestSweep().probe("workflows", passed=True)
    with monkeypatch.context() as patch:
        patch.setattr("workflows.engine.sweep.Progress", lambda *_: (_ for _ in ()).throw(psycopg.OperationalError()))
        assert sweep.redrive(registry) == 0
    assert sweep.redrive(registry) == 1
