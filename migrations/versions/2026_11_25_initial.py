"""The first schema: people, slots, bookings, credits, notifications, and the workflow tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_25_initial"
down_revision = None
branch_labels = None
depends_on = None


APPEND_ONLY = ("workflow_events", "credit_ledger")


def upgrade() -> None:
    # Equality on a uuid inside an exclusion constraint needs it; a trusted extension, so the owner may create it.
    op.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")
    op.create_table(
        "idempotency_keys",
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.Text(), nullable=False),
        sa.Column("execution_id", sa.Uuid(), nullable=True),
        sa.Column("answer", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("caller", "route", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"], unique=False)
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("email_key", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("can_book", sa.Boolean(), nullable=False),
        sa.Column("profile_completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("NOT can_book OR role = 'athlete'", name=op.f("ck_users_only_athletes_book")),
        sa.CheckConstraint("role IN ('athlete', 'coach', 'admin')", name=op.f("ck_users_role")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
    )
    op.create_index("ix_users_created_at_id", "users", ["created_at", "id"], unique=False)
    op.create_index("uq_users_email_key", "users", ["email_key"], unique=True)
    op.create_table(
        "workflow_definitions",
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("shape", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "registered_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("workflow", "version", name=op.f("pk_workflow_definitions")),
    )
    op.create_table(
        "workflow_executions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("start_key", sa.Text(), nullable=True),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("inputs", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("output", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("error", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("current_step", sa.Text(), nullable=True),
        sa.Column("completed_steps", sa.SmallInteger(), nullable=False),
        sa.Column("total_steps", sa.SmallInteger(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("dispatches", sa.SmallInteger(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(status = 'failed') = (error IS NOT NULL)", name=op.f("ck_workflow_executions_failed_has_error")
        ),
        sa.CheckConstraint(
            "(status IN ('completed', 'failed')) = (completed_at IS NOT NULL)",
            name=op.f("ck_workflow_executions_ended_has_moment"),
        ),
        sa.CheckConstraint("status IN ('running', 'completed', 'failed')", name=op.f("ck_workflow_executions_status")),
        sa.CheckConstraint(
            "completed_at IS NULL OR due_at IS NULL", name=op.f("ck_workflow_executions_ended_is_not_due")
        ),
        sa.CheckConstraint("position >= 1 AND epoch >= 1", name=op.f("ck_workflow_executions_counters")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workflow_executions")),
    )
    op.create_index("ix_workflow_executions_created_at_id", "workflow_executions", ["created_at", "id"], unique=False)
    op.create_index(
        "ix_workflow_executions_due_at",
        "workflow_executions",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "ix_workflow_executions_status", "workflow_executions", ["status", "created_at", "id"], unique=False
    )
    op.create_index(
        "ix_workflow_executions_subject", "workflow_executions", ["subject", "created_at", "id"], unique=False
    )
    op.create_index(
        "ix_workflow_executions_workflow", "workflow_executions", ["workflow", "created_at", "id"], unique=False
    )
    op.create_index("uq_workflow_executions_start_key", "workflow_executions", ["workflow", "start_key"], unique=True)
    op.create_table(
        "athlete_profiles",
        sa.Column("athlete_id", sa.Uuid(), nullable=False),
        sa.Column("sport", sa.Text(), nullable=False),
        sa.Column("position", sa.Text(), nullable=False),
        sa.Column("objectives", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("experience_level", sa.Text(), nullable=False),
        sa.Column("injury_history", sa.Text(), nullable=True),
        sa.Column("special_notes", sa.Text(), nullable=True),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "experience_level IN ('beginner', 'intermediate', 'advanced', 'professional')",
            name=op.f("ck_athlete_profiles_level"),
        ),
        sa.CheckConstraint("cardinality(objectives) >= 1", name=op.f("ck_athlete_profiles_has_objectives")),
        sa.ForeignKeyConstraint(["athlete_id"], ["users.id"], name=op.f("fk_athlete_profiles_athlete_id_users")),
        sa.PrimaryKeyConstraint("athlete_id", name=op.f("pk_athlete_profiles")),
    )
    op.create_table(
        "credit_accounts",
        sa.Column("athlete_id", sa.Uuid(), nullable=False),
        sa.Column("balance", sa.Integer(), nullable=False),
        sa.CheckConstraint("balance >= 0", name=op.f("ck_credit_accounts_balance_not_negative")),
        sa.ForeignKeyConstraint(["athlete_id"], ["users.id"], name=op.f("fk_credit_accounts_athlete_id_users")),
        sa.PrimaryKeyConstraint("athlete_id", name=op.f("pk_credit_accounts")),
    )
    op.create_table(
        "notifications",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("recipient_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("execution_id", sa.Uuid(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deliver_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivery_attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("delivery_error", sa.Text(), nullable=True),
        sa.CheckConstraint("delivery_attempts >= 0", name=op.f("ck_notifications_attempts_not_negative")),
        sa.ForeignKeyConstraint(["recipient_id"], ["users.id"], name=op.f("fk_notifications_recipient_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
    )
    op.create_index(
        "ix_notifications_pending_delivery",
        "notifications",
        ["deliver_at"],
        unique=False,
        postgresql_where=sa.text("delivered_at IS NULL AND deliver_at IS NOT NULL"),
    )
    op.create_index(
        "ix_notifications_recipient_id_created_at_id",
        "notifications",
        ["recipient_id", "created_at", "id"],
        unique=False,
    )
    op.create_index("uq_notifications_origin", "notifications", ["execution_id", "step", "recipient_id"], unique=True)
    op.create_table(
        "refresh_tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("family_id", sa.Uuid(), nullable=False),
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_refresh_tokens_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refresh_tokens")),
    )
    op.create_index("ix_refresh_tokens_family_id", "refresh_tokens", ["family_id"], unique=False)
    op.create_index("uq_refresh_tokens_token_hash", "refresh_tokens", ["token_hash"], unique=True)
    op.create_table(
        "slots",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("coach_id", sa.Uuid(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        postgresql.ExcludeConstraint(
            (sa.column("coach_id"), "="),
            (sa.text("tstzrange(starts_at, ends_at)"), "&&"),
            using="gist",
            name="ex_slots_no_overlap",
        ),
        sa.CheckConstraint("status IN ('open', 'booked')", name=op.f("ck_slots_status")),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("ck_slots_ends_after_start")),
        sa.ForeignKeyConstraint(["coach_id"], ["users.id"], name=op.f("fk_slots_coach_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_slots")),
    )
    op.create_index("uq_slots_coach_id_starts_at", "slots", ["coach_id", "starts_at"], unique=True)
    op.create_table(
        "workflow_events",
        sa.Column("execution_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.CheckConstraint("(type LIKE 'step.%%') = (step IS NOT NULL)", name=op.f("ck_workflow_events_step_named")),
        sa.ForeignKeyConstraint(
            ["execution_id"],
            ["workflow_executions.id"],
            name=op.f("fk_workflow_events_execution_id_workflow_executions"),
        ),
        sa.PrimaryKeyConstraint("execution_id", "position", name=op.f("pk_workflow_events")),
    )
    op.create_index(
        "uq_workflow_events_step_completed",
        "workflow_events",
        ["execution_id", "step"],
        unique=True,
        postgresql_where=sa.text("type = 'step.completed'"),
    )
    op.create_table(
        "workflow_private",
        sa.Column("execution_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["execution_id"],
            ["workflow_executions.id"],
            name=op.f("fk_workflow_private_execution_id_workflow_executions"),
        ),
        sa.PrimaryKeyConstraint("execution_id", "name", name=op.f("pk_workflow_private")),
    )
    op.create_table(
        "bookings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("athlete_id", sa.Uuid(), nullable=False),
        sa.Column("coach_id", sa.Uuid(), nullable=False),
        sa.Column("slot_id", sa.Uuid(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("actual_start_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("actual_end_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("actual_duration_minutes", sa.Integer(), nullable=True),
        sa.Column("execution_id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        postgresql.ExcludeConstraint(
            (sa.column("athlete_id"), "="),
            (sa.text("tstzrange(starts_at, ends_at)"), "&&"),
            where=sa.text("status <> 'CANCELLED'"),
            using="gist",
            name="ex_bookings_no_overlap",
        ),
        sa.CheckConstraint(
            "status <> 'CONFIRMED' OR confirmed_at IS NOT NULL", name=op.f("ck_bookings_confirmed_has_moment")
        ),
        sa.CheckConstraint(
            "status IN ('PENDING', 'CONFIRMED', 'COMPLETED', 'FINALIZED', 'CANCELLED', 'NO_SHOW')",
            name=op.f("ck_bookings_status"),
        ),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("ck_bookings_ends_after_start")),
        sa.ForeignKeyConstraint(["athlete_id"], ["users.id"], name=op.f("fk_bookings_athlete_id_users")),
        sa.ForeignKeyConstraint(["coach_id"], ["users.id"], name=op.f("fk_bookings_coach_id_users")),
        sa.ForeignKeyConstraint(["slot_id"], ["slots.id"], name=op.f("fk_bookings_slot_id_slots")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bookings")),
    )
    op.create_index(
        "ix_bookings_athlete_id_created_at_id", "bookings", ["athlete_id", "created_at", "id"], unique=False
    )
    op.create_index("ix_bookings_coach_id_created_at_id", "bookings", ["coach_id", "created_at", "id"], unique=False)
    op.create_index("ix_bookings_created_at_id", "bookings", ["created_at", "id"], unique=False)
    op.create_index("uq_bookings_execution_id", "bookings", ["execution_id"], unique=True)
    op.create_index(
        "uq_bookings_live_slot", "bookings", ["slot_id"], unique=True, postgresql_where=sa.text("status <> 'CANCELLED'")
    )
    op.create_table(
        "credit_ledger",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("athlete_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("amount", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("booking_id", sa.Uuid(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "CASE kind WHEN 'debit' THEN amount < 0 WHEN 'adjustment' THEN amount <> 0 ELSE amount > 0 END",
            name=op.f("ck_credit_ledger_sign"),
        ),
        sa.CheckConstraint("kind IN ('grant', 'debit', 'refund', 'adjustment')", name=op.f("ck_credit_ledger_kind")),
        sa.ForeignKeyConstraint(
            ["athlete_id"], ["credit_accounts.athlete_id"], name=op.f("fk_credit_ledger_athlete_id_credit_accounts")
        ),
        sa.ForeignKeyConstraint(["booking_id"], ["bookings.id"], name=op.f("fk_credit_ledger_booking_id_bookings")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credit_ledger")),
    )
    op.create_index(
        "ix_credit_ledger_athlete_id_created_at_id", "credit_ledger", ["athlete_id", "created_at", "id"], unique=False
    )
    op.create_index(
        "uq_credit_ledger_booking_kind",
        "credit_ledger",
        ["booking_id", "kind"],
        unique=True,
        postgresql_where=sa.text("booking_id IS NOT NULL"),
    )
    op.execute(
        """
        CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
        END
        $$
        """
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        # A row trigger does not see TRUNCATE.
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


def downgrade() -> None:
    op.drop_index(
        "uq_credit_ledger_booking_kind", table_name="credit_ledger", postgresql_where=sa.text("booking_id IS NOT NULL")
    )
    op.drop_index("ix_credit_ledger_athlete_id_created_at_id", table_name="credit_ledger")
    op.drop_table("credit_ledger")
    op.drop_index("uq_bookings_live_slot", table_name="bookings", postgresql_where=sa.text("status <> 'CANCELLED'"))
    op.drop_index("uq_bookings_execution_id", table_name="bookings")
    op.drop_index("ix_bookings_created_at_id", table_name="bookings")
    op.drop_index("ix_bookings_coach_id_created_at_id", table_name="bookings")
    op.drop_index("ix_bookings_athlete_id_created_at_id", table_name="bookings")
    op.drop_table("bookings")
    op.drop_table("workflow_private")
    op.drop_index(
        "uq_workflow_events_step_completed",
        table_name="workflow_events",
        postgresql_where=sa.text("type = 'step.completed'"),
    )
    op.drop_table("workflow_events")
    op.drop_index("uq_slots_coach_id_starts_at", table_name="slots")
    op.drop_table("slots")
    op.drop_index("uq_refresh_tokens_token_hash", table_name="refresh_tokens")
    op.drop_index("ix_refresh_tokens_family_id", table_name="refresh_tokens")
    op.drop_table("refresh_tokens")
    op.drop_index("uq_notifications_origin", table_name="notifications")
    op.drop_index("ix_notifications_recipient_id_created_at_id", table_name="notifications")
    op.drop_index(
        "ix_notifications_pending_delivery",
        table_name="notifications",
        postgresql_where=sa.text("delivered_at IS NULL AND deliver_at IS NOT NULL"),
    )
    op.drop_table("notifications")
    op.drop_table("credit_accounts")
    op.drop_table("athlete_profiles")
    op.drop_index("uq_workflow_executions_start_key", table_name="workflow_executions")
    op.drop_index("ix_workflow_executions_workflow", table_name="workflow_executions")
    op.drop_index("ix_workflow_executions_subject", table_name="workflow_executions")
    op.drop_index("ix_workflow_executions_status", table_name="workflow_executions")
    op.drop_index(
        "ix_workflow_executions_due_at",
        table_name="workflow_executions",
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.drop_index("ix_workflow_executions_created_at_id", table_name="workflow_executions")
    op.drop_table("workflow_executions")
    op.drop_table("workflow_definitions")
    op.drop_index("uq_users_email_key", table_name="users")
    op.drop_index("ix_users_created_at_id", table_name="users")
    op.drop_table("users")
    op.drop_index("ix_idempotency_keys_created_at", table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
    op.execute("DROP FUNCTION refuse_change()")
