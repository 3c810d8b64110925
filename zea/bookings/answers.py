"""Answers to requests for a booking: whoever was told to wait is told how it came out, and nobody else is told twice.

The caller's answer and the end of the execution meet in one row, which only the first of them makes: the second waits
for the first one's commit, and sees it.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from zea.bookings.models import Booking, BookingAnswer
from zea.db import connection


def accept(db: Session, execution_id: UUID) -> bool:
    """Note that the caller is told to wait; False if the request has come to nothing meanwhile."""
    return _first(db, execution_id, was_accepted=True)


def note_failure(db: Session, execution_id: UUID) -> bool:
    """Note that the request has come to nothing; whether its caller was told to wait, and has to hear of it."""
    stands = select(Booking.id).where(Booking.execution_id == execution_id)
    if connection(db).execute(stands).first():
        return False  # only telling about it has failed
    return _first(db, execution_id, was_accepted=False)


def forget(db: Session, execution_ids: Sequence[UUID]) -> None:
    """Remove what was answered to these requests, with their executions."""
    db.execute(delete(BookingAnswer).where(BookingAnswer.execution_id.in_(execution_ids)))


def _first(db: Session, execution_id: UUID, *, was_accepted: bool) -> bool:
    """Whether the caller is, or was before, told to wait."""
    making = postgresql.insert(BookingAnswer).on_conflict_do_nothing(index_elements=[BookingAnswer.execution_id])
    connection(db).execute(making, {"execution_id": execution_id, "was_accepted": was_accepted})
    first = select(BookingAnswer.was_accepted).where(BookingAnswer.execution_id == execution_id)
    return bool(connection(db).execute(first).scalar_one())
