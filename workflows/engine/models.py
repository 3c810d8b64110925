"""The engine's tables: executions, their events, approvals and private values, queues, counts, and definitions."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Double, ForeignKey, Index, SmallInteger, Text, func, text, true
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from zea.db import Base

Json = dict[str, Any]


class ExecutionStatus(StrEnum):
    """Where an execution stands."""

    RUNNING = "running"
    WAITING_FOR_APPROVAL = "waiting_for_approval"
    SLEEPING = "sleeping"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED})


class StepStatus(StrEnum):
    """Where a step stands."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    COMPENSATED = "compensated"


class Execution(Base):
    """One run of a workflow: the current state, which replaying its events gives again."""

    __tablename__ = "workflow_executions"
    __table_args__ = (
        # Starting twice under one key joins the first execution.
        Index("uq_workflow_executions_start_key", "workflow", "start_key", unique=True),
        # What the sweep looks for; it stays as small as what has something to run.
        Index("ix_workflow_executions_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL")),
        # Whose timers have to fire, likewise.
        Index("ix_workflow_executions_wakes_at", "wakes_at", postgresql_where=text("wakes_at IS NOT NULL")),
        Index("ix_workflow_executions_created_at_id", "created_at", "id"),
        Index("ix_workflow_executions_subject", "subject", "created_at", "id"),
        Index("ix_workflow_executions_status", "status", "created_at", "id"),
        Index("ix_workflow_executions_workflow", "workflow", "created_at", "id"),
        # Of one workflow, what is rare or never was in that status.
        Index("ix_workflow_executions_workflow_status", "workflow", "status", "created_at", "id"),
        # What has not ended, and how much of it has which status; what failed or was cancelled, by its kind of error.
        # Both are small, like the next one.
        Index(
            "ix_workflow_executions_active",
            "created_at",
            "id",
            postgresql_include=["workflow", "status"],
            postgresql_where=text("completed_at IS NULL"),
        ),
        Index(
            "ix_workflow_executions_error_kind",
            text("(error ->> 'kind')"),
            "created_at",
            "id",
            postgresql_where=text("error IS NOT NULL"),
        ),
        # What ended long ago. The other is for the foreign key: without it, each one that goes would read them all.
        Index(
            "ix_workflow_executions_completed_at",
            "completed_at",
            "id",
            postgresql_where=text("completed_at IS NOT NULL"),
        ),
        Index("ix_workflow_executions_rerun_of", "rerun_of", postgresql_where=text("rerun_of IS NOT NULL")),
        # What has failed lately; it stays as small as what has failed.
        Index("ix_workflow_executions_failed", "completed_at", postgresql_where=text("status = 'failed'")),
        CheckConstraint(
            "status IN ('running', 'waiting_for_approval', 'sleeping', 'compensating', 'completed', 'failed',"
            " 'cancelled')",
            name="status",
        ),
        # What has ended has nothing left to run or to wait for, and says when it ended.
        CheckConstraint(
            "(status IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL)", name="ended_has_moment"
        ),
        CheckConstraint("completed_at IS NULL OR (due_at IS NULL AND wakes_at IS NULL)", name="ended_is_not_due"),
        # What has not ended is due some time: no execution can be forgotten.
        CheckConstraint(
            "completed_at IS NOT NULL OR due_at IS NOT NULL OR wakes_at IS NOT NULL", name="never_forgotten"
        ),
        CheckConstraint("(status IN ('failed', 'cancelled')) = (error IS NOT NULL)", name="failed_has_error"),
        CheckConstraint("position >= 1 AND epoch >= 1", name="counters"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    workflow: Mapped[str] = mapped_column(Text)
    version: Mapped[int]
    status: Mapped[str] = mapped_column(Text)
    subject: Mapped[str | None] = mapped_column(Text)
    start_key: Mapped[str | None] = mapped_column(Text)
    started_by: Mapped[str] = mapped_column(Text)
    inputs: Mapped[Json] = mapped_column(JSONB)
    state: Mapped[Json] = mapped_column(JSONB)
    output: Mapped[Json] = mapped_column(JSONB)
    error: Mapped[Json | None] = mapped_column(JSONB(none_as_null=True))
    current_step: Mapped[str | None] = mapped_column(Text)
    completed_steps: Mapped[int] = mapped_column(SmallInteger)
    total_steps: Mapped[int] = mapped_column(SmallInteger)
    epoch: Mapped[int]
    position: Mapped[int]
    rerun_of: Mapped[UUID | None] = mapped_column(ForeignKey("workflow_executions.id"))
    dispatches: Mapped[int] = mapped_column(SmallInteger, default=0)
    # When what may run was handed to Celery last, into which queues, and when a sweep looks after it.
    dispatched_at: Mapped[datetime | None]
    queues: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    due_at: Mapped[datetime | None]
    wakes_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    # The trace that its steps belong to, as a traceparent (W3C Trace Context).
    trace_context: Mapped[str | None] = mapped_column(Text)


class EventRow(Base):
    """An immutable fact of an execution. A trigger refuses to change it, and to remove it but with its execution."""

    __tablename__ = "workflow_events"
    __table_args__ = (
        # A step is completed once, whatever is delivered twice.
        Index(
            "uq_workflow_events_step_completed",
            "execution_id",
            "step",
            unique=True,
            postgresql_where=text("type = 'step.completed'"),
        ),
        # And undone once.
        Index(
            "uq_workflow_events_step_compensated",
            "execution_id",
            "step",
            unique=True,
            postgresql_where=text("type = 'step.compensated'"),
        ),
        # What has happened lately. Events come in the order of their moments, so an index of blocks will do, and costs
        # next to nothing to keep.
        Index(
            "ix_workflow_events_at",
            "at",
            postgresql_using="brin",
            postgresql_with={"autosummarize": "on", "pages_per_range": "32"},
        ),
        CheckConstraint("(type LIKE 'step.%') = (step IS NOT NULL)", name="step_named"),
    )

    execution_id: Mapped[UUID] = mapped_column(ForeignKey("workflow_executions.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    type: Mapped[str] = mapped_column(Text)
    step: Mapped[str | None] = mapped_column(Text)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(Text)
    data: Mapped[Json] = mapped_column(JSONB)


PENDING, SETTLED = text("status = 'pending'"), text("status <> 'pending'")


class ApprovalRow(Base):
    """A person's decision that an execution waits for, or waited for. It follows from the execution's events."""

    __tablename__ = "workflow_approvals"
    __table_args__ = (
        # An execution asks for one thing once at a time.
        Index("uq_workflow_approvals_pending", "execution_id", "approval", unique=True, postgresql_where=PENDING),
        Index("ix_workflow_approvals_execution_id", "execution_id"),
        # Lists of one person's and of everybody's: first what is pending, then what is settled.
        Index("ix_workflow_approvals_pending", "requested_at", "id", postgresql_where=PENDING),
        Index("ix_workflow_approvals_settled", "requested_at", "id", postgresql_where=SETTLED),
        Index("ix_workflow_approvals_assignee_pending", "assignee", "requested_at", "id", postgresql_where=PENDING),
        Index("ix_workflow_approvals_assignee_settled", "assignee", "requested_at", "id", postgresql_where=SETTLED),
        CheckConstraint("status IN ('pending', 'approved', 'rejected', 'expired', 'cancelled')", name="status"),
        # What is decided says when and by whom; what is pending does not.
        CheckConstraint("(status = 'pending') = (decided_at IS NULL AND decided_by IS NULL)", name="decided"),
        CheckConstraint("(status = 'approved') = (data IS NOT NULL)", name="approved_has_data"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    execution_id: Mapped[UUID] = mapped_column(ForeignKey("workflow_executions.id"))
    approval: Mapped[str] = mapped_column(Text)
    type: Mapped[str] = mapped_column(Text)
    assignee: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    data: Mapped[Json | None] = mapped_column(JSONB(none_as_null=True))
    reason: Mapped[str | None] = mapped_column(Text)
    requested_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    reminded_at: Mapped[datetime | None]
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[str | None] = mapped_column(Text)


class Queue(Base):
    """How far a queue is worked off: what was sent before ``passed_at`` has been taken from it.

    ``probed_at`` is when the newest probe was sent, ``passed_at`` when the newest one that has come through was.
    """

    __tablename__ = "workflow_queues"

    queue: Mapped[str] = mapped_column(Text, primary_key=True)
    probed_at: Mapped[datetime]
    passed_at: Mapped[datetime | None]


class CountRow(Base):
    """How often something has happened since counting began, and the seconds that it took: see ``counts``."""

    __tablename__ = "workflow_counts"
    __table_args__ = (CheckConstraint("count >= 0", name="not_negative"),)

    counted: Mapped[str] = mapped_column(Text, primary_key=True)
    workflow: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    bucket: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    count: Mapped[int] = mapped_column(BigInteger)
    seconds: Mapped[float] = mapped_column(Double)


class CountedUntil(Base):
    """Up to which moment the events are counted: whoever counts holds this row."""

    __tablename__ = "workflow_counted"
    # There is one such moment.
    __table_args__ = (CheckConstraint("is_only", name="one_row"),)

    is_only: Mapped[bool] = mapped_column(primary_key=True, server_default=true())
    until: Mapped[datetime]


class PrivateValue(Base):
    """A value typed ``Personal[...]``: kept apart from events and executions, so that it can be erased."""

    __tablename__ = "workflow_private"

    execution_id: Mapped[UUID] = mapped_column(ForeignKey("workflow_executions.id"), primary_key=True)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    value: Mapped[Any] = mapped_column(JSONB)


class DefinitionRow(Base):
    """A registered definition: its shape is fixed from the first process that ran it."""

    __tablename__ = "workflow_definitions"

    workflow: Mapped[str] = mapped_column(Text, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    fingerprint: Mapped[str] = mapped_column(Text)
    shape: Mapped[Json] = mapped_column(JSONB)
    registered_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
