"""Notifications: rows that a person reads in the app and that go out as mail."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from zea.db import Base, new_id

PENDING_DELIVERY = text("delivered_at IS NULL AND deliver_at IS NOT NULL")


class Notification(Base):
    """One message to one person. ``deliver_at`` is when its mail is tried next; null once it is given up."""

    __tablename__ = "notifications"
    __table_args__ = (
        # A step that runs twice tells a person once; without an account there is one address a step.
        Index(
            "uq_notifications_origin",
            *("execution_id", "step", "recipient_id"),
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
        # It is for somebody with an account, or for an address without one.
        CheckConstraint("num_nonnulls(recipient_id, recipient_email) = 1", name="has_recipient"),
        # What is attached is a revision of a report.
        ForeignKeyConstraint(
            ["report_id", "report_revision"],
            ["payment_report_revisions.report_id", "payment_report_revisions.revision"],
            name="fk_notifications_report_revision",
            match="FULL",
        ),
        Index("ix_notifications_recipient_id_created_at_id", "recipient_id", "created_at", "id"),
        # What the delivery task looks for; it stays as small as what is still to be sent.
        Index("ix_notifications_pending_delivery", "deliver_at", postgresql_where=PENDING_DELIVERY),
        CheckConstraint("delivery_attempts >= 0", name="attempts_not_negative"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    recipient_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    recipient_email: Mapped[str | None] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    execution_id: Mapped[UUID]
    step: Mapped[str] = mapped_column(Text)
    report_id: Mapped[str | None] = mapped_column(Text)
    report_revision: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    read_at: Mapped[datetime | None]
    deliver_at: Mapped[datetime | None] = mapped_column(server_default=func.clock_timestamp())
    delivered_at: Mapped[datetime | None]
    delivery_attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    delivery_error: Mapped[str | None] = mapped_column(Text)
