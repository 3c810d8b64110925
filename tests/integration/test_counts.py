"""What has happened is counted from the events: each once, whatever is committed late and whoever counts."""

from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from tests.requested_booking import completed_booking, failed_booking, requested_booking
from tests.waiting import wait_until
from workflows.catalog import registry
from workflows.engine import counts, store, sweep
from workflows.engine.client import ExecutionClient
from workflows.engine.counts import BOUNDS, COUNT, COUNTED, LONGEST_STRETCH, Counted
from zea.db import clock_of, transaction
from zea.stack.servers import EmbeddedServers

client = ExecutionClient(registry)
BOOKING = "zea_sport.BookingRequest"
STARTED = Counted("execution.started", BOOKING, "")


def advance() -> datetime | None:
    with transaction() as db:
        counted = counts.advance(db)
    return counted.until if counted else None


def advance_beyond_now() -> None:
    """Count all that has happened before now."""
    with transaction() as db:
        now = clock_of(db)
    wait_until(lambda: (advance() or now) > now, what="what has happened to be old enough")


def counted() -> dict[Counted, int]:
    return {what: count.total for what, count in client.census().counts.items()}


def value(statement: str, **arguments: Any) -> Any:
    with transaction() as db:
        return db.execute(text(statement), arguments).scalar()


def test_every_event_is_counted_once(database: str) -> None:
    completed_booking()
    failed_booking()
    advance_beyond_now()
    found = counted()
    assert found[STARTED] == 2
    assert found[Counted("execution.completed", BOOKING, "")] == 1
    assert found[Counted("execution.failed", BOOKING, "")] == 1
    assert found[Counted("step.completed", BOOKING, "debit_credit")] == 2
    assert found[Counted("step.failed", BOOKING, "notify_coach")] == 1
    assert sum(found.values()) == value(
        "SELECT count(*) FROM workflow_events WHERE type = ANY (:counted)", counted=list(COUNTED)
    )
    advance_beyond_now()
    assert counted() == found


def test_how_long_steps_took_adds_up(database: str) -> None:
    completed_booking()
    advance_beyond_now()
    steps = [count for _, count in client.census().counts.of("step.completed")]
    durations = "(data ->> 'duration_seconds')::float"
    took = value(f"SELECT sum({durations}) FROM workflow_events WHERE type = 'step.completed'")
    assert sum(count.seconds for count in steps) == pytest.approx(took)
    below = value(
        f"SELECT count(*) FROM workflow_events WHERE type = 'step.completed' AND {durations} < :bound", bound=BOUNDS[3]
    )
    assert sum(sum(count.buckets[:4]) for count in steps) == below


def test_what_is_committed_late_is_counted_all_the_same(database: str) -> None:
    with transaction() as late:
        late.execute(text("SELECT 1"))
        with transaction() as db:
            # As a step that works for long: its event's moment is far back once it is committed.
            began = clock_of(late)
            booking = requested_booking()
            wait_until(lambda: clock_of(db) > began + timedelta(seconds=1.2), what="more than what is left open")
        advanced = advance()
        assert advanced is not None
        assert advanced <= began
        insert = "INSERT INTO workflow_events (execution_id, position, type, at, actor, data)"
        fact = {"id": booking.execution_id, "at": began}
        late.execute(text(f"{insert} VALUES (:id, 2, 'execution.redriven', :at, 'test', '{{}}')"), fact)
    advance_beyond_now()
    assert counted()[Counted("execution.redriven", BOOKING, "")] == 1


@pytest.mark.parametrize(
    ("name", "elsewhere", "is_waited_for"),
    [("zea", False, True), ("zea - 10.0.0.7:40112", False, True), ("pg_dump", False, False), ("zea", True, False)],
    ids=["zea", "zea through a pool", "somebody else", "another database"],
)
def test_only_transactions_that_may_write_events_are_waited_for(
    name: str, elsewhere: bool, is_waited_for: bool, database: str, servers: EmbeddedServers
) -> None:
    # The schema may be older than what is made up in one pass.
    value("UPDATE workflow_counted SET until = clock_timestamp() RETURNING until")
    with psycopg.connect(servers.database_url if elsewhere else database, application_name=name) as late:
        [[began]] = late.execute("SELECT clock_timestamp()")
        with transaction() as db:
            wait_until(lambda: clock_of(db) > began + timedelta(seconds=1.2), what="more than what is left open")
        advanced = advance()
        assert advanced is not None
        assert (advanced <= began) is is_waited_for


def test_what_happened_where_one_pass_ends_and_the_next_begins_is_counted_once(database: str) -> None:
    booking = requested_booking()
    end = value("SELECT clock_timestamp() - interval '1 hour'")
    value("UPDATE workflow_counted SET until = :begin RETURNING until", begin=end - LONGEST_STRETCH)
    insert = "INSERT INTO workflow_events (execution_id, position, type, at, actor, data)"
    fact = {"id": booking.execution_id, "at": end}
    value(f"{insert} VALUES (:id, 2, 'execution.redriven', :at, 'test', '{{}}') RETURNING position", **fact)
    assert advance() == end
    advance_beyond_now()
    assert counted()[Counted("execution.redriven", BOOKING, "")] == 1


def test_what_was_counted_is_not_counted_again_when_the_clock_goes_back(database: str) -> None:
    ahead = value("UPDATE workflow_counted SET until = clock_timestamp() + interval '1 minute' RETURNING until")
    assert advance() == ahead
    assert -60 < client.census().counts.lag_seconds < -50, "it is seen"


def test_the_last_second_is_left_open(database: str) -> None:
    value("UPDATE workflow_counted SET until = until - interval '1 minute' RETURNING until")
    advanced = advance()
    assert advanced is not None
    with transaction() as db:
        assert advanced <= clock_of(db) - timedelta(seconds=1)


def test_whoever_comes_second_leaves_it_to_the_first(database: str) -> None:
    with transaction() as first:
        assert counts.advance(first) is not None
        assert advance() is None


def test_after_a_long_outage_it_catches_up_stretch_by_stretch(database: str) -> None:
    back = value("UPDATE workflow_counted SET until = until - interval '3 hours' RETURNING until")
    assert advance() == back + LONGEST_STRETCH
    assert client.census().counts.lag_seconds > timedelta(hours=2.5).total_seconds()
    sweep.count()
    assert client.census().counts.lag_seconds < 30


def test_a_pass_of_a_sweep_is_counted_with_its_time(database: str) -> None:
    with sweep.timed("redrive"):
        sweep.redrive(registry)
    with pytest.raises(ZeroDivisionError), sweep.timed("redrive"):
        raise ZeroDivisionError
    [(what, count)] = client.census().counts.of(counts.SWEPT)
    assert (what.name, count.total) == ("redrive", 1)
    assert 0 < count.seconds < 5


def test_it_reads_what_is_new_and_not_all_there_is(database: str) -> None:
    with transaction() as db:
        db.execute(text("SET LOCAL enable_seqscan = off"))
        arguments = {"since": clock_of(db), "until": clock_of(db), "counted": list(COUNTED), "bounds": list(BOUNDS)}
        plan = "\n".join(str(row) for row in store.cursor(db).execute(f"EXPLAIN {COUNT}", arguments))
    assert "ix_workflow_events_at" in plan


def test_the_census_says_what_stands_now(database: str) -> None:
    completed_booking()
    requested_booking()
    census = client.census()
    # Whoever books in these tests was registered without an onboarding.
    assert [(each.workflow, each.status, each.number) for each in census.open] == [(BOOKING, "running", 1)]
    assert census.pending == []
