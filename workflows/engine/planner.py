"""What may run next, and when an execution is over. Pure: a definition and a state in, units out."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from workflows.engine.definition import Workflow
from workflows.engine.events import ExecutionCancelled, ExecutionCompensating, ExecutionCompleted, ExecutionFailed
from workflows.engine.models import ExecutionStatus, StepStatus
from workflows.engine.nodes import Atomic, Node, Parallel, Step, Undo, Unit
from workflows.engine.state import State

DONE = frozenset({StepStatus.COMPLETED, StepStatus.SKIPPED})
Conclusion = ExecutionCompleted | ExecutionCompensating | ExecutionFailed | ExecutionCancelled


class _Walk(NamedTuple):
    """What a walk over some nodes found: which units are neither done nor failed, and whether all of them are done."""

    open: tuple[Unit, ...]
    finished: bool


def next_moves(workflow: Workflow, state: State) -> tuple[Unit, ...]:
    """The units that may run now, in flow order; while it compensates one undo, that of what was completed last."""
    return tuple(unit for unit in open_units(workflow, state) if unit.name not in state.waits_for)


def status_of(workflow: Workflow, state: State) -> ExecutionStatus:
    """The status that people see: an execution runs while something can; then it waits for somebody, or the clock."""
    if state.status is not ExecutionStatus.RUNNING or not state.waits_for or next_moves(workflow, state):
        return state.status
    return ExecutionStatus.WAITING_FOR_APPROVAL if state.approvals else ExecutionStatus.SLEEPING


def open_units(workflow: Workflow, state: State) -> tuple[Unit, ...]:
    """The units whose turn it is, in flow order: those that may run, and those that wait for their moment."""
    match state.status:
        case ExecutionStatus.RUNNING:
            return _walk(workflow.flow, state).open
        case ExecutionStatus.COMPENSATING:
            undo = next(iter(_left_to_undo(workflow, state)), None)
            return (undo,) if undo and not _failed(undo, state) else ()
    return ()


def conclusion(workflow: Workflow, state: State) -> Conclusion | None:
    """What the execution comes to if nothing is left to run or to wait for: its end, or its compensation.

    Once a step has failed, neither the clock nor anybody is waited for any more.
    """
    if state.status not in (ExecutionStatus.RUNNING, ExecutionStatus.COMPENSATING) or next_moves(workflow, state):
        return None
    if state.waits_for and not _gives_up(state):
        return None
    if state.status is ExecutionStatus.COMPENSATING:
        return _end_of_compensation(workflow, state)
    if _walk(workflow.flow, state).finished:
        return ExecutionCompleted()
    return ExecutionCompensating("failed") if _left_to_undo(workflow, state) else _failure(workflow, state)


def _gives_up(state: State) -> bool:
    failed = any(step.status is StepStatus.FAILED for step in state.steps.values())
    return failed and state.status is ExecutionStatus.RUNNING


def cancellation(workflow: Workflow, state: State, actor: str, reason: str) -> Conclusion:
    """What an execution that ``actor`` cancels comes to."""
    if _left_to_undo(workflow, state):
        return ExecutionCompensating("cancelled", reason)
    return ExecutionCancelled(actor, reason)


def _end_of_compensation(workflow: Workflow, state: State) -> ExecutionFailed | ExecutionCancelled:
    for undo in _left_to_undo(workflow, state):
        return _failure_of_undo(undo, state)
    if state.cancellation:
        return ExecutionCancelled(state.cancellation.actor, state.cancellation.reason)
    return _failure(workflow, state)


def _failure(workflow: Workflow, state: State) -> ExecutionFailed:
    """The first failed step in flow order says why. It can be resumed if all of them can, and nothing was undone."""
    failed = [(step.name, state.step(step.name)) for step in workflow.steps if state.step(step.name).error]
    resumable = not state.compensating and all(step.resumable for _, step in failed)
    for name, step in failed:
        if problem := step.error:
            return ExecutionFailed(name, problem.kind, problem.message, resumable, problem.traceback)
    raise AssertionError(f"{workflow}: nothing runs, nothing is left and nothing failed.")


def _failure_of_undo(undo: Undo, state: State) -> ExecutionFailed:
    for step in undo.steps:
        if problem := state.step(step.name).error:
            message = f"{step.name} failed ({problem.kind}): {problem.message}"
            return ExecutionFailed(step.name, "compensation_failed", message, True, problem.traceback)
    raise AssertionError(f"{undo.name} did not fail.")


def _left_to_undo(workflow: Workflow, state: State) -> list[Undo]:
    """The compensations of what is completed and not undone yet, newest first."""

    def position(undo: Undo) -> int:
        return state.step(undo.of.steps[-1].name).position

    completed = (undo for undo in workflow.undos.values() if _is_completed(undo.of, state))
    return sorted(completed, key=position, reverse=True)


def _is_completed(unit: Step | Atomic, state: State) -> bool:
    return state.step(unit.steps[-1].name).status is StepStatus.COMPLETED and not _undone(unit, state)


def _undone(unit: Step | Atomic, state: State) -> bool:
    return any(state.step(step.name).status is StepStatus.COMPENSATED for step in unit.steps)


def _failed(unit: Unit, state: State) -> bool:
    return any(state.step(step.name).status is StepStatus.FAILED for step in unit.steps)


def _walk(nodes: Iterable[Node], state: State) -> _Walk:
    """One after the other: the first node that is not finished holds up the rest."""
    for node in nodes:
        found = _visit(node, state)
        if not found.finished:
            return found
    return _Walk((), True)


def _visit(node: Node, state: State) -> _Walk:
    if isinstance(node, Parallel):
        walks = [_walk(branch, state) for branch in node.branches]
        return _Walk(tuple(unit for walk in walks for unit in walk.open), all(walk.finished for walk in walks))
    if _is_done(node, state):
        return _Walk((), True)
    return _Walk(() if _failed(node, state) else (node,), False)


def done_before(nodes: Iterable[Node], state: State, unit: Unit) -> list[str]:
    """The steps that are done one after the other from the beginning of each branch, up to ``unit``."""
    return _done_before(nodes, state, unit)[0]


def _done_before(nodes: Iterable[Node], state: State, unit: Unit) -> tuple[list[str], bool]:
    """Those steps, and whether they are all there are."""
    done: list[str] = []
    for node in nodes:
        if isinstance(node, Parallel):
            branches = [_done_before(branch, state, unit) for branch in node.branches]
            done += [name for names, _ in branches for name in names]
            if not all(finished for _, finished in branches):
                return done, False
        elif node is unit or not _is_done(node, state):
            return done, False
        else:
            done += [step.name for step in node.steps]
    return done, True


def _is_done(unit: Unit, state: State) -> bool:
    return all(state.step(step.name).status in DONE for step in unit.steps)


def path_from(nodes: Sequence[Node], unit: Unit) -> Sequence[Node]:
    """The rest of the sequence that ``unit`` stands in, from the unit on; empty if it is not in ``nodes``."""
    for index, node in enumerate(nodes):
        if node is unit:
            return nodes[index:]
        for branch in node.branches if isinstance(node, Parallel) else ():
            if found := path_from(branch, unit):
                return found
    return ()
