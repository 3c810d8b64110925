"""Training sessions that were held, written straight into the database: as many as a test wants, whenever they were."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from uuid import UUID

from sqlalchemy import text

from workflows.catalog import registry
from workflows.engine.client import ExecutionClient
from workflows.engine.runner import Delivery, Runner
from workflows.payment_report import ReportRequest, payment_report
from zea.db import new_id, transaction

client = ExecutionClient(registry)
STEPS = tuple(each.name for each in payment_report.steps)
EXPORTED = STEPS[: STEPS.index("notify_admin")]

USER = """
    INSERT INTO users (id, email, email_key, password_hash, name, role, locale, timezone, is_active, can_book)
    VALUES (:id, :email, :email, '-', :name, :role, 'es', 'America/Santiago', true, false)"""
# A slot that is its session's own: what was really held may overlap what was offered.
SLOT = """
    INSERT INTO slots (id, coach_id, starts_at, ends_at, status)
    VALUES (:id, :coach, :begins, :ends, 'booked')"""
BOOKING = """
    INSERT INTO bookings (id, athlete_id, coach_id, slot_id, starts_at, ends_at, status, confirmed_at, execution_id,
        actual_start_time, actual_end_time, actual_duration_minutes, finalized_at, cancelled_at, cancelled_by)
    VALUES (:id, :athlete, :coach, :id, :begins, :ends, :status, now(), :id, :begins, :ends, :minutes,
        CASE WHEN :status = 'FINALIZED' THEN now() END,
        CASE WHEN :status = 'CANCELLED' THEN now() END, CASE WHEN :status = 'CANCELLED' THEN 'test' END)"""


def person(role: str, name: str) -> UUID:
    """Somebody with an account."""
    user_id = new_id()
    with transaction() as db:
        db.execute(text(USER), {"id": user_id, "email": f"{user_id}@example.com", "name": name, "role": role})
    return user_id


def held(
    coach_id: UUID, athlete_id: UUID, begins: Iterable[datetime], minutes: int = 60, status: str = "FINALIZED"
) -> list[UUID]:
    """A session at each of these moments; answers their bookings' ids."""
    rows = [
        {
            "id": new_id(),
            "coach": coach_id,
            "athlete": athlete_id,
            "begins": moment,
            "ends": moment + timedelta(minutes=minutes),
            "minutes": minutes,
            "status": status,
        }
        for moment in begins
    ]
    with transaction() as db:
        db.execute(text(SLOT), rows)
        db.execute(text(BOOKING), rows)
    return [row["id"] for row in rows]


def begin_report(start: date, end: date, coach_id: UUID | None = None) -> UUID:
    """An execution of which nothing has run."""
    return client.start(payment_report, ReportRequest(start, end, coach_id), actor="test").execution_id


def run(execution_id: UUID, steps: Iterable[str] = STEPS) -> UUID:
    """Run these steps here, as a worker would; answers the execution's id."""
    for step in steps:
        Runner(registry, "worker:test").run(Delivery(payment_report.name, step, execution_id, epoch=1))
    return execution_id


def report(start: date, end: date, coach_id: UUID | None = None) -> UUID:
    """A report that is made, and sent; answers its execution's id."""
    return run(begin_report(start, end, coach_id))
