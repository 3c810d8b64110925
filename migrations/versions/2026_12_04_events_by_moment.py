"""Finds events by their moment."""

from migrations.concurrently import create_index, drop_index

revision = "2026_12_04_events_by_moment"
down_revision = "2026_12_04_counts"
branch_labels = None
depends_on = None

INDEX, TABLE = "ix_workflow_events_at", "workflow_events"


def upgrade() -> None:
    # Events come in the order of their moments: an index of blocks costs next to nothing to keep.
    create_index(
        INDEX,
        TABLE,
        ["at"],
        postgresql_using="brin",
        postgresql_with={"autosummarize": "on", "pages_per_range": "32"},
    )


def downgrade() -> None:
    drop_index(INDEX, TABLE)
