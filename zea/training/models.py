"""What is kept of a training session once it is over: what athlete and coach say of it."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, SmallInteger, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from zea.db import Base

RECEIVED, DECLINED = "received", "declined"
NO_RESPONSE, NO_EVALUATION = "no_response_timeout", "no_evaluation_timeout"


class AthleteFeedback(Base):
    """What the athlete says of a training session, or that nothing was said. One a booking."""

    __tablename__ = "athlete_feedback"
    __table_args__ = (
        CheckConstraint(f"status IN ('{RECEIVED}', '{NO_RESPONSE}', '{DECLINED}')", name="status"),
        CheckConstraint("rating BETWEEN 1 AND 5", name="rating"),
        # What was received says something; what was not says nothing.
        CheckConstraint(
            f"(status = '{RECEIVED}') = (rating IS NOT NULL AND objectives_met IS NOT NULL)", name="received_has_answer"
        ),
    )

    booking_id: Mapped[UUID] = mapped_column(ForeignKey("bookings.id"), primary_key=True)
    execution_id: Mapped[UUID]
    status: Mapped[str] = mapped_column(Text)
    rating: Mapped[int | None] = mapped_column(SmallInteger)
    objectives_met: Mapped[bool | None]
    comments: Mapped[str | None] = mapped_column(Text)
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class CoachEvaluation(Base):
    """What the coach says of an athlete after a training session, or that nothing was said. One a booking."""

    __tablename__ = "coach_evaluations"
    __table_args__ = (
        CheckConstraint(f"status IN ('{RECEIVED}', '{NO_EVALUATION}', '{DECLINED}')", name="status"),
        CheckConstraint("performance_rating BETWEEN 1 AND 5", name="performance_rating"),
        CheckConstraint(f"(status = '{RECEIVED}') = (performance_rating IS NOT NULL)", name="received_has_answer"),
    )

    booking_id: Mapped[UUID] = mapped_column(ForeignKey("bookings.id"), primary_key=True)
    execution_id: Mapped[UUID]
    status: Mapped[str] = mapped_column(Text)
    performance_rating: Mapped[int | None] = mapped_column(SmallInteger)
    areas_worked: Mapped[list[str]] = mapped_column(ARRAY(Text))
    areas_to_improve: Mapped[list[str]] = mapped_column(ARRAY(Text))
    notes_for_next_session: Mapped[str | None] = mapped_column(Text)
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
