"""Lists cost what they show: whatever is asked for, an index is read in the list's order, page by page."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
import pytest

from workflows.engine import approval_rows, census, pulse, search

# Eleven months in which one in a hundred failed, all of one workflow; a few have not ended.
EXECUTIONS = """
    INSERT INTO workflow_executions (id, workflow, version, status, subject, started_by, inputs, state, output, error,
        completed_steps, total_steps, epoch, position, dispatches, due_at, created_at, completed_at)
    SELECT gen_random_uuid(), 'test.' || n % 40, 1, status, 'test:' || n / 2, 'test', '{}',
        jsonb_build_object('as wide as a real one', repeat('-', 900)), '{}',
        CASE WHEN status IN ('failed', 'cancelled') THEN jsonb_build_object('kind', 'kind ' || n % 7) END,
        1, 2, 1, 1, 0,
        CASE WHEN status IN ('running', 'waiting_for_approval') THEN moment END, moment,
        CASE WHEN status NOT IN ('running', 'waiting_for_approval') THEN moment END
    FROM generate_series(1, 8000) AS n,
        LATERAL (SELECT now() - (8000 - n) * interval '1 hour' AS moment,
            CASE WHEN n % 100 = 0 THEN 'failed' WHEN n % 1000 = 1 THEN 'cancelled'
                WHEN n % 100 = 2 THEN 'waiting_for_approval' WHEN n % 1000 = 3 THEN 'running'
                ELSE 'completed' END AS status) AS execution"""
APPROVALS = """
    INSERT INTO workflow_approvals (id, execution_id, approval, type, assignee, status, requested_at, expires_at,
        decided_at, decided_by)
    SELECT gen_random_uuid(), id, 'ask', 'test', subject,
        CASE WHEN completed_at IS NULL THEN 'pending' ELSE 'expired' END, created_at, created_at,
        completed_at, CASE WHEN completed_at IS NOT NULL THEN 'test' END
    FROM workflow_executions"""
NAMED = re.compile(r"%\((\w+)\)s")
VALUES = {
    "status": "cancelled",
    "workflow": "test.1",
    "subject": "test:300",
    "error_kind": "kind 3",
    "since": datetime.now(UTC) - timedelta(days=30),
    "before": datetime.now(UTC) - timedelta(days=20),
    "after_at": datetime.now(UTC) - timedelta(days=25),
    "after_id": UUID(int=0),
    "limit": 51,
}


class Read(NamedTuple):
    """The index that a list reads, by the end of its name, and what it has to look at in each row beside."""

    index: str
    beside: frozenset[str] = frozenset()


# Whatever these are, a page starts at its place in the index.
PLACES = ((), ("after",), ("since", "before"), ("since", "before", "after"))
READS = {
    (): Read("created_at_id"),
    ("status",): Read("status"),
    ("workflow",): Read("workflow"),
    ("subject",): Read("subject"),
    ("error_kind",): Read("error_kind"),
    ("active",): Read("active"),
    ("workflow", "status"): Read("workflow_status"),
    ("workflow", "error_kind"): Read("error_kind", frozenset({"workflow"})),
    ("status", "subject"): Read("subject", frozenset({"status"})),
    ("workflow", "active"): Read("active", frozenset({"workflow"})),
}


@pytest.fixture
def crowd(database: str) -> Iterator[psycopg.Connection]:
    """A connection to many executions, in a transaction."""
    with psycopg.connect(database, cursor_factory=psycopg.ClientCursor) as connection:
        for statement in (EXECUTIONS, APPROVALS, "ANALYZE workflow_executions, workflow_approvals"):
            connection.execute(statement)
        # Of few rows it reads as little, and sorts them: whether an index has the order shows without it.
        connection.execute("SET LOCAL enable_bitmapscan = off")
        yield connection


def plan_of(connection: psycopg.Connection, query: str, values: dict[str, Any]) -> str:
    """The plan of a prepared statement, as psycopg prepares what is asked often."""
    names = list(dict.fromkeys(NAMED.findall(query)))
    connection.execute(f"PREPARE asked AS {NAMED.sub(lambda found: f'${names.index(found[1]) + 1}', query)}")
    arguments = ", ".join(f"%({name})s" for name in names)
    lines = connection.execute(f"EXPLAIN EXECUTE asked{f'({arguments})' if names else ''}", values).fetchall()
    connection.execute("DEALLOCATE asked")
    return "\n".join(line for (line,) in lines)


def conditions_of(plan: str, kind: str) -> str:
    """What a plan compares: ``Index Cond`` in the index, ``Filter`` in each row."""
    return "\n".join(re.findall(rf"{kind}: (.*)", plan))


PLANNED = pytest.mark.parametrize("planned", ["force_custom_plan", "force_generic_plan"])


@PLANNED
def test_a_page_is_read_from_its_place_in_an_index(crowd: psycopg.Connection, planned: str) -> None:
    crowd.execute(f"SET LOCAL plan_cache_mode = {planned}")
    for filters, (index, beside) in READS.items():
        for place in PLACES:
            plan = plan_of(crowd, search.statement({*filters, *place}), VALUES)
            asked = f"{filters}, {place}:\n{plan}"
            assert f"using ix_workflow_executions_{index} on" in plan, asked
            assert "Sort" not in plan, asked
            assert ("created_at" in conditions_of(plan, "Index Cond")) == bool(place), asked
            assert set(re.findall(r"\w+(?= ?= ?)", conditions_of(plan, "Filter"))) <= beside, asked


@PLANNED
@pytest.mark.parametrize("status", ["pending", "settled"])
def test_so_is_a_page_of_approvals(crowd: psycopg.Connection, planned: str, status: str) -> None:
    crowd.execute(f"SET LOCAL plan_cache_mode = {planned}")
    kind = {"pending": approval_rows.PENDING, "settled": approval_rows.SETTLED}[status]
    for assignee, index in ((None, status), ("test:301", f"assignee_{status}")):
        for at in (None, VALUES["after_at"]):
            values = {"assignee": assignee, "at": at, "id": UUID(int=0), "limit": 51}
            plan = plan_of(crowd, approval_rows.page_of(kind, values), values)
            assert f"using ix_workflow_approvals_{index} on" in plan, plan
            assert "Sort" not in plan, plan
            assert ("requested_at" in conditions_of(plan, "Index Cond")) == bool(at), plan
            assert not conditions_of(plan, "Filter"), plan


def test_what_failed_in_the_last_hour_is_counted_without_what_failed_before(crowd: psycopg.Connection) -> None:
    plan = plan_of(crowd, pulse.FAILED, {})
    assert "using ix_workflow_executions_failed on" in plan
    assert "completed_at >" in conditions_of(plan, "Index Cond")


def test_what_has_not_ended_is_counted_in_an_index(crowd: psycopg.Connection) -> None:
    assert "Index Only Scan using ix_workflow_executions_active on" in plan_of(crowd, census.OPEN, {})
    assert "using ix_workflow_approvals_pending on" in plan_of(crowd, census.PENDING, {})
