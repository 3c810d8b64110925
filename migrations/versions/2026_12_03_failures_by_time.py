"""Finds what has failed lately."""

import sqlalchemy as sa
from alembic import op

revision = "2026_12_03_failures_by_time"
down_revision = "2026_12_02_sign_outs"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_workflow_executions_failed",
        "workflow_executions",
        ["completed_at"],
        postgresql_where=sa.text("status = 'failed'"),
    )


def downgrade() -> None:
    op.drop_index("ix_workflow_executions_failed", table_name="workflow_executions")
