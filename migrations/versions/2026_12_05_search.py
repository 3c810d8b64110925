"""Finds executions by their kind of error, by workflow and status, and those that have not ended."""

import sqlalchemy as sa

from migrations.concurrently import create_index, drop_index

revision = "2026_12_05_search"
down_revision = "2026_12_05_trace_context"
branch_labels = None
depends_on = None

TABLE = "workflow_executions"


def upgrade() -> None:
    create_index("ix_workflow_executions_workflow_status", TABLE, ["workflow", "status", "created_at", "id"])
    create_index(
        "ix_workflow_executions_active",
        TABLE,
        ["created_at", "id"],
        postgresql_include=["workflow", "status"],
        postgresql_where=sa.text("completed_at IS NULL"),
    )
    create_index(
        "ix_workflow_executions_error_kind",
        TABLE,
        [sa.text("(error ->> 'kind')"), "created_at", "id"],
        postgresql_where=sa.text("error IS NOT NULL"),
    )


def downgrade() -> None:
    for name in ("error_kind", "active", "workflow_status"):
        drop_index(f"ix_workflow_executions_{name}", TABLE)
