"""Many that wait: a sweep costs what is due, a second's worth of deadlines is worked off, and races have one winner."""

import time
from collections import Counter
from datetime import timedelta
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import text

from tests import review
from tests.integration.test_approvals import assert_events_give_the_rows
from tests.racing import Deadline, at_once
from tests.review import client, drive, effects, execute, pending, stored, types, waiting
from workflows.engine import approval_rows, backlog, sweep
from workflows.engine.models import ENDED
from zea.db import driver_connection, reading, transaction

MANY, FEW = 1_000_000, 10
CROWD = 5_000
# What only costs time when a million rows are made.
BESIDE_THE_POINT = [
    "uq_workflow_executions_start_key",
    *(f"ix_workflow_executions_{name}" for name in ("created_at_id", "subject", "status", "workflow")),
]
TIMES = 200


@pytest.fixture(autouse=True)
def tables(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workflows.engine.dispatch._publish", lambda signature, delay: None)
    review.create_tables()


def multiply(execution_id: UUID, count: int, wakes_at: str) -> None:
    """Copies of an execution that waits, with their approvals; ``wakes_at`` is an expression of each one's ``n``."""
    with transaction() as db:
        for table in ("executions", "events", "approvals"):
            # It would still be at work when the test is over, and nobody but a superuser can end it.
            db.execute(text(f"ALTER TABLE workflow_{table} SET (autovacuum_enabled = false)"))
        for index in BESIDE_THE_POINT if count > CROWD else ():
            db.execute(text(f"DROP INDEX {index}"))
        columns = "workflow, version, subject, start_key, started_by, inputs, output, error, current_step"
        counts = "completed_steps, total_steps, epoch, position, rerun_of, dispatches, queues, due_at, created_at"
        ids = "CREATE TEMP TABLE copies AS SELECT n, gen_random_uuid() AS id FROM generate_series(1, :n) AS n"
        db.execute(text(ids), {"n": count})
        db.execute(
            text(f"""
                INSERT INTO workflow_executions (id, status, {columns}, {counts}, state, wakes_at)
                SELECT copies.id, status, {columns}, {counts}, state, {wakes_at}
                FROM workflow_executions AS e, copies WHERE e.id = :id"""),
            {"id": execution_id},
        )
        if count <= CROWD:
            facts = "position, type, step, at, actor, data"
            db.execute(
                text(f"""
                    INSERT INTO workflow_events (execution_id, {facts})
                    SELECT copies.id, {facts} FROM workflow_events, copies WHERE execution_id = :id"""),
                {"id": execution_id},
            )
        waits = "approval, type, assignee, status, requested_at, expires_at"
        db.execute(
            text(f"""
                INSERT INTO workflow_approvals (id, execution_id, {waits})
                SELECT gen_random_uuid(), copies.id, {waits}
                FROM workflow_approvals, copies WHERE execution_id = :id AND (:all OR approval = 'ask_author')"""),
            {"id": execution_id, "all": count <= CROWD},
        )
        db.execute(text("DROP TABLE copies"))


def vacuum() -> None:
    """As autovacuum does sooner or later."""
    with reading() as db:
        db.execute(text("VACUUM ANALYZE workflow_executions, workflow_approvals"))


def plan_of(query: str, **arguments: object) -> str:
    with transaction() as db:
        return "\n".join(line for (line,) in driver_connection(db).execute(f"EXPLAIN ANALYZE {query}", arguments))


@pytest.mark.timeout(400)
def test_a_sweep_costs_what_is_due_and_not_what_waits() -> None:
    execution = waiting()
    multiply(execution, MANY, f"now() + CASE WHEN n <= {FEW} THEN -1 ELSE 1 END * interval '1 day'")
    vacuum()
    names, versions = zip(*review.registry.versions(), strict=True)
    plan = plan_of(backlog.AWAKE, names=list(names), versions=list(versions), limit=200)
    assert "ix_workflow_executions_wakes_at" in plan
    with transaction() as db:
        began = time.perf_counter()
        found = backlog.awake(db, review.registry.versions(), 200)
        took = time.perf_counter() - began
    assert len(found) == FEW
    assert took < 0.05
    assert "Index Cond: (wakes_at <=" in plan
    for assignee in (None, f"user:{review.AUTHOR}"):
        page = client.list_approvals(assignee)
        began = time.perf_counter()
        client.list_approvals(assignee, cursor=page.next_cursor)
        assert time.perf_counter() - began < 0.1
        last = page.items[-1]
        arguments = {"assignee": assignee, "limit": 51, "at": last.requested_at, "id": last.approval_id}
        plan = plan_of(approval_rows.page_of(approval_rows.PENDING, arguments), **arguments)
        assert "ROW(requested_at, id) <" in plan.partition("Index Cond: ")[2].partition("\n")[0]


@pytest.mark.timeout(180)
def test_five_thousand_deadlines_of_one_second_are_worked_off_within_a_minute() -> None:
    execution = waiting()
    over = """
        UPDATE workflow_executions SET state = jsonb_set(
            state, '{approvals,ask_author,expires_at}', to_jsonb(clock_timestamp() - interval '1 second'))"""
    multiply(execution, CROWD, "now() - interval '1 second'")
    execute(over)
    execute("UPDATE workflow_executions SET wakes_at = now() + interval '1 day' WHERE id = :id", id=execution)
    began = time.monotonic()
    moved = 0
    while passed := sweep.fire(review.registry):
        moved += passed
    took = time.monotonic() - began
    assert moved == CROWD
    assert took < 60
    with transaction() as db:
        expired = "SELECT count(*) FROM workflow_approvals WHERE approval = 'ask_author' AND status = 'expired'"
        assert db.execute(text(expired)).scalar() == CROWD


def outcome_of(execution_id: UUID) -> str:
    """How the events say that the author's judgement ended."""
    (said,) = [
        type.split()[0].removeprefix("approval.")
        for type in types(execution_id)
        if type.endswith(" ask_author") and type.split()[0] in OUTCOMES
    ]
    return said


OUTCOMES = {f"approval.{outcome}" for outcome in ("approved", "rejected", "expired", "cancelled")}
RECORDED = {"approved": ["approved"], "rejected": ["rejected"], "cancelled": []}


def sweep_again_and_again(execution_id: UUID) -> None:
    """Until the deadline is over and seen to be."""
    while pending(execution_id, "ask_author").status == "pending":
        sweep.fire(review.registry)


@pytest.mark.timeout(180)
def test_an_answer_in_the_moment_of_its_deadline_has_one_outcome() -> None:
    won: Counter[str] = Counter()
    deadline = Deadline(0.025)
    for number in range(TIMES):
        # The deadline comes while the answer is on its way, sometimes before it and sometimes after.
        execution = review.begin(ask_author=deadline.seconds)
        drive(execution)
        asked = pending(execution, "ask_author").approval_id

        def answer(asked: UUID = asked, number: int = number) -> None:
            time.sleep((number % 40) / 1000)
            client.approve(asked, {"stars": 1}, actor="user:test")

        winners = at_once([("approved", answer), ("swept", partial(sweep_again_and_again, execution))])
        outcome = outcome_of(execution)
        assert (outcome == "approved") == ("approved" in winners)
        assert effects(execution)["ask_author_decision"].split()[0] == outcome
        assert pending(execution, "ask_author").status == outcome
        assert_events_give_the_rows(execution, review.registry)
        deadline.learn(outcome == "approved")
        won[outcome] += 1
    # Both happen: otherwise nothing was raced.
    assert set(won) == {"approved", "expired"}, won


@pytest.mark.timeout(180)
def test_approving_rejecting_and_cancelling_at_once_have_one_winner() -> None:
    won: Counter[str] = Counter()
    for _ in range(TIMES):
        execution = waiting()
        asked = pending(execution, "ask_author").approval_id
        winners = at_once(
            [
                ("approved", partial(client.approve, asked, {"stars": 1}, actor="user:author")),
                ("rejected", partial(client.reject, asked, actor="user:admin", reason="no")),
                ("cancelled", partial(client.cancel, execution, actor="test", reason="no")),
            ]
        )
        outcome = outcome_of(execution)
        # Who cancels later, cancels what is left; of those who decide, one wins.
        assert (winners["approved"], winners["rejected"]) == (outcome == "approved", outcome == "rejected")
        assert winners["cancelled"] == 1
        assert effects(execution).get("ask_author_decision", "").split()[:1] == RECORDED[outcome]
        drive(execution)
        assert stored(execution).status in ENDED
        assert_events_give_the_rows(execution, review.registry)
        won[outcome] += 1
    assert len(won) >= 2, won


@pytest.mark.timeout(120)
def test_two_that_answer_side_by_side_continue_the_flow_once() -> None:
    for _ in range(TIMES // 4):
        execution = waiting()
        calls = [
            (name, partial(client.approve, pending(execution, name).approval_id, {"stars": 1}, actor="user:test"))
            for name in ("ask_author", "ask_editor")
        ]
        assert sum(at_once(calls).values()) == 2
        assert drive(execution).status == "sleeping"
        assert types(execution).count("timer.set rest") == 1
        assert effects(execution)["thank"] == "1 None"


def test_a_long_sweep_holds_no_row_for_long() -> None:
    """One execution at a time: what it holds is free again before the next one is taken."""
    first, second = waiting(), waiting()
    for each in (first, second):
        review.pass_time(each, ask_author=49)
    asked = {each: pending(each, "ask_editor").approval_id for each in (first, second)}
    seen: list[UUID] = []
    recording = review.review.step("ask_author").hooks[-1]

    def record_slowly(db: object, **arguments: object) -> object:
        busy = arguments["ctx"].execution_id  # type: ignore[attr-defined]  # a step's context
        (other,) = {first, second} - {busy}
        if other not in seen:
            client.approve(asked[other], {"stars": 2}, actor="user:test")
        seen.append(busy)
        return review.keep_answer(db, **arguments)  # type: ignore[arg-type]

    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setitem(recording.__dict__, "function", record_slowly)
        assert sweep.fire(review.registry) == 2
    assert len(seen) == 2


def test_deadlines_count_from_the_databases_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    with transaction() as db:
        before = db.execute(text("SELECT clock_timestamp()")).scalar_one()
    asked = pending(waiting(), "ask_author")
    assert before < asked.requested_at < asked.expires_at
    assert asked.expires_at - before < timedelta(hours=48, seconds=30)
