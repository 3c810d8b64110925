"""A new athlete tells what a coach must know, within a week, and may then book."""

from dataclasses import dataclass
from uuid import UUID

from workflows.engine.definition import Fail, Workflow, approval, step
from workflows.engine.policy import Setting
from zea.accounts import onboarding
from zea.errors import ProfileNotCompleted
from zea.notifications import service as notifications

PROFILE = "athlete_profile_completion"


@dataclass(frozen=True)
class Registration:
    """Who has registered."""

    user_id: UUID
    email: str


athlete_onboarding = Workflow(
    name="zea_sport.AthleteOnboarding",
    version=1,
    input=Registration,
    subject="user:{user_id}",
    flow=[
        step(onboarding.validate_registration),
        approval(
            "request_profile_completion",
            type=PROFILE,
            response=onboarding.ProfileAnswer,
            assignee="user_id",
            timeout=Setting("profile_completion_timeout"),
            request=notifications.ask_for_profile,
            record=onboarding.record_profile,
            on_timeout=Fail(ProfileNotCompleted.kind),
            on_reject=Fail(ProfileNotCompleted.kind),
        ),
        step(onboarding.validate_profile_data),
        step(onboarding.enable_booking_capability, undo=onboarding.disable_booking_capability),
        step(notifications.send_welcome_email),
        step(onboarding.track_analytics),
    ],
)
