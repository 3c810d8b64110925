"""Bookings: an athlete's hold on a coach's slot."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, func, text
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from zea.db import Base, new_id


class BookingStatus(StrEnum):
    """PENDING → CONFIRMED → COMPLETED → FINALIZED, or CANCELLED, NO_SHOW. Live: any but CANCELLED."""

    PENDING = "PENDING"
    CONFIRMED = "CONFIRMED"
    COMPLETED = "COMPLETED"
    FINALIZED = "FINALIZED"
    CANCELLED = "CANCELLED"
    NO_SHOW = "NO_SHOW"


LIVE = text("status <> 'CANCELLED'")
# The session took place, and its coach is paid for it.
HELD = text("status IN ('COMPLETED', 'FINALIZED')")


class BookingAnswer(Base):
    """What came first of a request for a booking: that its caller was told 202, or that it came to nothing."""

    __tablename__ = "booking_answers"

    execution_id: Mapped[UUID] = mapped_column(primary_key=True)
    was_accepted: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class Booking(Base):
    """One booked training session. Its period is copied from the slot when it is made."""

    __tablename__ = "bookings"
    __table_args__ = (
        # One live booking a slot.
        Index("uq_bookings_live_slot", "slot_id", unique=True, postgresql_where=LIVE),
        # An athlete is in one place at a time.
        ExcludeConstraint(
            ("athlete_id", "="),
            (text("tstzrange(starts_at, ends_at)"), "&&"),
            using="gist",
            where=LIVE,
            name="ex_bookings_no_overlap",
        ),
        # An execution makes one booking.
        Index("uq_bookings_execution_id", "execution_id", unique=True),
        CheckConstraint("ends_at > starts_at", name="ends_after_start"),
        CheckConstraint(
            "status IN ('PENDING', 'CONFIRMED', 'COMPLETED', 'FINALIZED', 'CANCELLED', 'NO_SHOW')", name="status"
        ),
        CheckConstraint("status <> 'CONFIRMED' OR confirmed_at IS NOT NULL", name="confirmed_has_moment"),
        # What is completed says how long it took, because that is what the coach is paid for.
        CheckConstraint(
            "status NOT IN ('COMPLETED', 'FINALIZED') OR (actual_start_time IS NOT NULL"
            " AND actual_end_time > actual_start_time AND actual_duration_minutes >= 0)",
            name="completed_has_time",
        ),
        CheckConstraint("(status = 'FINALIZED') = (finalized_at IS NOT NULL)", name="finalized_has_moment"),
        CheckConstraint(
            "(status = 'CANCELLED') = (cancelled_at IS NOT NULL) AND (cancelled_at IS NULL) = (cancelled_by IS NULL)",
            name="cancelled_has_moment",
        ),
        Index("ix_bookings_athlete_id_created_at_id", "athlete_id", "created_at", "id"),
        Index("ix_bookings_coach_id_created_at_id", "coach_id", "created_at", "id"),
        Index("ix_bookings_created_at_id", "created_at", "id"),
        # What payment reports look for.
        Index("ix_bookings_held", "actual_start_time", postgresql_where=HELD),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    athlete_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    coach_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    slot_id: Mapped[UUID] = mapped_column(ForeignKey("slots.id"))
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    status: Mapped[str] = mapped_column(Text, default=BookingStatus.PENDING)
    notes: Mapped[str | None] = mapped_column(Text)
    confirmed_at: Mapped[datetime | None]
    actual_start_time: Mapped[datetime | None]
    actual_end_time: Mapped[datetime | None]
    actual_duration_minutes: Mapped[int | None]
    finalized_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    cancelled_by: Mapped[str | None] = mapped_column(Text)
    cancellation_reason: Mapped[str | None] = mapped_column(Text)
    execution_id: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
