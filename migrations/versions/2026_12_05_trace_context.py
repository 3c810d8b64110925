"""Keeps which trace an execution's steps belong to."""

import sqlalchemy as sa
from alembic import op

revision = "2026_12_05_trace_context"
down_revision = "2026_12_04_events_by_moment"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workflow_executions", sa.Column("trace_context", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("workflow_executions", "trace_context")
