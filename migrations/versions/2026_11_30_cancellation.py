"""When, by whom and why a booking was cancelled."""

import sqlalchemy as sa
from alembic import op

revision = "2026_11_30_cancellation"
down_revision = "2026_11_29_reports"
branch_labels = None
depends_on = None

CHECK = "(status = 'CANCELLED') = (cancelled_at IS NOT NULL) AND (cancelled_at IS NULL) = (cancelled_by IS NULL)"


def upgrade() -> None:
    op.add_column("bookings", sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("bookings", sa.Column("cancelled_by", sa.Text(), nullable=True))
    op.add_column("bookings", sa.Column("cancellation_reason", sa.Text(), nullable=True))
    op.create_check_constraint(op.f("ck_bookings_cancelled_has_moment"), "bookings", CHECK)


def downgrade() -> None:
    op.drop_constraint(op.f("ck_bookings_cancelled_has_moment"), "bookings", type_="check")
    for column in ("cancellation_reason", "cancelled_by", "cancelled_at"):
        op.drop_column("bookings", column)
