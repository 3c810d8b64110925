"""What long waits need: approvals, and the status of executions that wait for one."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_27_approvals"
down_revision = "2026_11_26_failures"
branch_labels = None
depends_on = None

TABLE = "workflow_approvals"
STATUS = "ck_workflow_executions_status"
STATUSES = "'running', 'waiting_for_approval', 'sleeping', 'compensating', 'completed', 'failed', 'cancelled'"
STATUSES_BEFORE = "'running', 'sleeping', 'compensating', 'completed', 'failed', 'cancelled'"
KINDS = {"pending": "status = 'pending'", "settled": "status <> 'pending'"}


def upgrade() -> None:
    _replace_statuses(STATUSES)
    op.create_table(
        TABLE,
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("execution_id", sa.Uuid(), nullable=False),
        sa.Column("approval", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("assignee", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reminded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "status IN ('pending', 'approved', 'rejected', 'expired', 'cancelled')", name=op.f(f"ck_{TABLE}_status")
        ),
        sa.CheckConstraint(
            "(status = 'pending') = (decided_at IS NULL AND decided_by IS NULL)", name=op.f(f"ck_{TABLE}_decided")
        ),
        sa.CheckConstraint("(status = 'approved') = (data IS NOT NULL)", name=op.f(f"ck_{TABLE}_approved_has_data")),
        sa.ForeignKeyConstraint(
            ["execution_id"], ["workflow_executions.id"], name=op.f(f"fk_{TABLE}_execution_id_workflow_executions")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{TABLE}")),
    )
    op.create_index(
        f"uq_{TABLE}_pending",
        TABLE,
        ["execution_id", "approval"],
        unique=True,
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index(f"ix_{TABLE}_execution_id", TABLE, ["execution_id"])
    for kind, condition in KINDS.items():
        op.create_index(f"ix_{TABLE}_{kind}", TABLE, ["requested_at", "id"], postgresql_where=sa.text(condition))
        columns = ["assignee", "requested_at", "id"]
        op.create_index(f"ix_{TABLE}_assignee_{kind}", TABLE, columns, postgresql_where=sa.text(condition))


def downgrade() -> None:
    op.drop_table(TABLE)
    _replace_statuses(STATUSES_BEFORE)


def _replace_statuses(statuses: str) -> None:
    op.drop_constraint(op.f(STATUS), "workflow_executions", type_="check")
    op.create_check_constraint(op.f(STATUS), "workflow_executions", f"status IN ({statuses})")
