"""Finds executions by their kind of error, by workflow and status, and those that have not ended."""

import sqlalchemy as sa
from alembic import op

revision = "2026_12_05_search"
down_revision = "2026_12_05_trace_context"
branch_labels = None
depends_on = None

TABLE = "workflow_executions"


def upgrade() -> None:
    op.create_index("ix_workflow_executions_workflow_status", TABLE, ["workflow", "status", "created_at", "id"])
    op.create_index(
        "ix_workflow_executions_active",
        TABLE,
        ["created_at", "id"],
        postgresql_include=["workflow", "status"],
        postgresql_where=sa.text("completed_at IS NULL"),
    )
    op.create_index(
        "ix_workflow_executions_error_kind",
        TABLE,
        [sa.text("(error ->> 'kind')"), "created_at", "id"],
        postgresql_where=sa.text("error IS NOT NULL"),
    )


def downgrade() -> None:
    for name in ("error_kind", "active", "workflow_status"):
        op.drop_index(f"ix_workflow_executions_{name}", table_name=TABLE)
