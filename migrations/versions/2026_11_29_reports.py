"""Payment reports, their lines and files, mail that carries one, and what callers of bookings were told."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_29_reports"
down_revision = "2026_11_28_training"
branch_labels = None
depends_on = None

HELD = sa.text("status IN ('COMPLETED', 'FINALIZED')")


def upgrade() -> None:
    _create_reports()
    _create_revisions()
    _create_lines()
    _create_file_parts()
    _create_months()
    op.create_index("ix_bookings_held", "bookings", ["actual_start_time"], postgresql_where=HELD)
    _let_notifications_carry_reports()
    op.create_table(
        "booking_answers",
        sa.Column("execution_id", sa.Uuid(), nullable=False),
        sa.Column("was_accepted", sa.Boolean(), nullable=False),
        _moment("created_at", server_default=sa.text("clock_timestamp()")),
        sa.PrimaryKeyConstraint("execution_id", name=op.f("pk_booking_answers")),
    )


def _create_reports() -> None:
    op.create_table(
        "payment_reports",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("report_id", sa.Text(), nullable=False),
        sa.Column("start_on", sa.Date(), nullable=False),
        sa.Column("end_on", sa.Date(), nullable=False),
        sa.Column("coach_id", sa.Uuid(), nullable=True),
        sa.Column("latest_revision", sa.Integer(), server_default="0", nullable=False),
        sa.Column("current_revision", sa.Integer(), server_default="0", nullable=False),
        _moment("created_at", server_default=sa.text("clock_timestamp()")),
        sa.CheckConstraint("end_on >= start_on", name=op.f("ck_payment_reports_ends_after_start")),
        sa.CheckConstraint(
            "current_revision BETWEEN 0 AND latest_revision", name=op.f("ck_payment_reports_current_revision")
        ),
        sa.CheckConstraint(
            "(current_revision = 0) = (latest_revision = 0)", name=op.f("ck_payment_reports_has_current_revision")
        ),
        sa.ForeignKeyConstraint(["coach_id"], ["users.id"], name=op.f("fk_payment_reports_coach_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment_reports")),
    )
    op.create_index("uq_payment_reports_report_id", "payment_reports", ["report_id"], unique=True)
    op.create_index("ix_payment_reports_created_at_id", "payment_reports", ["created_at", "id"])


def _create_revisions() -> None:
    op.create_table(
        "payment_report_revisions",
        sa.Column("report_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("execution_id", sa.Uuid(), nullable=False),
        sa.Column("fetch_id", sa.Uuid(), nullable=False),
        _moment("data_at"),
        _moment("generated_at"),
        sa.Column("timezone", sa.Text(), nullable=False),
        *(sa.Column(name, postgresql.JSONB(), nullable=False) for name in ("summary", "coaches", "weekly_breakdown")),
        sa.Column("csv_bytes", sa.BigInteger(), nullable=True),
        sa.Column("csv_compressed_bytes", sa.BigInteger(), nullable=True),
        sa.Column("csv_sha256", sa.Text(), nullable=True),
        sa.CheckConstraint("revision >= 1", name=op.f("ck_payment_report_revisions_counts_from_one")),
        sa.CheckConstraint(
            "num_nulls(csv_bytes, csv_compressed_bytes, csv_sha256) IN (0, 3)",
            name=op.f("ck_payment_report_revisions_whole_file"),
        ),
        sa.ForeignKeyConstraint(
            ["report_id"],
            ["payment_reports.report_id"],
            name=op.f("fk_payment_report_revisions_report_id_payment_reports"),
        ),
        sa.PrimaryKeyConstraint("report_id", "revision", name=op.f("pk_payment_report_revisions")),
    )
    op.create_index(
        "uq_payment_report_revisions_execution_id", "payment_report_revisions", ["execution_id"], unique=True
    )


def _create_lines() -> None:
    op.create_table(
        "payment_report_lines",
        sa.Column("fetch_id", sa.Uuid(), nullable=False),
        sa.Column("line_number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("booking_id", sa.Uuid(), nullable=False),
        sa.Column("coach_id", sa.Uuid(), nullable=False),
        sa.Column("coach_name", sa.Text(), nullable=False),
        sa.Column("held_on", sa.Date(), nullable=False),
        _moment("began_at"),
        _moment("ended_at"),
        sa.Column("duration_minutes", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.CheckConstraint("duration_minutes >= 0", name=op.f("ck_payment_report_lines_duration_not_negative")),
        sa.PrimaryKeyConstraint("fetch_id", "line_number", name=op.f("pk_payment_report_lines")),
    )


def _create_file_parts() -> None:
    op.create_table(
        "payment_report_file_parts",
        sa.Column("report_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("part", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["report_id", "revision"],
            ["payment_report_revisions.report_id", "payment_report_revisions.revision"],
            name="fk_payment_report_file_parts_revision",
        ),
        sa.PrimaryKeyConstraint("report_id", "revision", "part", name=op.f("pk_payment_report_file_parts")),
    )


def _create_months() -> None:
    op.create_table(
        "payment_report_months",
        sa.Column("month_on", sa.Date(), nullable=False),
        sa.CheckConstraint("extract(day FROM month_on) = 1", name=op.f("ck_payment_report_months_first_of_month")),
        sa.PrimaryKeyConstraint("month_on", name=op.f("pk_payment_report_months")),
    )


def _let_notifications_carry_reports() -> None:
    op.add_column("notifications", sa.Column("recipient_email", sa.Text(), nullable=True))
    op.add_column("notifications", sa.Column("report_id", sa.Text(), nullable=True))
    op.add_column("notifications", sa.Column("report_revision", sa.Integer(), nullable=True))
    op.alter_column("notifications", "recipient_id", nullable=True)
    op.create_check_constraint(
        op.f("ck_notifications_has_recipient"), "notifications", "num_nonnulls(recipient_id, recipient_email) = 1"
    )
    op.create_foreign_key(
        "fk_notifications_report_revision",
        "notifications",
        "payment_report_revisions",
        ["report_id", "report_revision"],
        ["report_id", "revision"],
        match="FULL",
    )
    _index_origins(nulls_not_distinct=True)


def _index_origins(*, nulls_not_distinct: bool) -> None:
    op.drop_index("uq_notifications_origin", table_name="notifications")
    op.create_index(
        "uq_notifications_origin",
        "notifications",
        ["execution_id", "step", "recipient_id"],
        unique=True,
        postgresql_nulls_not_distinct=nulls_not_distinct,
    )


def downgrade() -> None:
    # What was sent to an address without an account has no place in the schema before.
    op.execute("DELETE FROM notifications WHERE recipient_id IS NULL")
    op.drop_constraint("fk_notifications_report_revision", "notifications", type_="foreignkey")
    op.drop_constraint(op.f("ck_notifications_has_recipient"), "notifications", type_="check")
    op.alter_column("notifications", "recipient_id", nullable=False)
    for column in ("report_revision", "report_id", "recipient_email"):
        op.drop_column("notifications", column)
    _index_origins(nulls_not_distinct=False)
    op.drop_index("ix_bookings_held", table_name="bookings")
    for table in (
        *("booking_answers", "payment_report_months", "payment_report_file_parts", "payment_report_lines"),
        *("payment_report_revisions", "payment_reports"),
    ):
        op.drop_table(table)


def _moment(name: str, **more: sa.TextClause) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, **more)  # type: ignore[arg-type]  # one keyword
