"""Credits: one balance per athlete, and the append-only ledger that explains it."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from zea.db import Base, new_id


class EntryKind(StrEnum):
    """Why a balance changed."""

    GRANT = "grant"
    DEBIT = "debit"
    REFUND = "refund"
    ADJUSTMENT = "adjustment"


class CreditAccount(Base):
    """An athlete's balance, in credits; always the sum of their ledger entries."""

    __tablename__ = "credit_accounts"
    __table_args__ = (
        # The last line against a double spend.
        CheckConstraint("balance >= 0", name="balance_not_negative"),
    )

    athlete_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    balance: Mapped[int] = mapped_column(default=0)


class LedgerEntry(Base):
    """One change of a balance. Entries are never changed or removed: a trigger refuses it."""

    __tablename__ = "credit_ledger"
    __table_args__ = (
        # One debit and one refund a booking.
        Index(
            "uq_credit_ledger_booking_kind",
            "booking_id",
            "kind",
            unique=True,
            postgresql_where=text("booking_id IS NOT NULL"),
        ),
        CheckConstraint("kind IN ('grant', 'debit', 'refund', 'adjustment')", name="kind"),
        CheckConstraint(
            "CASE kind WHEN 'debit' THEN amount < 0 WHEN 'adjustment' THEN amount <> 0 ELSE amount > 0 END", name="sign"
        ),
        Index("ix_credit_ledger_athlete_id_created_at_id", "athlete_id", "created_at", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    athlete_id: Mapped[UUID] = mapped_column(ForeignKey("credit_accounts.athlete_id"))
    kind: Mapped[str] = mapped_column(Text)
    amount: Mapped[int]
    reason: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(Text)
    booking_id: Mapped[UUID | None] = mapped_column(ForeignKey("bookings.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
