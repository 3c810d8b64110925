"""What athlete and coach say of a training session."""

from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from workflows.engine.client import ExecutionClient
from workflows.engine.status import ApprovalView
from workflows.session_completion import ATHLETE_FEEDBACK, COACH_EVALUATION
from zea.accounts.models import Role, User
from zea.api import routing
from zea.api.deps import CurrentUser, Db
from zea.api.description import refusals
from zea.api.executions import Executions
from zea.api.parties import actor_of
from zea.api.schemas import Request
from zea.bookings import service as bookings
from zea.errors import AlreadyDecided, DeadlinePassed, Forbidden, InvalidInput, NotFound
from zea.notifications.texts import Language, language_of
from zea.training import service as training
from zea.training.schemas import Areas, BookingFeedback, Note, Stars

router = routing.router("/api", "feedback")

HIDDEN = NotFound("There is no such execution, or none that asks you for feedback.")
THANKS = {
    Language.SPANISH: "¡Gracias! Tu respuesta quedó registrada.",
    Language.ENGLISH: "Thank you! Your answer is recorded.",
}


class Feedback(Request):
    """An athlete's answer, with ``rating`` and ``objectives_met``; or a coach's, with ``performance_rating``."""

    execution_id: UUID
    rating: Stars | None = None
    objectives_met: bool | None = None
    comments: Note | None = Field(default=None, repr=False)
    performance_rating: Stars | None = None
    areas_worked: Areas | None = None
    areas_to_improve: Areas | None = None
    notes_for_next_session: Note | None = Field(default=None, repr=False)

    @property
    def answers(self) -> str:
        """The type of approval that this is meant for."""
        given = self.model_fields_set
        of_coach = {"performance_rating", "areas_worked", "areas_to_improve", "notes_for_next_session"}
        return COACH_EVALUATION if given & of_coach else ATHLETE_FEEDBACK

    @property
    def data(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude={"execution_id"}, exclude_unset=True)


class ReceivedFeedback(BaseModel):
    """The answer is kept."""

    message: str


@router.post("/feedback/submit", responses=refusals(Forbidden, NotFound, AlreadyDecided, DeadlinePassed))
def submit_feedback(feedback: Feedback, user: CurrentUser, executions: Executions, db: Db) -> ReceivedFeedback:
    """Answer what a completed session asks of you; 409 if that was answered, 410 if its time is over."""
    approval = _asked(executions, feedback, user)
    try:
        executions.approve(approval.approval_id, feedback.data, actor=actor_of(user), db=db)
    except InvalidInput as error:
        # As the caller has written it: these fields stand at the top.
        raise InvalidInput(error.message, (error.field or "").removeprefix("data.") or None) from None
    return ReceivedFeedback(message=THANKS[language_of(user.locale)])


def _asked(executions: ExecutionClient, feedback: Feedback, user: User) -> ApprovalView:
    """The newest approval that the feedback is an answer to.

    Raises:
        NotFound: nobody is asked, or only others are.
        Forbidden: the other party is asked this.
    """
    asked = executions.approvals_of(feedback.execution_id)
    mine = actor_of(user)
    if user.role != Role.ADMIN and mine not in [each.assignee for each in asked]:
        raise HIDDEN
    found = next((each for each in reversed(asked) if each.approval_type == feedback.answers), None)
    if found is None:
        raise HIDDEN
    if user.role != Role.ADMIN and found.assignee != mine:
        raise Forbidden("This is for the other party to say.")
    return found


@router.get("/bookings/{booking_id}/feedback")
def get_feedback(booking_id: UUID, user: CurrentUser, db: Db) -> BookingFeedback:
    """What was said of a booking's session: one's own at once, the other's once the booking is finalized."""
    role = Role(user.role)
    return training.feedback_of(db, bookings.get_booking(db, booking_id, user.id, role), user.id, role)
