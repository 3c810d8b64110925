"""What has happened, counted for whoever watches."""

import sqlalchemy as sa
from alembic import op

revision = "2026_12_04_counts"
down_revision = "2026_12_03_failures_by_time"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "workflow_counts",
        sa.Column("counted", sa.Text(), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("bucket", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.CheckConstraint("count >= 0", name=op.f("ck_workflow_counts_not_negative")),
        sa.PrimaryKeyConstraint("counted", "workflow", "name", "bucket", name=op.f("pk_workflow_counts")),
    )
    op.create_table(
        "workflow_counted",
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("is_only", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.CheckConstraint("is_only", name=op.f("ck_workflow_counted_one_row")),
        sa.PrimaryKeyConstraint("is_only", name=op.f("pk_workflow_counted")),
    )
    # Counters may begin anywhere, and to count all that was there would hold up the upgrade.
    op.execute("INSERT INTO workflow_counted (until) VALUES (clock_timestamp())")


def downgrade() -> None:
    op.drop_table("workflow_counted")
    op.drop_table("workflow_counts")
