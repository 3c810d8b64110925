"""What an approval comes to: it is asked for, reminded of, and decided by a person or by the clock.

Each function answers the facts that say so; what a workflow wants done along is done in the same transaction.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from workflows.engine import store
from workflows.engine.binding import Binding
from workflows.engine.clock import Clock
from workflows.engine.events import (
    ApprovalApproved,
    ApprovalExpired,
    ApprovalRejected,
    ApprovalReminded,
    ApprovalRequested,
    Fact,
    StepCompleted,
    StepFailed,
)
from workflows.engine.nodes import Approval, Duration, Fail, Step
from workflows.engine.policy import Setting
from workflows.engine.progress import Progress
from workflows.engine.state import State
from workflows.engine.values import UNSTORABLE, Json
from zea.context import ApprovalOutcome
from zea.db import new_id
from zea.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an approval ended: with a ``response`` if it was given, for a ``reason`` if it was refused."""

    outcome: ApprovalOutcome
    response: object = None
    reason: str = ""


EXPIRED = Verdict(ApprovalOutcome.EXPIRED)


@dataclass(frozen=True, slots=True)
class Waited:
    """Which attempt asked for an approval, when, and how long there was to answer."""

    attempt: int
    requested_at: datetime
    expires_at: datetime


def requested(binding: Binding, step: Step, wait: Approval, attempt: int, clock: Clock) -> list[Fact]:
    """Ask for it; what its workflow knows already is taken as the answer at once."""
    now = clock()
    asked = _request(binding, step, wait, attempt, now)
    response = binding.call(step, attempt, now, asked.expires_at)
    if response is None:
        return [asked]
    waited = Waited(attempt, now, asked.expires_at)
    return [asked, *decided(binding, step, wait, waited, clock(), Verdict(ApprovalOutcome.APPROVED, response))]


def _request(binding: Binding, step: Step, wait: Approval, attempt: int, now: datetime) -> ApprovalRequested:
    timeout = timeout_of(step, wait.timeout, binding.state)
    return ApprovalRequested(
        approval=step.name,
        approval_id=str(new_id()),
        approval_type=wait.approval_type,
        assignee=f"user:{binding.value(step, wait.assignee)}",
        attempt=attempt,
        expires_at=now + timeout,
        remind_at=now + timeout * wait.remind_after if wait.remind_after else None,
    )


def timeout_of(step: Step, stated: Duration, state: State) -> timedelta:
    """How long this execution waits there: what it was started with, or what its workflow says."""
    own = state.timeouts.get(step.name)
    if own is not None:
        return timedelta(seconds=own)
    return stated.value if isinstance(stated, Setting) else stated


def decided(
    binding: Binding, step: Step, wait: Approval, waited: Waited, now: datetime, verdict: Verdict
) -> list[Fact]:
    """What a verdict comes to: it is recorded as its workflow wants, and the flow goes on, or the step has failed."""
    response = verdict.response
    answer = None if response is None else binding.keep_response(step, wait.response_fields, response)
    recorded: Json = {}
    if wait.record:
        given = {"outcome": verdict.outcome, "response": response}
        returned = binding.call(wait.record, waited.attempt, now, waited.expires_at, **given)
        recorded = binding.keep_recorded(step, wait.record, returned)
    return [_said(step, verdict, answer), _come_to(step, wait, waited, now, verdict, {step.name: answer, **recorded})]


def _said(step: Step, verdict: Verdict, answer: Json | None) -> Fact:
    match verdict.outcome:
        case ApprovalOutcome.APPROVED:
            return ApprovalApproved(step.name, answer or {})
        case ApprovalOutcome.REJECTED:
            return ApprovalRejected(step.name, verdict.reason)
        case ApprovalOutcome.EXPIRED:
            return ApprovalExpired(step.name)


def _come_to(
    step: Step, wait: Approval, waited: Waited, now: datetime, verdict: Verdict, output: Json
) -> StepCompleted | StepFailed:
    took = (now - waited.requested_at).total_seconds()
    match verdict.outcome, wait:
        case (ApprovalOutcome.EXPIRED, Approval(on_timeout=Fail(kind))):
            message = f"{wait.approval_type} was not answered in time."
        case (ApprovalOutcome.REJECTED, Approval(on_reject=Fail(kind))):
            message = f"{wait.approval_type} was rejected: {verdict.reason}"
        case _:
            return StepCompleted(step.name, waited.attempt, waited.requested_at, took, output)
    # What was asked for was not given, and who was asked knows: trying again would ask again.
    return StepFailed(step.name, waited.attempt, waited.requested_at, took, kind, message, resumable=False)


def decide(progress: Progress, db: Session, step: Step, verdict: Verdict) -> None:
    """Move an execution on by a verdict on one of its pending approvals, while its row is held."""
    wait, pending, waiting = step.wait, progress.state.approvals[step.name], progress.state.step(step.name)
    assert isinstance(wait, Approval), f"{step.name} is no approval"
    binding = Binding(db, progress.workflow, progress.execution, progress.state)
    waited = Waited(waiting.attempt, waiting.started_at or progress.clock(), pending.expires_at)
    for fact in decided(binding, step, wait, waited, progress.clock(), verdict):
        progress.add(fact)
    store.keep_private(db, progress.execution.id, binding.private)


def remind(progress: Progress, db: Session, step: Step) -> None:
    """Have its assignee told that part of the time is over."""
    wait, pending = step.wait, progress.state.approvals[step.name]
    assert isinstance(wait, Approval), f"{step.name} is no approval"
    binding = Binding(db, progress.workflow, progress.execution, progress.state)
    if wait.remind:
        binding.call(wait.remind, progress.state.step(step.name).attempt, progress.clock(), pending.expires_at)
    progress.add(ApprovalReminded(step.name))


def response_of(wait: Approval, data: Json) -> object:
    """The answer that ``data`` is.

    Raises:
        InvalidInput: it is none; the field is named as in ``data.rating``. No value is repeated: it may be personal.
    """
    for name in sorted(data.keys() - {field.name for field in wait.response_fields}):
        raise InvalidInput("There is no such field in this answer: leave it out.", f"data.{name}")
    try:
        written = json.dumps(data, ensure_ascii=False)
        if UNSTORABLE.search(written) or "\\u0000" in written:
            raise InvalidInput("A text holds characters that cannot be stored: write it as UTF-8 text.", "data")
        return TypeAdapter(wait.response).validate_json(written, strict=True)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise InvalidInput(str(problem["msg"]), ".".join(["data", *map(str, problem["loc"])])) from None
