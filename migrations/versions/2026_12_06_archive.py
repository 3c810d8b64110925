"""Lets archiving remove what ended long ago, and finds it; finds refresh tokens that have expired."""

import sqlalchemy as sa
from alembic import op

revision = "2026_12_06_archive"
down_revision = "2026_12_05_search"
branch_labels = None
depends_on = None

TABLE = "workflow_executions"
REFUSE = """
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';"""
# Whoever archives says so in its transaction, and nothing else ever does: a DELETE by mistake is refused as before, and
# so is a change of an event while archiving. The credit ledger stays for ever.
UNLESS_ARCHIVING = """
    IF TG_TABLE_NAME = 'workflow_events' AND TG_OP = 'DELETE' AND current_setting('zea.archiving', true) = 'on' THEN
        RETURN OLD;
    END IF;"""


def upgrade() -> None:
    op.create_index(
        f"ix_{TABLE}_completed_at", TABLE, ["completed_at", "id"], postgresql_where=sa.text("completed_at IS NOT NULL")
    )
    op.create_index(f"ix_{TABLE}_rerun_of", TABLE, ["rerun_of"], postgresql_where=sa.text("rerun_of IS NOT NULL"))
    op.create_index("ix_refresh_tokens_expires_at", "refresh_tokens", ["expires_at"])
    _replace_function(UNLESS_ARCHIVING + REFUSE)


def downgrade() -> None:
    _replace_function(REFUSE)
    op.drop_index("ix_refresh_tokens_expires_at", table_name="refresh_tokens")
    for name in ("rerun_of", "completed_at"):
        op.drop_index(f"ix_{TABLE}_{name}", table_name=TABLE)


def _replace_function(body: str) -> None:
    op.execute(f"CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$")
