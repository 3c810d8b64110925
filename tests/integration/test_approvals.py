"""Long waits: asked once, decided once, by a person or by the database's clock, and joined in any order."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from tests import review
from tests.integration.test_runner import first_tasks
from tests.review import (
    AUTHOR,
    EDITOR,
    approve,
    begin,
    client,
    deliver,
    drive,
    effects,
    execute,
    fire,
    pass_time,
    pending,
    stored,
    types,
    waiting,
)
from workflows import catalog
from workflows.engine import approval_rows, interventions, store
from workflows.engine.models import ENDED
from workflows.engine.registry import Registry
from workflows.engine.state import replay
from zea.db import new_id, transaction
from zea.errors import AlreadyDecided, DeadlinePassed, InvalidInput, NotFound, StaleMessage, ZeaError

SECRET = "my left knee"


@pytest.fixture(autouse=True)
def tables(database: str) -> None:
    review.create_tables()


@pytest.fixture(autouse=True)
def published(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the tasks that would be published, instead of publishing them."""
    sent: list[str] = []

    def publish(signature: Any, _: timedelta) -> None:
        sent.extend(name.removeprefix("review.") for name in first_tasks(signature))

    monkeypatch.setattr("workflows.engine.dispatch._publish", publish)
    return sent


@pytest.fixture(autouse=True)
def replaying_gives_the_rows(tables: None) -> Iterator[None]:
    """After every test: each execution's events give its row again, and its approvals."""
    yield
    for summary in client.list_executions().items:
        assert_events_give_the_rows(summary.execution_id, review.registry)


def assert_events_give_the_rows(execution_id: UUID, registry: Registry = catalog.registry) -> None:
    with transaction() as db:
        row = store.read(db, execution_id)
        assert row is not None
        events = store.events(db, execution_id)
        approvals = approval_rows.of_execution(db, execution_id)
    state = replay(events)
    workflow = registry.get(row.workflow, row.version)
    assert workflow is not None
    kept = store.summary(workflow, state)
    assert {name: getattr(row, name) for name in kept if name not in ("wakes_at", "state")} == {
        name: value for name, value in kept.items() if name not in ("wakes_at", "state")
    }
    asked = [event.fact for event in events if event.fact.type == "approval.requested"]
    assert {str(each.id) for each in approvals} == {each.approval_id for each in asked}  # type: ignore[union-attr]
    open_ones = {each.id for each in approvals if each.status == "pending"}
    assert open_ones == {each.approval_id for each in state.approvals.values()}


def test_an_execution_waits_without_anything_to_run(published: list[str]) -> None:
    execution = begin()
    view = drive(execution)
    assert (view.status, view.current_step_name) == ("waiting_for_approval", "ask_author")
    assert {step.step_name: step.status for step in view.steps} == {
        "submit": "completed",
        "ask_author": "waiting",
        "thank": "pending",
        "ask_editor": "waiting",
        "rest": "pending",
        "until_printed_at": "pending",
        "print_it": "pending",
    }
    row = stored(execution)
    assert row.due_at is None
    author = pending(execution, "ask_author")
    assert (author.assignee, author.approval_type, author.status) == (f"user:{AUTHOR}", "author_judgement", "pending")
    assert author.expires_at - author.requested_at > timedelta(hours=47, minutes=59)
    assert author.remaining_seconds == pytest.approx(48 * 3600, abs=60)
    assert row.wakes_at is not None
    assert abs(row.wakes_at - (author.requested_at + timedelta(hours=24))) < timedelta(minutes=1)
    assert effects(execution)["ask_author"] == str(author.expires_at)


def test_the_answer_is_bound_and_what_follows_is_published(published: list[str]) -> None:
    execution = waiting()
    published.clear()
    view = approve(execution, "ask_editor", 3, SECRET)
    assert published == ["thank"]
    assert view.status == "running"
    deliver(execution, "thank")
    assert effects(execution)["thank"] == f"3 {SECRET}"
    view = approve(execution, "ask_author", 5, SECRET)
    assert published == ["thank", "rest"]
    assert view.output["author_heard"] is True
    assert view.output["ask_author"] == {"stars": 5, "remark": "[personal]"}
    assert effects(execution)["ask_author_decision"] == f"approved {SECRET}"


def test_personal_parts_of_an_answer_are_in_no_event_and_no_row() -> None:
    execution = waiting()
    approve(execution, "ask_editor", 3, SECRET)
    approve(execution, "ask_author", 5, SECRET)
    assert drive(execution).status == "sleeping"
    with transaction() as db:
        for table in ("workflow_events", "workflow_executions", "workflow_approvals"):
            everything = db.execute(text(f"SELECT string_agg({table}::text, ' ') FROM {table}")).scalar()
            assert "personal" in str(everything) or table == "workflow_events"
            assert SECRET not in str(everything)
        private = db.execute(text("SELECT name, value FROM workflow_private ORDER BY name")).all()
    assert [tuple(row) for row in private] == [
        ("ask_author.ask_author.remark", SECRET),
        ("ask_editor.ask_editor.remark", SECRET),
    ]


@pytest.mark.parametrize("order", [("ask_author", "ask_editor"), ("ask_editor", "ask_author")], ids=" first, ".join)
def test_approvals_side_by_side_are_joined_in_any_order(order: tuple[str, str]) -> None:
    execution = waiting()
    for name in order:
        approve(execution, name)
        drive(execution)
    assert client.get_execution_status(execution).status == "sleeping"
    assert drive_through_sleeps(execution) == "completed"
    assert effects(execution)["print_it"] == "True None 4"


def drive_through_sleeps(execution: UUID) -> str:
    view = drive(execution)
    while view.status == "sleeping":
        pass_time(execution, rest=2)
        assert fire() == 1
        view = drive(execution)
    return view.status


def test_a_sleep_ends_at_its_moment_and_tells_how_long_it_was() -> None:
    execution = waiting()
    approve(execution, "ask_author")
    approve(execution, "ask_editor")
    view = drive(execution)
    assert (view.status, [timer.timer for timer in view.timers]) == ("sleeping", ["rest"])
    assert fire() == 0
    pass_time(execution, rest=2)
    assert (fire(), fire()) == (1, 0)
    rest = next(each for each in client.get_execution_status(execution).steps if each.step_name == "rest")
    assert (rest.status, rest.attempt) == ("completed", 1)
    assert rest.duration_seconds is not None
    assert 0 < rest.duration_seconds < 60
    assert drive(execution).status == "completed"
    assert types(execution)[-6:] == [
        "timer.set rest",
        "timer.fired rest",
        "step.completed rest",
        "step.completed until_printed_at",
        "step.completed print_it",
        "execution.completed",
    ]


def test_a_sleep_until_a_moment_ends_then() -> None:
    printed_at = datetime.now(UTC) + timedelta(days=3)
    execution = begin(printed_at, rest=0.001)
    drive(execution)
    approve(execution, "ask_author")
    approve(execution, "ask_editor")
    drive(execution)
    pass_time(execution, rest=2)
    fire()
    (timer,) = drive(execution).timers
    assert (timer.timer, timer.fires_at) == ("until_printed_at", printed_at)


def test_a_sleep_until_a_moment_can_be_shorter_for_one_execution() -> None:
    execution = begin(datetime.now(UTC) + timedelta(days=3), rest=0.001, until_printed_at=0.001)
    drive(execution)
    approve(execution, "ask_author")
    approve(execution, "ask_editor")
    view = drive(execution)
    while view.status == "sleeping":
        fire()
        view = drive(execution)
    assert view.status == "completed"


class TestDeadline:
    """By the database's clock, with one winner; one that is now is over."""

    def test_is_not_touched_before_it(self) -> None:
        waiting()
        assert fire() == 0

    def test_lets_the_flow_go_on_without_the_answer(self) -> None:
        execution = waiting()
        pass_time(execution, ask_author=49)
        assert (fire(), fire()) == (1, 0)
        assert effects(execution)["ask_author_decision"] == "expired"
        view = client.get_execution_status(execution)
        assert (view.status, view.output["author_heard"], view.output["ask_author"]) == (
            "waiting_for_approval",
            False,
            None,
        )
        assert pending(execution, "ask_author").status == "expired"
        approve(execution, "ask_editor")
        assert drive_through_sleeps(execution) == "completed"
        assert effects(execution)["print_it"] == "False None 4"

    def test_fails_the_execution_for_good_where_that_is_stated(self) -> None:
        execution = waiting()
        pass_time(execution, ask_editor=24 * 8)
        assert fire() == 1
        view = drive(execution)
        assert view.error is not None
        assert (view.status, view.error.kind, view.resumable) == ("failed", "not_judged", False)
        assert pending(execution, "ask_author").status == "cancelled"
        assert list(effects(execution))[-1] == "undo_submit"

    def test_ends_the_right_to_answer_even_if_no_sweep_has_come(self) -> None:
        execution = waiting()
        pass_time(execution, ask_author=49)
        before = types(execution)
        with pytest.raises(DeadlinePassed):
            approve(execution, "ask_author")
        assert types(execution) == before
        fire()
        with pytest.raises(DeadlinePassed):
            approve(execution, "ask_author")

    def test_that_is_now_is_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        execution = waiting()
        deadline = pending(execution, "ask_author").expires_at
        for now, over in ((deadline - timedelta(microseconds=1), False), (deadline, True)):
            monkeypatch.setattr(store, "now", lambda _, now=now: now)
            execute("UPDATE workflow_executions SET wakes_at = clock_timestamp()")
            assert fire() == 1
            assert ("approval.expired ask_author" in types(execution)) == over
        monkeypatch.undo()

    def test_of_an_answer_that_is_now_is_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        execution = waiting()
        deadline = pending(execution, "ask_author").expires_at
        monkeypatch.setattr(store, "now", lambda _: deadline)
        with pytest.raises(DeadlinePassed):
            approve(execution, "ask_author")
        monkeypatch.setattr(store, "now", lambda _: deadline - timedelta(microseconds=1))
        approve(execution, "ask_author")
        assert pending(execution, "ask_author").status == "approved"

    def test_can_be_its_own_for_one_execution(self) -> None:
        execution = begin(ask_author=90.0, rest=5.0)
        drive(execution)
        assert pending(execution, "ask_author").remaining_seconds == pytest.approx(90, abs=10)
        assert pending(execution, "ask_editor").remaining_seconds == pytest.approx(7 * 86400, abs=60)
        assert pending(waiting(), "ask_author").remaining_seconds == pytest.approx(48 * 3600, abs=60)

    @pytest.mark.parametrize(
        ("timeouts", "said"), [({"print_it": 5.0}, "no wait called print_it"), ({"rest": 0.0}, "longer than nothing")]
    )
    def test_of_its_own_is_for_what_waits(self, timeouts: dict[str, float], said: str) -> None:
        with pytest.raises(InvalidInput, match=said):
            begin(**timeouts)

    def test_whose_record_fails_is_tried_again_and_loses_nothing(self) -> None:
        execution, other = waiting(), waiting()
        execute("INSERT INTO troubles VALUES ('ask_author_decision')")
        for each in (execution, other):
            pass_time(each, ask_author=49)
        assert fire() == 0
        assert pending(execution, "ask_author").status == "pending"
        execute("DELETE FROM troubles")
        execute("UPDATE workflow_executions SET wakes_at = clock_timestamp()")
        assert fire() == 2


class TestReminder:
    """Told once, at half of the time, by the same deadline."""

    def test_is_sent_once(self) -> None:
        execution = waiting()
        pass_time(execution, ask_author=25)
        assert (fire(), fire()) == (1, 0)
        told = pending(execution, "ask_author")
        assert told.reminded_at is not None
        assert told.status == "pending"
        assert "ask_author_reminder" in effects(execution)
        assert types(execution).count("approval.reminded ask_author") == 1

    def test_does_not_come_after_the_end(self) -> None:
        execution = waiting()
        pass_time(execution, ask_author=49)
        fire()
        assert "approval.reminded ask_author" not in types(execution)

    def test_leaves_the_deadline_where_it_was(self) -> None:
        execution = waiting()
        pass_time(execution, ask_author=25)
        fire()
        pass_time(execution, ask_author=24)
        assert fire() == 1
        assert effects(execution)["ask_author_decision"] == "expired"


class TestDecision:
    """Taken once, by whoever comes first; everybody else is told how it ended, and nothing changes."""

    def test_is_taken_once(self) -> None:
        execution = waiting()
        approve(execution, "ask_author")
        before = types(execution)
        for late in (approve, reject):
            with pytest.raises(AlreadyDecided, match="was approved"):
                late(execution, "ask_author")
        assert types(execution) == before

    def test_can_be_a_refusal_that_lets_the_flow_go_on(self) -> None:
        execution = waiting()
        reject(execution, "ask_author")
        assert effects(execution)["ask_author_decision"] == "rejected"
        told = pending(execution, "ask_author")
        assert (told.status, told.reason, told.decided_by) == ("rejected", "no time", "user:admin")
        assert client.get_execution_status(execution).status == "waiting_for_approval"

    def test_can_be_a_refusal_that_ends_it(self) -> None:
        execution = waiting()
        reject(execution, "ask_editor")
        view = drive(execution)
        assert view.error is not None
        assert (view.error.kind, view.resumable) == ("turned_down", False)
        assert "no time" in view.error.message

    def test_is_not_taken_once_the_execution_is_cancelled(self) -> None:
        execution = waiting()
        client.cancel(execution, actor="test", reason="no")
        with pytest.raises(AlreadyDecided, match="was cancelled"):
            approve(execution, "ask_author")
        assert drive(execution).status == "cancelled"
        assert stored(execution).wakes_at is None

    def test_that_cannot_be_recorded_is_not_taken(self) -> None:
        execution = waiting()
        execute("INSERT INTO troubles VALUES ('ask_author_decision')")
        before = types(execution)
        with pytest.raises(ZeaError, match="cannot be done"):
            approve(execution, "ask_author")
        assert types(execution) == before
        assert pending(execution, "ask_author").status == "pending"
        assert "ask_author_decision" not in effects(execution)

    @pytest.mark.parametrize(
        ("data", "field"),
        [
            ({}, "data.stars"),
            ({"stars": 6}, "data.stars"),
            ({"stars": "5"}, "data.stars"),
            ({"stars": True}, "data.stars"),
            ({"stars": 5, "remark": 7}, "data.remark"),
            ({"stars": 5, "colour": "red"}, "data.colour"),
            ({"stars": 5, "remark": "a\0b"}, "data"),
            ({"stars": 5, "remark": "\ud800"}, "data"),
        ],
        ids=str,
    )
    def test_must_be_an_answer(self, data: dict[str, Any], field: str) -> None:
        execution = waiting()
        with pytest.raises(InvalidInput) as refused:
            client.approve(pending(execution, "ask_author").approval_id, data, actor="user:test")
        assert refused.value.field == field
        assert pending(execution, "ask_author").status == "pending"

    def test_on_nothing_is_not_found(self) -> None:
        with pytest.raises(NotFound):
            client.approve(new_id(), {"stars": 5}, actor="user:test")
        with pytest.raises(NotFound):
            client.get_approval(new_id())


def reject(execution: UUID, name: str) -> None:
    client.reject(pending(execution, name).approval_id, actor="user:admin", reason="no time")


class TestRequest:
    """Asked once; what is known already is the answer; what is asked is asked again after a failure."""

    def test_delivered_twice_asks_once(self) -> None:
        execution = begin()
        deliver(execution, "submit")
        deliver(execution, "ask_author")
        with pytest.raises(StaleMessage):
            deliver(execution, "ask_author")
        assert types(execution).count("approval.requested ask_author") == 1

    def test_delivered_again_says_that_it_starts_and_waits_all_the_same(self) -> None:
        execution = begin()
        deliver(execution, "submit")
        deliver(execution, "ask_author", repeated=True)
        assert types(execution)[-2:] == ["step.started ask_author", "approval.requested ask_author"]

    def test_is_answered_at_once_by_what_is_known(self, published: list[str]) -> None:
        execute("INSERT INTO known VALUES (:secret)", secret=SECRET)
        execution = waiting()
        assert types(execution)[2:5] == [
            "approval.requested ask_author",
            "approval.approved ask_author",
            "step.completed ask_author",
        ]
        assert effects(execution)["ask_author_decision"] == f"approved {SECRET}"
        assert pending(execution, "ask_author").status == "approved"
        approve(execution, "ask_editor")
        assert drive_through_sleeps(execution) == "completed"
        assert effects(execution)["print_it"] == f"True {SECRET} 4"

    @pytest.mark.parametrize("repeated", [False, True])
    def test_holds_the_row_while_it_looks_for_the_answer(self, repeated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever saves an answer holds the row first: then either the answer is found, or the approval is there."""
        monkeypatch.setattr(interventions, "STEP_PATIENCE", timedelta(seconds=0.1))
        execution = begin()
        deliver(execution, "submit")
        seen: list[bool] = []
        look = review.ask_author

        def look_and_see(db: Any, **arguments: Any) -> Any:
            with transaction() as other:
                query = text("SELECT id FROM workflow_executions WHERE id = :id FOR NO KEY UPDATE SKIP LOCKED")
                seen.append(other.execute(query, {"id": execution}).first() is None)
            return look(db, **arguments)

        asking = review.review.step("ask_author")
        monkeypatch.setitem(asking.__dict__, "function", look_and_see)
        deliver(execution, "ask_author", repeated=repeated)
        assert seen == [True]

    def test_is_cancelled_by_a_failure_beside_it(self) -> None:
        execute("INSERT INTO troubles VALUES ('thank')")
        execution = waiting()
        approve(execution, "ask_editor")
        view = drive(execution)
        assert (view.status, pending(execution, "ask_author").status) == ("failed", "cancelled")
        assert list(effects(execution))[-1] == "undo_submit"

    def test_is_made_anew_when_what_failed_beside_it_is_resumed(self) -> None:
        execute("INSERT INTO troubles VALUES ('send')")
        execution = begin(workflow=review.letter)
        assert drive(execution).status == "failed"
        execute("DELETE FROM troubles")
        client.resume(execution, actor="test")
        assert drive(execution).status == "waiting_for_approval"
        cancelled, asked = client.get_execution_status(execution).approvals
        assert (cancelled.status, asked.status) == ("cancelled", "pending")
        with pytest.raises(AlreadyDecided, match="was cancelled"):
            client.approve(cancelled.approval_id, {"stars": 1}, actor="user:test")
        approve(execution, "ask_reader")
        assert drive(execution).status == "completed"

    def test_is_pending_once(self) -> None:
        execution = waiting()
        same = "execution_id, approval, type, assignee, status, requested_at, expires_at"
        again = f"INSERT INTO workflow_approvals (id, {same}) SELECT gen_random_uuid(), {same} FROM workflow_approvals"
        with pytest.raises(IntegrityError, match="uq_workflow_approvals_pending"):
            execute(again)
        assert pending(execution, "ask_author").status == "pending"

    def test_that_fails_is_tried_and_fails_like_a_step(self) -> None:
        execute("INSERT INTO troubles VALUES ('ask_author')")
        view = drive(begin())
        assert view.error is not None
        assert (view.status, view.error.message) == ("failed", "It cannot be done.")


class TestRerun:
    def test_keeps_answers_that_were_given(self) -> None:
        execution = waiting()
        approve(execution, "ask_author", 2, SECRET)
        approve(execution, "ask_editor", 3, SECRET)
        assert drive_through_sleeps(execution) == "completed"
        again = client.rerun(execution, actor="test", reason="a misprint", from_step="print_it").execution_id
        assert drive(again).status == "completed"
        assert effects(again) == {"print_it": f"True {SECRET} 3"}

    def test_asks_anew(self) -> None:
        execution = waiting()
        client.cancel(execution, actor="test", reason="no")
        drive(execution)
        again = client.rerun(execution, actor="test", reason="after all").execution_id
        assert drive(again).status == "waiting_for_approval"
        assert pending(again, "ask_author").approval_id != pending(execution, "ask_author").approval_id


class TestLists:
    """One person's or everybody's, those that are pending first, page by page."""

    def test_show_what_is_pending_first(self) -> None:
        first, second = waiting(), waiting()
        approve(first, "ask_author")
        mine = client.list_approvals(f"user:{AUTHOR}").items
        assert [(each.execution_id, each.status) for each in mine] == [(second, "pending"), (first, "approved")]
        assert [each.execution_id for each in client.list_approvals(f"user:{EDITOR}").items] == [second, first]
        assert len(client.list_approvals().items) == 4
        assert {each.status for each in client.list_approvals(pending=True).items} == {"pending"}

    def test_go_on_where_they_ended(self) -> None:
        executions = [waiting() for _ in range(3)]
        approve(executions[1], "ask_author")
        seen, cursor = [], None
        for _ in range(6):
            page = client.list_approvals(limit=1, cursor=cursor)
            seen += [each.approval_id for each in page.items]
            cursor = page.next_cursor
        assert cursor is None
        assert seen == [each.approval_id for each in client.list_approvals().items]
        assert len(set(seen)) == 6

    @pytest.mark.parametrize("cursor", ["x", "pending.x", "settled."])
    def test_refuse_a_cursor_that_is_none(self, cursor: str) -> None:
        with pytest.raises(InvalidInput, match="no cursor"):
            client.list_approvals(cursor=cursor)


def test_what_has_ended_waits_for_nothing() -> None:
    execution = waiting()
    pass_time(execution, ask_editor=24 * 8)
    fire()
    drive(execution)
    assert stored(execution).status in ENDED
    assert {each.status for each in client.get_execution_status(execution).approvals} == {"expired", "cancelled"}
