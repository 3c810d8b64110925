"""Finds executions that ended long ago and what reran them, and refresh tokens that have expired."""

import sqlalchemy as sa

from migrations.concurrently import create_index, drop_index

revision = "2026_12_06_ended_long_ago"
down_revision = "2026_12_06_archive"
branch_labels = None
depends_on = None

TABLE = "workflow_executions"


def upgrade() -> None:
    create_index(
        f"ix_{TABLE}_completed_at", TABLE, ["completed_at", "id"], postgresql_where=sa.text("completed_at IS NOT NULL")
    )
    create_index(f"ix_{TABLE}_rerun_of", TABLE, ["rerun_of"], postgresql_where=sa.text("rerun_of IS NOT NULL"))
    create_index("ix_refresh_tokens_expires_at", "refresh_tokens", ["expires_at"])


def downgrade() -> None:
    drop_index("ix_refresh_tokens_expires_at", "refresh_tokens")
    for name in ("rerun_of", "completed_at"):
        drop_index(f"ix_{TABLE}_{name}", TABLE)
