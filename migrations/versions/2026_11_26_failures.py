"""What executions need when things fail: more statuses, timers, reruns, and queues that are measured."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_26_failures"
down_revision = "2026_11_25_initial"
branch_labels = None
depends_on = None

CHECKS = {
    "status": "status IN ('running', 'sleeping', 'compensating', 'completed', 'failed', 'cancelled')",
    "ended_has_moment": "(status IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL)",
    "ended_is_not_due": "completed_at IS NULL OR (due_at IS NULL AND wakes_at IS NULL)",
    "never_forgotten": "completed_at IS NOT NULL OR due_at IS NOT NULL OR wakes_at IS NOT NULL",
    "failed_has_error": "(status IN ('failed', 'cancelled')) = (error IS NOT NULL)",
}
CHECKS_BEFORE = {
    "status": "status IN ('running', 'completed', 'failed')",
    "ended_has_moment": "(status IN ('completed', 'failed')) = (completed_at IS NOT NULL)",
    "ended_is_not_due": "completed_at IS NULL OR due_at IS NULL",
    "failed_has_error": "(status = 'failed') = (error IS NOT NULL)",
}
TABLE = "workflow_executions"
RERUN_OF = "fk_workflow_executions_rerun_of_workflow_executions"


def upgrade() -> None:
    op.add_column(TABLE, sa.Column("rerun_of", sa.Uuid(), nullable=True))
    op.add_column(TABLE, sa.Column("dispatched_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        TABLE, sa.Column("queues", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False)
    )
    op.add_column(TABLE, sa.Column("wakes_at", sa.DateTime(timezone=True), nullable=True))
    op.create_foreign_key(RERUN_OF, TABLE, TABLE, ["rerun_of"], ["id"])
    op.create_index(
        "ix_workflow_executions_wakes_at", TABLE, ["wakes_at"], postgresql_where=sa.text("wakes_at IS NOT NULL")
    )
    _replace_checks(CHECKS_BEFORE, CHECKS)
    op.create_index(
        "uq_workflow_events_step_compensated",
        "workflow_events",
        ["execution_id", "step"],
        unique=True,
        postgresql_where=sa.text("type = 'step.compensated'"),
    )
    op.create_table(
        "workflow_queues",
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("probed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("passed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("queue", name=op.f("pk_workflow_queues")),
    )


def downgrade() -> None:
    op.drop_table("workflow_queues")
    op.drop_index(
        "uq_workflow_events_step_compensated",
        table_name="workflow_events",
        postgresql_where=sa.text("type = 'step.compensated'"),
    )
    _replace_checks(CHECKS, CHECKS_BEFORE)
    op.drop_index("ix_workflow_executions_wakes_at", table_name=TABLE, postgresql_where=sa.text("wakes_at IS NOT NULL"))
    op.drop_constraint(RERUN_OF, TABLE, type_="foreignkey")
    for column in ("wakes_at", "queues", "dispatched_at", "rerun_of"):
        op.drop_column(TABLE, column)


def _replace_checks(before: dict[str, str], after: dict[str, str]) -> None:
    for name in before:
        op.drop_constraint(op.f(f"ck_{TABLE}_{name}"), TABLE, type_="check")
    for name, condition in after.items():
        op.create_check_constraint(op.f(f"ck_{TABLE}_{name}"), TABLE, condition)
