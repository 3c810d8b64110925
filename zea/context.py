"""What domain functions and the engine have in common: personal types, a step's context, and how things came out."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, TypeVar
from uuid import UUID

T = TypeVar("T")


class PersonalMark:
    """Marks a type whose values never stand in events, execution rows, logs or messages."""


Personal = Annotated[T, PersonalMark()]


class ApprovalOutcome(StrEnum):
    """How an approval ended: a person said yes or no, or nobody said anything in time."""

    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an execution came to nothing: it failed, was refused, or was cancelled."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class StepContext:
    """Given to a step that asks for ``ctx``.

    ``now`` is the database's clock when the step was claimed, ``started_at`` when its execution began;
    ``idempotency_key`` is the same for every attempt. What an approval calls is also told when that ``expires_at``.
    """

    execution_id: UUID
    step: str
    attempt: int
    actor: str
    now: datetime
    started_at: datetime
    expires_at: datetime | None = None

    @property
    def idempotency_key(self) -> str:
        return f"{self.execution_id}:{self.step}"
