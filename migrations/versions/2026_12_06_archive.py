"""Lets archiving remove what ended long ago."""

from alembic import op

revision = "2026_12_06_archive"
down_revision = "2026_12_05_search"
branch_labels = None
depends_on = None

deliberate = {
    "ban-replace-view-function": "The release before removes no events, and is refused what it was refused before."
}

REFUSE = """
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';"""
# Whoever archives says so in its transaction, and nothing else ever does: a DELETE by mistake is refused as before, and
# so is a change of an event while archiving. The credit ledger stays for ever.
UNLESS_ARCHIVING = """
    IF TG_TABLE_NAME = 'workflow_events' AND TG_OP = 'DELETE' AND current_setting('zea.archiving', true) = 'on' THEN
        RETURN OLD;
    END IF;"""


def upgrade() -> None:
    _replace_function(UNLESS_ARCHIVING + REFUSE)


def downgrade() -> None:
    _replace_function(REFUSE)


def _replace_function(body: str) -> None:
    op.execute(f"CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$")
