"""A year of executions for a measurement: copies of real ones, written straight into the tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import psycopg

YEAR, WEEK, NOW = timedelta(days=365), timedelta(days=6), timedelta()
CHUNK = 50_000  # executions written in one transaction

# The copies in the order in which they begin, as they would have been written.
COPIES = """
    CREATE TEMP TABLE copies AS
    SELECT row_number() OVER (ORDER BY created_at) AS number, prototype, kind, begun,
           uuidv7(created_at - clock_timestamp()) AS id, gen_random_uuid() AS subject_id,
           gen_random_uuid() AS approval_id, created_at
    FROM (
        SELECT prototype, kind, begun,
               now() - (newest + random() * (oldest - newest)) * interval '1 second' AS created_at
        FROM jsonb_to_recordset(%s)
            AS lot (prototype uuid, count int, kind text, begun boolean, oldest float, newest float),
            generate_series(1, count)
    ) AS copy"""
PROTOTYPES = """
    CREATE TEMP TABLE prototypes AS
    SELECT e.*, split_part(subject, ':', 2) AS subject_id, error ->> 'kind' AS kind, created_at::date::text AS day,
           (SELECT id FROM workflow_approvals AS a WHERE execution_id = e.id AND a.status = 'pending') AS approval_id
    FROM workflow_executions AS e WHERE id IN (SELECT prototype FROM copies)"""
INDEX = "CREATE UNIQUE INDEX ON copies (number)"
# A copy's ids, day and kind of error in the place of its prototype's.
VARIED = """
    CREATE FUNCTION pg_temp.varied(source jsonb, p prototypes, c copies) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
        SELECT replace(replace(replace(replace(replace(source::text,
            p.id::text, c.id::text),
            coalesce(p.subject_id, p.id::text), c.subject_id::text),
            coalesce(p.kind, '-'), coalesce(c.kind, '-')),
            coalesce(p.approval_id, p.id)::text, c.approval_id::text),
            p.day, c.created_at::date::text)::jsonb $$"""
CHUNKED = "FROM copies AS c JOIN prototypes AS p ON p.id = c.prototype AND c.number BETWEEN %(first)s AND %(last)s"
EXECUTIONS = f"""
    INSERT INTO workflow_executions (id, workflow, version, status, subject, start_key, started_by, inputs, state,
        output, error, current_step, completed_steps, total_steps, epoch, position, dispatches, due_at, wakes_at,
        created_at, completed_at)
    SELECT c.id, workflow, version, CASE WHEN begun THEN 'running' ELSE status END,
        split_part(subject, ':', 1) || ':' || c.subject_id, CASE WHEN start_key IS NOT NULL THEN c.id::text END,
        started_by, pg_temp.varied(inputs, p, c),
        CASE WHEN begun THEN '{{"steps": {{}}}}' ELSE pg_temp.varied(state, p, c) END,
        CASE WHEN begun THEN '{{}}' ELSE pg_temp.varied(output, p, c) END,
        pg_temp.varied(error, p, c), CASE WHEN begun THEN 'validate_slot' ELSE current_step END,
        CASE WHEN begun THEN 0 ELSE completed_steps END, total_steps, epoch, CASE WHEN begun THEN 1 ELSE position END,
        0, CASE WHEN begun THEN now() + interval '1 day' END, wakes_at,
        c.created_at, CASE WHEN NOT begun THEN c.created_at + (completed_at - p.created_at) END
    {CHUNKED} ORDER BY number"""
EVENTS = f"""
    INSERT INTO workflow_events (execution_id, position, type, step, at, actor, data)
    SELECT c.id, e.position, type, step, c.created_at + (at - p.created_at), actor, pg_temp.varied(data, p, c)
    {CHUNKED} JOIN workflow_events AS e ON e.execution_id = p.id AND (e.position = 1 OR NOT begun)
    ORDER BY number, e.position"""
APPROVALS = f"""
    INSERT INTO workflow_approvals (id, execution_id, approval, type, assignee, status, data, reason, requested_at,
        expires_at, reminded_at, decided_at, decided_by)
    SELECT CASE WHEN a.status = 'pending' THEN c.approval_id ELSE gen_random_uuid() END, c.id, approval, type, assignee,
        a.status, data, reason, c.created_at + (requested_at - p.created_at), expires_at, reminded_at,
        c.created_at + (decided_at - p.created_at), decided_by
    {CHUNKED} JOIN workflow_approvals AS a ON a.execution_id = p.id
    ORDER BY number"""


@dataclass(frozen=True)
class Lot:
    """So many copies of one execution, begun between ``oldest`` and ``newest`` ago.

    ``kind`` is their kind of error, if they have one. Of those that are only ``begun`` no step has run.
    """

    prototype: UUID
    count: int
    kind: str | None = None
    begun: bool = False
    oldest: timedelta = YEAR
    newest: timedelta = NOW


def fill(database_url: str, lots: Sequence[Lot]) -> None:
    """Write all copies, with their events and approvals, and leave the tables as autovacuum would sooner or later."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT setseed(0.5)")
        connection.execute(COPIES, (psycopg.types.json.Jsonb([_row(lot) for lot in lots]),))
        for statement in (PROTOTYPES, INDEX, VARIED, "ANALYZE copies, prototypes"):
            connection.execute(statement)
        for first in range(1, sum(lot.count for lot in lots) + 1, CHUNK):
            with connection.transaction():
                for statement in (EXECUTIONS, EVENTS, APPROVALS):
                    connection.execute(statement, {"first": first, "last": first + CHUNK - 1})
        connection.execute("VACUUM ANALYZE workflow_executions, workflow_events, workflow_approvals")


def _row(lot: Lot) -> dict[str, object]:
    return {
        "prototype": str(lot.prototype),
        "count": lot.count,
        "kind": lot.kind,
        "begun": lot.begun,
        "oldest": lot.oldest.total_seconds(),
        "newest": lot.newest.total_seconds(),
    }
