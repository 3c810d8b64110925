"""What becomes of a confirmed booking: its time, what athlete and coach say of it, and its end."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_28_training"
down_revision = "2026_11_27_approvals"
branch_labels = None
depends_on = None

CHECKS = {
    "completed_has_time": (
        "status NOT IN ('COMPLETED', 'FINALIZED') OR (actual_start_time IS NOT NULL"
        " AND actual_end_time > actual_start_time AND actual_duration_minutes >= 0)"
    ),
    "finalized_has_moment": "(status = 'FINALIZED') = (finalized_at IS NOT NULL)",
}


def upgrade() -> None:
    op.add_column("bookings", sa.Column("finalized_at", sa.DateTime(timezone=True), nullable=True))
    for name, condition in CHECKS.items():
        op.create_check_constraint(op.f(f"ck_bookings_{name}"), "bookings", condition)
    _create_table(
        "athlete_feedback",
        sa.Column("rating", sa.SmallInteger(), nullable=True),
        sa.Column("objectives_met", sa.Boolean(), nullable=True),
        sa.Column("comments", sa.Text(), nullable=True),
        status="status IN ('received', 'no_response_timeout', 'declined')",
        rating="rating BETWEEN 1 AND 5",
        received_has_answer="(status = 'received') = (rating IS NOT NULL AND objectives_met IS NOT NULL)",
    )
    _create_table(
        "coach_evaluations",
        sa.Column("performance_rating", sa.SmallInteger(), nullable=True),
        sa.Column("areas_worked", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("areas_to_improve", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("notes_for_next_session", sa.Text(), nullable=True),
        status="status IN ('received', 'no_evaluation_timeout', 'declined')",
        performance_rating="performance_rating BETWEEN 1 AND 5",
        received_has_answer="(status = 'received') = (performance_rating IS NOT NULL)",
    )


def downgrade() -> None:
    op.drop_table("coach_evaluations")
    op.drop_table("athlete_feedback")
    for name in CHECKS:
        op.drop_constraint(op.f(f"ck_bookings_{name}"), "bookings", type_="check")
    op.drop_column("bookings", "finalized_at")


def _create_table(table: str, *said: sa.Column[object], **checks: str) -> None:
    """What one party says of a booking: one row each."""
    op.create_table(
        table,
        sa.Column("booking_id", sa.Uuid(), nullable=False),
        sa.Column("execution_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        *said,
        sa.Column(
            "recorded_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        *(sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{name}")) for name, condition in checks.items()),
        sa.ForeignKeyConstraint(["booking_id"], ["bookings.id"], name=op.f(f"fk_{table}_booking_id_bookings")),
        sa.PrimaryKeyConstraint("booking_id", name=op.f(f"pk_{table}")),
    )
