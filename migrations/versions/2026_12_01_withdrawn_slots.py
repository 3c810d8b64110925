"""A slot that is no longer offered stays, because bookings name it, and is in nobody's way."""

import sqlalchemy as sa
from alembic import op

revision = "2026_12_01_withdrawn_slots"
down_revision = "2026_11_30_cancellation"
branch_labels = None
depends_on = None

OFFERED = "status <> 'withdrawn'"
OVERLAP = (
    "ALTER TABLE slots ADD CONSTRAINT ex_slots_no_overlap"
    " EXCLUDE USING gist (coach_id WITH =, tstzrange(starts_at, ends_at) WITH &&)"
)


def upgrade() -> None:
    _replace("status IN ('open', 'booked', 'withdrawn')", OFFERED)


def downgrade() -> None:
    # A slot that no booking names can go. What names another one, a cancelled booking, names the slot in its place, if
    # there is one by now; else it is offered again.
    op.execute(
        """
        UPDATE bookings SET slot_id = (
            SELECT other.id FROM slots AS other
            WHERE other.coach_id = withdrawn.coach_id
              AND tstzrange(other.starts_at, other.ends_at) && tstzrange(withdrawn.starts_at, withdrawn.ends_at)
            ORDER BY other.status = 'withdrawn', other.id DESC LIMIT 1)
        FROM slots AS withdrawn WHERE withdrawn.id = bookings.slot_id AND withdrawn.status = 'withdrawn'"""
    )
    op.execute("DELETE FROM slots WHERE status = 'withdrawn' AND id NOT IN (SELECT slot_id FROM bookings)")
    op.execute("UPDATE slots SET status = 'open' WHERE status = 'withdrawn'")
    _replace("status IN ('open', 'booked')", None)


def _replace(statuses: str, only: str | None) -> None:
    """The check of the status, and the two that keep a coach's slots apart, for those that ``only`` names."""
    op.drop_constraint(op.f("ck_slots_status"), "slots", type_="check")
    op.create_check_constraint(op.f("ck_slots_status"), "slots", statuses)
    op.drop_index("uq_slots_coach_id_starts_at", table_name="slots")
    op.create_index(
        "uq_slots_coach_id_starts_at",
        "slots",
        ["coach_id", "starts_at"],
        unique=True,
        postgresql_where=sa.text(only) if only else None,
    )
    op.drop_constraint("ex_slots_no_overlap", "slots")
    op.execute(f"{OVERLAP} WHERE ({only})" if only else OVERLAP)
