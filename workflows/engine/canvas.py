"""Moves as Celery signatures: a unit and what follows it is a chain, parallel branches are a group.

Messages carry ids only: the execution and its epoch, the step in the task's name. A chain ends with the first group:
what comes after a join is published by the branch that completes it, so no chord and no result backend is needed.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from celery import chain, group
from celery.canvas import Signature

from workflows.engine.definition import Node, Parallel, Unit, Workflow
from workflows.engine.planner import path_from
from zea.broker import app


def canvas(workflow: Workflow, moves: Iterable[Unit], execution_id: UUID, epoch: int) -> Signature | None:
    """What to publish so that ``moves`` run, and after each what follows it without a join; None for no moves."""
    drawn = [
        sequence
        for unit in moves
        if (sequence := _sequence(workflow, path_from(workflow.flow, unit), (str(execution_id), epoch)))
    ]
    return _one_or_group(drawn) if drawn else None


def _sequence(workflow: Workflow, nodes: Sequence[Node], ids: tuple[str, int]) -> Signature | None:
    """None where there is nothing to run, as in a parallel group without branches."""
    links: list[Signature] = []
    for node in nodes:
        if not isinstance(node, Parallel):
            links.append(_link(workflow.task_name(node), ids))
        elif branches := [found for branch in node.branches if (found := _sequence(workflow, branch, ids))]:
            links.append(_one_or_group(branches))
            break
    return chain(*links) if len(links) > 1 else next(iter(links), None)


def _link(task_name: str, ids: tuple[str, int]) -> Signature:
    return app.signature(task_name, args=ids, immutable=True, options={"ignore_result": True})


def _one_or_group(signatures: list[Signature]) -> Signature:
    return signatures[0] if len(signatures) == 1 else group(signatures)


def carried(request_chain: Sequence[dict[str, Any]] | None) -> frozenset[str]:
    """Names of the tasks that Celery itself publishes when the task whose chain this is returns."""
    return _first_tasks(request_chain[-1]) if request_chain else frozenset()


def _first_tasks(signature: dict[str, Any]) -> frozenset[str]:
    match signature["task"]:
        case "celery.group":
            return frozenset().union(*(_first_tasks(each) for each in signature["kwargs"]["tasks"]))
        case "celery.chain":
            return _first_tasks(signature["kwargs"]["tasks"][0])
        case name:
            return frozenset({str(name)})
