"""What athletes and coaches say of a training session, and what is seen of it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from zea.context import Personal
from zea.training.models import AthleteFeedback, CoachEvaluation

Stars = Annotated[int, Field(ge=1, le=5)]
Area = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Areas = Annotated[list[Area], Field(max_length=50)]
Note = Annotated[str, StringConstraints(strip_whitespace=True, max_length=5000)]


@dataclass(frozen=True)
class SessionFeedback:
    """An athlete's answer."""

    rating: Stars
    objectives_met: bool
    comments: Personal[Note | None] = None


@dataclass(frozen=True)
class AthleteEvaluation:
    """A coach's answer."""

    performance_rating: Stars
    areas_worked: Areas = field(default_factory=list)
    areas_to_improve: Areas = field(default_factory=list)
    notes_for_next_session: Personal[Note | None] = None


class FeedbackView(BaseModel):
    """What the athlete said; of what was not said only why."""

    model_config = ConfigDict(from_attributes=True)

    status: str
    rating: int | None
    objectives_met: bool | None
    comments: str | None = Field(repr=False)
    recorded_at: datetime

    @classmethod
    def of(cls, feedback: AthleteFeedback) -> Self:
        return cls.model_validate(feedback)


class EvaluationView(BaseModel):
    """What the coach said; of what was not said only why."""

    model_config = ConfigDict(from_attributes=True)

    status: str
    performance_rating: int | None
    areas_worked: list[str]
    areas_to_improve: list[str]
    notes_for_next_session: str | None = Field(repr=False)
    recorded_at: datetime

    @classmethod
    def of(cls, evaluation: CoachEvaluation) -> Self:
        return cls.model_validate(evaluation)


class BookingFeedback(BaseModel):
    """What was said of a booking's training session, as far as the reader may see it yet."""

    booking_id: UUID
    athlete_feedback: FeedbackView | None
    coach_evaluation: EvaluationView | None
