"""Finds all sign-ins of a person, to end them."""

from alembic import op

revision = "2026_12_02_sign_outs"
down_revision = "2026_12_01_withdrawn_slots"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_refresh_tokens_user_id", "refresh_tokens", ["user_id"])


def downgrade() -> None:
    op.drop_index("ix_refresh_tokens_user_id", table_name="refresh_tokens")
