"""What the parties to an execution see of it: how it stands and what they are asked, but no values of others."""

from dataclasses import replace

from workflows.engine.status import ApprovalView, ErrorStatus, EventView, ExecutionView
from zea.accounts.models import Role, User
from zea.errors import Conflict, told


def execution_for(user: User, view: ExecutionView) -> ExecutionView:
    """Statuses only, and why it was refused; all of it for an admin."""
    if user.role == Role.ADMIN:
        return view
    steps = [replace(step, output={}, error=_error_for_party(step.error)) for step in view.steps]
    return replace(
        view,
        steps=steps,
        inputs={},
        output={},
        error=_error_for_party(view.error),
        approvals=[approval_for(user, each) for each in view.approvals if each.assignee == actor_of(user)],
        # What an admin says of it is for admins.
        cancellation=None,
        started_by=_actor_for_party(view.started_by, user),
    )


def event_for(user: User, event: EventView) -> EventView:
    """What happened and when; for an admin also by whom, and the data."""
    if user.role == Role.ADMIN:
        return event
    return replace(event, data={}, actor=_actor_for_party(event.actor, user))


def approval_for(user: User, approval: ApprovalView) -> ApprovalView:
    """One's own; who decided it in one's place is shown to admins."""
    if user.role == Role.ADMIN or approval.decided_by is None:
        return approval
    return replace(approval, decided_by=_actor_for_party(approval.decided_by, user))


def actor_of(user: User) -> str:
    """How a person's deeds are signed, and their approvals assigned."""
    return f"user:{user.id}"


def _actor_for_party(actor: str, user: User) -> str:
    """Which machines there are and who runs them is nothing to a party: ``worker``, ``cli``, another ``user``."""
    return actor if actor == actor_of(user) else actor.partition(":")[0]


def _error_for_party(error: ErrorStatus | None) -> ErrorStatus | None:
    """What whoever asked for it is told anyway: a refusal, or that it was cancelled."""
    said = error and told(error.kind, error.message)
    return ErrorStatus(said.kind, said.message, None) if isinstance(said, Conflict) else None
