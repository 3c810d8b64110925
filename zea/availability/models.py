"""The hours that coaches offer."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, func, text
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from zea.db import Base, new_id


class SlotStatus(StrEnum):
    """Whether a slot can still be booked. One that was withdrawn stays because bookings that were cancelled name it."""

    OPEN = "open"
    BOOKED = "booked"
    WITHDRAWN = "withdrawn"


OFFERED = text("status <> 'withdrawn'")


class Slot(Base):
    """A coach's half-open period ``[starts_at, ends_at)``."""

    __tablename__ = "slots"
    __table_args__ = (
        # A coach's slots never overlap; back to back is fine, because the periods are half-open.
        ExcludeConstraint(
            ("coach_id", "="),
            (text("tstzrange(starts_at, ends_at)"), "&&"),
            using="gist",
            where=OFFERED,
            name="ex_slots_no_overlap",
        ),
        # A booking names its slot by coach and start.
        Index("uq_slots_coach_id_starts_at", "coach_id", "starts_at", unique=True, postgresql_where=OFFERED),
        CheckConstraint("ends_at > starts_at", name="ends_after_start"),
        CheckConstraint("status IN ('open', 'booked', 'withdrawn')", name="status"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    coach_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    status: Mapped[str] = mapped_column(Text, default=SlotStatus.OPEN)
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
