"""Telling the other party of a booking that it was changed; both of them, where it was neither who changed it."""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from zea.bookings.models import Booking
from zea.db import new_id
from zea.notifications import booking_texts, service
from zea.notifications.texts import Reader, Text


class Told(NamedTuple):
    """Somebody who is told, the name of the other party, and whether it is the athlete who is told."""

    user_id: UUID
    reader: Reader
    other_name: str
    is_athlete: bool


def cancelled(db: Session, booking: Booking, by: UUID, *, refunded: bool) -> None:
    for told in _others(db, booking, by):
        text = booking_texts.booking_cancelled(
            told.reader,
            told.other_name,
            starts_at=booking.starts_at,
            reason=booking.cancellation_reason,
            refunded=refunded if told.is_athlete else None,
        )
        _tell(db, booking, told, "booking_cancelled", text)


def rescheduled(db: Session, booking: Booking, by: UUID, *, before: datetime) -> None:
    for told in _others(db, booking, by):
        text = booking_texts.booking_rescheduled(
            told.reader, told.other_name, before=before, starts_at=booking.starts_at
        )
        _tell(db, booking, told, "booking_rescheduled", text)


def missed(db: Session, booking: Booking, by: UUID) -> None:
    for told in _others(db, booking, by):
        text = booking_texts.booking_missed(
            told.reader, told.other_name, starts_at=booking.starts_at, by_reader=told.is_athlete
        )
        _tell(db, booking, told, "booking_missed", text)


def _others(db: Session, booking: Booking, by: UUID) -> Iterator[Told]:
    readers = service.readers_of(db, booking.coach_id, booking.athlete_id)
    for user_id, other_id in ((booking.athlete_id, booking.coach_id), (booking.coach_id, booking.athlete_id)):
        if user_id != by:
            yield Told(user_id, readers[user_id], readers[other_id].name, user_id == booking.athlete_id)


def _tell(db: Session, booking: Booking, told: Told, kind: str, text: Text) -> None:
    # An id of its own: a booking can be moved to and fro, and each time is told.
    origin = f"{kind}:{new_id()}"
    service.write(db, execution_id=booking.execution_id, step=origin, kind=kind, text=text, recipient_id=told.user_id)
