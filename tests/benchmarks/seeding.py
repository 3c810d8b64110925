"""People with credits and slots for as many bookings as a measurement makes, written straight into the tables."""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text

from zea.accounts import tokens
from zea.accounts.models import Role
from zea.db import new_id, transaction

USERS = text("""
    INSERT INTO users (id, email, email_key, password_hash, name, role, locale, timezone, is_active, can_book)
    VALUES (:id, :email, :email, '-', 'Bench', :role, 'es', 'America/Santiago', true, :role = 'athlete')""")
CREDITS = text("INSERT INTO credit_accounts (athlete_id, balance) VALUES (:id, :credits)")
LEDGER = text("""
    INSERT INTO credit_ledger (id, athlete_id, kind, amount, reason, actor)
    VALUES (:entry_id, :id, 'grant', :credits, 'benchmark', 'benchmark')""")
SLOTS = text("""
    INSERT INTO slots (id, coach_id, starts_at, ends_at, status)
    SELECT gen_random_uuid(), :coach_id, moment, moment + interval '1 hour', 'open'
    FROM generate_series(1, :hours) AS hour,
         LATERAL (SELECT date_trunc('hour', now()) + (hour + 1) * interval '1 hour' AS moment) AS period
    RETURNING starts_at""")


@dataclass(frozen=True)
class Customer:
    """An athlete with a token, and requests for slots of a coach that nobody else asks for."""

    token: str
    requests: Iterator[dict[str, str]]


def customer(bookings: int) -> Customer:
    """An athlete who can make this many bookings."""
    athlete_id, coach_id = new_id(), new_id()
    with transaction() as db:
        for user_id, role in ((athlete_id, "athlete"), (coach_id, "coach")):
            db.execute(USERS, {"id": user_id, "email": f"{user_id}@bench.example", "role": role})
        db.execute(CREDITS, {"id": athlete_id, "credits": bookings})
        if bookings:
            db.execute(LEDGER, {"id": athlete_id, "credits": bookings, "entry_id": new_id()})
        starts = sorted(db.execute(SLOTS, {"coach_id": coach_id, "hours": bookings}).scalars())
    return Customer(
        tokens.access_token(athlete_id, Role.ATHLETE),
        iter([_request(coach_id, moment.isoformat()) for moment in starts]),
    )


def _request(coach_id: UUID, starts_at: str) -> dict[str, str]:
    return {"coach_id": str(coach_id), "slot_datetime": starts_at}
