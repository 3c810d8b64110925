"""Payment reports: the lines that each run copied, the revisions made of them, and their files."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, LargeBinary, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from zea.db import Base, new_id


class PaymentReport(Base):
    """What is paid for a period, to one coach or to all; ``latest_revision`` is 0 until the first run is saved.

    Its row is held by whoever copies lines for it or saves a revision of it, one at a time.
    """

    __tablename__ = "payment_reports"
    __table_args__ = (
        Index("uq_payment_reports_report_id", "report_id", unique=True),
        CheckConstraint("end_on >= start_on", name="ends_after_start"),
        # The current revision is one of those that there are.
        CheckConstraint("current_revision BETWEEN 0 AND latest_revision", name="current_revision"),
        CheckConstraint("(current_revision = 0) = (latest_revision = 0)", name="has_current_revision"),
        Index("ix_payment_reports_created_at_id", "created_at", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    report_id: Mapped[str] = mapped_column(Text)
    start_on: Mapped[date]
    end_on: Mapped[date]
    coach_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    latest_revision: Mapped[int] = mapped_column(default=0, server_default="0")
    current_revision: Mapped[int] = mapped_column(default=0, server_default="0")
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class ReportRevision(Base):
    """One run's result. ``data_at`` is when its lines were copied; the file's size and hash come with its export."""

    __tablename__ = "payment_report_revisions"
    __table_args__ = (
        # A run makes one revision.
        Index("uq_payment_report_revisions_execution_id", "execution_id", unique=True),
        CheckConstraint("revision >= 1", name="counts_from_one"),
        # The file is there, or it is not.
        CheckConstraint("num_nulls(csv_bytes, csv_compressed_bytes, csv_sha256) IN (0, 3)", name="whole_file"),
    )

    report_id: Mapped[str] = mapped_column(ForeignKey("payment_reports.report_id"), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    execution_id: Mapped[UUID]
    fetch_id: Mapped[UUID]
    data_at: Mapped[datetime]
    generated_at: Mapped[datetime]
    timezone: Mapped[str] = mapped_column(Text)
    summary: Mapped[dict[str, Any]] = mapped_column(JSONB)
    coaches: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    weekly_breakdown: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    csv_bytes: Mapped[int | None] = mapped_column(BigInteger)
    csv_compressed_bytes: Mapped[int | None] = mapped_column(BigInteger)
    csv_sha256: Mapped[str | None] = mapped_column(Text)


class ReportLine(Base):
    """A session as it was when a run copied it. What happens to the booking afterwards changes nothing here."""

    __tablename__ = "payment_report_lines"
    __table_args__ = (CheckConstraint("duration_minutes >= 0", name="duration_not_negative"),)

    fetch_id: Mapped[UUID] = mapped_column(primary_key=True)
    line_number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    booking_id: Mapped[UUID]
    coach_id: Mapped[UUID]
    coach_name: Mapped[str] = mapped_column(Text)
    held_on: Mapped[date]
    began_at: Mapped[datetime]
    ended_at: Mapped[datetime]
    duration_minutes: Mapped[int]
    status: Mapped[str] = mapped_column(Text)


class ReportFilePart(Base):
    """A stretch of a revision's CSV, compressed; the parts in order are one zlib stream (RFC 1950)."""

    __tablename__ = "payment_report_file_parts"
    __table_args__ = (
        ForeignKeyConstraint(
            ["report_id", "revision"],
            ["payment_report_revisions.report_id", "payment_report_revisions.revision"],
            name="fk_payment_report_file_parts_revision",
        ),
    )

    report_id: Mapped[str] = mapped_column(Text, primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    part: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class MonthlyRun(Base):
    """A month whose report was begun by itself: each once, also after its execution was archived."""

    __tablename__ = "payment_report_months"
    __table_args__ = (CheckConstraint("extract(day FROM month_on) = 1", name="first_of_month"),)

    month_on: Mapped[date] = mapped_column(primary_key=True)
