"""Notifications: rows that a person reads in the app and that go out as mail."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from zea.db import Base, new_id

PENDING_DELIVERY = text("delivered_at IS NULL AND deliver_at IS NOT NULL")


class Notification(Base):
    """One message to one person. ``deliver_at`` is when its mail is tried next; null once it is given up."""

    __tablename__ = "notifications"
    __table_args__ = (
        # A step that runs twice tells a person once.
        Index("uq_notifications_origin", "execution_id", "step", "recipient_id", unique=True),
        Index("ix_notifications_recipient_id_created_at_id", "recipient_id", "created_at", "id"),
        # What the delivery task looks for; it stays as small as what is still to be sent.
        Index("ix_notifications_pending_delivery", "deliver_at", postgresql_where=PENDING_DELIVERY),
        CheckConstraint("delivery_attempts >= 0", name="attempts_not_negative"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    recipient_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    kind: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    execution_id: Mapped[UUID]
    step: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    read_at: Mapped[datetime | None]
    deliver_at: Mapped[datetime | None] = mapped_column(server_default=func.clock_timestamp())
    delivered_at: Mapped[datetime | None]
    delivery_attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    delivery_error: Mapped[str | None] = mapped_column(Text)
