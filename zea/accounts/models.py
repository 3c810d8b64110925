"""People, what athletes tell of themselves, and the refresh tokens that are out."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from zea.db import Base, new_id


class Role(StrEnum):
    """What a person is on the platform; everyone is exactly one of these."""

    ATHLETE = "athlete"
    COACH = "coach"
    ADMIN = "admin"


class User(Base):
    """A person with an account."""

    __tablename__ = "users"
    __table_args__ = (
        # One account per address, however it is capitalised or composed.
        Index("uq_users_email_key", "email_key", unique=True),
        CheckConstraint("role IN ('athlete', 'coach', 'admin')", name="role"),
        CheckConstraint("NOT can_book OR role = 'athlete'", name="only_athletes_book"),
        Index("ix_users_created_at_id", "created_at", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    email: Mapped[str] = mapped_column(Text)
    email_key: Mapped[str] = mapped_column(Text)
    password_hash: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text)
    locale: Mapped[str] = mapped_column(Text, default="es")
    timezone: Mapped[str] = mapped_column(Text)
    is_active: Mapped[bool] = mapped_column(default=True)
    can_book: Mapped[bool] = mapped_column(default=False)
    profile_completed_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class AthleteProfile(Base):
    """What an athlete tells their coaches; injury history and notes are personal."""

    __tablename__ = "athlete_profiles"
    __table_args__ = (
        CheckConstraint("experience_level IN ('beginner', 'intermediate', 'advanced', 'professional')", name="level"),
        CheckConstraint("cardinality(objectives) >= 1", name="has_objectives"),
    )

    athlete_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    sport: Mapped[str] = mapped_column(Text)
    position: Mapped[str] = mapped_column(Text)
    objectives: Mapped[list[str]] = mapped_column(ARRAY(Text))
    experience_level: Mapped[str] = mapped_column(Text)
    injury_history: Mapped[str | None] = mapped_column(Text)
    special_notes: Mapped[str | None] = mapped_column(Text)
    updated_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class RefreshToken(Base):
    """A refresh token that was handed out; only its hash is kept. Tokens rotated from one login share a family."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (
        Index("uq_refresh_tokens_token_hash", "token_hash", unique=True),
        Index("ix_refresh_tokens_family_id", "family_id"),
        Index("ix_refresh_tokens_user_id", "user_id"),
        Index("ix_refresh_tokens_expires_at", "expires_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    family_id: Mapped[UUID]
    token_hash: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
