"""What people do to an execution: decide, cancel, resume, run anew. Each is a fact with its actor and reason."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from workflows.engine import approval_rows, spans, store
from workflows.engine.approval_rows import StoredApproval
from workflows.engine.approvals import Verdict, decide, response_of
from workflows.engine.clock import Clock
from workflows.engine.definition import Workflow
from workflows.engine.events import Event, ExecutionResumed, ExecutionStarted, StepSkipped
from workflows.engine.models import ENDED, ExecutionStatus, StepStatus
from workflows.engine.nodes import Approval
from workflows.engine.planner import cancellation, done_before
from workflows.engine.progress import PATIENCE, Progress
from workflows.engine.registry import Registry
from workflows.engine.signature import INPUT
from workflows.engine.start import Started
from workflows.engine.state import State
from workflows.engine.values import Json
from zea import tracing
from zea.context import ApprovalOutcome
from zea.db import after_commit, new_id
from zea.errors import AlreadyDecided, DeadlinePassed, InvalidInput, NotFound, NotPossible

# A step that runs alone holds its execution's row: a person waits this long for it.
STEP_PATIENCE = timedelta(seconds=5)
RUN_ANEW = "Begin it anew with rerun."


def hold(db: Session, execution_id: UUID) -> store.Stored:
    """The execution, which nobody moves on before the transaction ends.

    Raises:
        NotFound: there is no such execution.
        Busy: a step of it runs for longer than one waits here.
    """
    return store.found(store.lock_within(db, execution_id, STEP_PATIENCE), execution_id)


def approve(db: Session, registry: Registry, approval_id: UUID, data: Json, *, actor: str) -> UUID:
    """Give the answer that an approval asks for; answers the execution's id.

    Raises:
        NotFound: there is no such approval.
        InvalidInput: ``data`` is no answer to it.
        AlreadyDecided: it was answered, or is not asked for any more.
        DeadlinePassed: its time is over.
        Busy: a step of its execution runs for longer than one waits here.
    """
    asked = _asked(db, approval_id)
    step = _workflow_of(registry, asked).step(asked.approval)
    assert isinstance(step.wait, Approval), f"{asked.approval} is no approval"
    return _decide(db, registry, asked, Verdict(ApprovalOutcome.APPROVED, response_of(step.wait, data)), actor)


def reject(db: Session, registry: Registry, approval_id: UUID, *, actor: str, reason: str) -> UUID:
    """Refuse to answer an approval; answers the execution's id.

    Raises:
        NotFound, AlreadyDecided, DeadlinePassed, Busy: as for ``approve``.
    """
    asked = _asked(db, approval_id)
    return _decide(db, registry, asked, Verdict(ApprovalOutcome.REJECTED, reason=reason), actor)


def _asked(db: Session, approval_id: UUID) -> StoredApproval:
    found = approval_rows.read(db, approval_id)
    if found is None:
        raise NotFound(f"There is no approval {approval_id}.")
    return found


def _decide(db: Session, registry: Registry, asked: StoredApproval, verdict: Verdict, actor: str) -> UUID:
    """Whoever holds the execution's row decides: another decision, its expiry and a cancellation find it decided."""
    workflow, progress = _held(db, registry, asked.execution_id, actor)
    pending = progress.state.approvals.get(asked.approval)
    if pending is None or pending.approval_id != asked.id:
        raise _too_late(_asked(db, asked.id))
    # By the database's clock, after the row was waited for; a deadline that is now is over, whoever looks first.
    if pending.expires_at <= store.now(db):
        raise DeadlinePassed(f"The time to answer was over at {pending.expires_at:%Y-%m-%d %H:%M:%S} UTC.")
    decide(progress, db, workflow.step(asked.approval), verdict)
    progress.conclude()
    progress.record()
    progress.publish(progress.new_moves)
    return asked.execution_id


def _too_late(settled: StoredApproval) -> AlreadyDecided | DeadlinePassed:
    if settled.status == ApprovalOutcome.EXPIRED:
        return DeadlinePassed(f"The time to answer was over at {settled.expires_at:%Y-%m-%d %H:%M:%S} UTC.")
    return AlreadyDecided(f"This was {settled.status} at {settled.decided_at:%Y-%m-%d %H:%M:%S} UTC already.")


def cancel(db: Session, registry: Registry, execution_id: UUID, *, actor: str, reason: str) -> None:
    """End an execution that has not ended; what was completed is undone.

    Raises:
        NotFound: there is no such execution.
        NotPossible: it has ended, or is being undone already.
        Busy: a step of it runs for longer than one waits here.
    """
    workflow, progress = _held(db, registry, execution_id, actor)
    if obstacle := _obstacle_to_cancel(progress.state):
        raise NotPossible(f"{execution_id} {obstacle}")
    progress.end(cancellation(workflow, progress.state, actor, reason))
    progress.record()
    progress.publish(progress.moves)


def _obstacle_to_cancel(state: State) -> str | None:
    if state.status is ExecutionStatus.RUNNING:
        return None
    if state.status is ExecutionStatus.COMPENSATING:
        return "is compensating already: what is left to undo will be undone."
    return f"is {state.status} already: nothing of it runs any more. {RUN_ANEW}"


def resume(db: Session, registry: Registry, execution_id: UUID, *, actor: str, reason: str | None = None) -> None:
    """Let a failed execution go on at what failed.

    Raises:
        NotFound: there is no such execution.
        NotPossible: it has not failed, was refused, or was undone.
    """
    workflow, progress = _held(db, registry, execution_id, actor)
    if obstacle := _obstacle_to_resume(progress.state):
        raise NotPossible(f"{execution_id} {obstacle}")
    progress.add(ExecutionResumed(_to_try_again(workflow, progress.state), reason))
    progress.record()
    progress.publish(progress.moves)


def _obstacle_to_resume(state: State) -> str | None:
    if state.status is not ExecutionStatus.FAILED:
        instead = RUN_ANEW if state.status in ENDED else "It goes on by itself."
        return f"is {state.status}: only what has failed can be resumed. {instead}"
    if state.resumable:
        return None
    if any(not step.resumable for step in state.steps.values()):
        return "was refused, and whoever asked was told so: let them ask again."
    return f"was undone when it failed: nothing is left to go on from. {RUN_ANEW}"


def _to_try_again(workflow: Workflow, state: State) -> list[str]:
    """The failed steps or, once it compensates, the failed undos: what failed before that stays failed."""
    undos = {step.name for undo in workflow.undos.values() for step in undo.steps}
    failed = {name for name, step in state.steps.items() if step.status is StepStatus.FAILED}
    return sorted(failed & undos if state.compensating else failed)


def rerun(
    db: Session,
    registry: Registry,
    execution_id: UUID,
    *,
    actor: str,
    reason: str,
    from_step: str | None = None,
    new_execution_id: UUID | None = None,
) -> Started:
    """Begin a new execution with the inputs of one that has ended, linked to it.

    Raises:
        NotFound: there is no such execution.
        InvalidInput: the workflow has no step ``from_step``.
        NotPossible: it has not ended, its version is not known here, or what ``from_step`` builds on does not stand.
    """
    old = hold(db, execution_id)
    workflow = _workflow_of(registry, old)
    if old.status not in ENDED:
        raise NotPossible(f"{execution_id} is {old.status}: it can be run anew once it has ended.")
    new = _insert(db, workflow, old, new_execution_id or new_id(), actor, from_step, reason)
    progress = Progress(db, workflow, new, Clock(new.created_at), actor)
    kept = _skip_to(from_step, workflow, old, progress) if from_step else []
    store.copy_private(db, old.id, new.id, [INPUT, *kept])
    progress.conclude()
    progress.record()
    progress.publish(progress.moves)
    return Started(new.id)


def _skip_to(from_step: str, workflow: Workflow, old: store.Stored, progress: Progress) -> list[str]:
    """Take what stands before and beside ``from_step`` from the old execution; answers the names of those steps."""
    unit = next((each for each in workflow.units if from_step in [step.name for step in each.steps]), None)
    if unit is None:
        raise InvalidInput(f"{workflow} has no step {from_step}.", "from_step")
    kept = done_before(workflow.flow, old.current, unit)
    for name in kept:
        progress.add(StepSkipped(name, old.current.step(name).output))
    if unit not in progress.moves:
        raise NotPossible(f"In {old.id} not all stands that {from_step} builds on: run it anew from an earlier step.")
    return kept


def _insert(
    db: Session,
    workflow: Workflow,
    old: store.Stored,
    new_execution_id: UUID,
    actor: str,
    from_step: str | None,
    reason: str,
) -> store.Stored:
    fact = ExecutionStarted(workflow.name, workflow.version, old.inputs, str(old.id), from_step, reason)
    started = Event(1, old.created_at, actor, fact)
    span = spans.begun(workflow, new_execution_id)
    dispatched = store.Dispatched([], PATIENCE)
    store.insert(db, workflow, new_execution_id, started, {}, None, dispatched, tracing.to_text(span))
    after_commit(db, span.end)
    return store.found(store.lock(db, new_execution_id), new_execution_id)


def _held(db: Session, registry: Registry, execution_id: UUID, actor: str) -> tuple[Workflow, Progress]:
    """The execution, its row held, ready to be moved on."""
    execution = hold(db, execution_id)
    workflow = _workflow_of(registry, execution)
    return workflow, Progress(db, workflow, execution, Clock(store.now(db)), actor)


def _workflow_of(registry: Registry, execution: store.Stored | StoredApproval) -> Workflow:
    workflow = registry.get(execution.workflow, execution.version)
    if workflow is None:
        raise NotPossible(
            f"{execution.workflow} version {execution.version} is not known here: use the release that runs it."
        )
    return workflow
