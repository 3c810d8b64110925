"""What may run next, and when an execution is over. Pure: a definition and a state in, units out."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from workflows.engine.definition import Node, Parallel, Unit, Workflow
from workflows.engine.events import ExecutionCompleted, ExecutionFailed
from workflows.engine.models import ExecutionStatus, StepStatus
from workflows.engine.state import State


class _Walk(NamedTuple):
    """What a walk over some nodes found: what may run in them, and whether all of them are done."""

    runnable: tuple[Unit, ...]
    finished: bool


def next_moves(workflow: Workflow, state: State) -> tuple[Unit, ...]:
    """The units that may run now, in flow order."""
    if state.status is not ExecutionStatus.RUNNING:
        return ()
    return _walk(workflow.flow, state).runnable


def conclusion(workflow: Workflow, state: State) -> ExecutionCompleted | ExecutionFailed | None:
    """How the execution ends, if nothing is left to run; the first failed step in flow order says why."""
    if state.status is not ExecutionStatus.RUNNING:
        return None
    runnable, finished = _walk(workflow.flow, state)
    if finished:
        return ExecutionCompleted()
    if runnable:
        return None
    return _failure(workflow, state)


def _failure(workflow: Workflow, state: State) -> ExecutionFailed:
    for step in workflow.steps:
        reached = state.step(step.name)
        if reached.error:
            problem = reached.error
            return ExecutionFailed(step.name, problem.kind, problem.message, reached.resumable, problem.traceback)
    raise AssertionError(f"{workflow}: nothing runs, nothing is left and nothing failed.")


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
        return _Walk(tuple(unit for walk in walks for unit in walk.runnable), all(walk.finished for walk in walks))
    statuses = {state.step(step.name).status for step in node.steps}
    if statuses == {StepStatus.COMPLETED}:
        return _Walk((), True)
    return _Walk(() if StepStatus.FAILED in statuses else (node,), False)


def path_from(nodes: Sequence[Node], unit: Unit) -> Sequence[Node]:
    """The rest of the sequence that ``unit`` stands in, from the unit on; empty if it is not in ``nodes``."""
    for index, node in enumerate(nodes):
        if node is unit:
            return nodes[index:]
        for branch in node.branches if isinstance(node, Parallel) else ():
            if found := path_from(branch, unit):
                return found
    return ()
