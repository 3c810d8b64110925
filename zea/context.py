"""What a step may know of the execution it runs in."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class StepContext:
    """Given to a step that asks for ``ctx``.

    ``now`` is the database's clock when the step was claimed; ``idempotency_key`` is the same for every attempt.
    """

    execution_id: UUID
    step: str
    attempt: int
    actor: str
    now: datetime

    @property
    def idempotency_key(self) -> str:
        return f"{self.execution_id}:{self.step}"
