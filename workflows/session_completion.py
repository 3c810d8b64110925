"""A coach completes a training session: its time is kept at once, then both may say how it was, and it is closed."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from workflows.engine.definition import CONTINUE, HALF, Workflow, approval, parallel, step
from workflows.engine.policy import Setting
from zea.notifications import service as notifications
from zea.training import service as training
from zea.training.schemas import AthleteEvaluation, SessionFeedback

ATHLETE_FEEDBACK = "athlete_session_feedback"
COACH_EVALUATION = "coach_athlete_evaluation"


@dataclass(frozen=True)
class CompletedSession:
    """Whose session it was, and how long it took."""

    booking_id: UUID
    athlete_id: UUID
    coach_id: UUID
    actual_start_time: datetime
    actual_end_time: datetime


session_completion = Workflow(
    name="zea_sport.SessionCompletion",
    version=1,
    input=CompletedSession,
    subject="booking:{booking_id}",
    flow=[
        step(training.record_time),
        parallel(
            approval(
                "request_athlete_feedback",
                type=ATHLETE_FEEDBACK,
                response=SessionFeedback,
                assignee="athlete_id",
                timeout=Setting("athlete_feedback_timeout"),
                request=notifications.ask_for_athlete_feedback,
                remind_after=HALF,
                remind=notifications.remind_of_athlete_feedback,
                record=training.record_athlete_feedback,
                on_timeout=CONTINUE,
                on_reject=CONTINUE,
            ),
            approval(
                "request_coach_evaluation",
                type=COACH_EVALUATION,
                response=AthleteEvaluation,
                assignee="coach_id",
                timeout=Setting("coach_evaluation_timeout"),
                request=notifications.ask_for_coach_evaluation,
                remind_after=HALF,
                remind=notifications.remind_of_coach_evaluation,
                record=training.record_coach_evaluation,
                on_timeout=CONTINUE,
                on_reject=CONTINUE,
            ),
        ),
        step(training.finalize_session),
    ],
)
