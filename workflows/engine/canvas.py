"""Moves as Celery signatures: a unit and those that follow it are a chain, units that run side by side a group.

Messages carry ids only: the execution and its epoch, the step in the task's name. A chain ends where units run side by
side: a group is published by whoever's commit opens it, so no chord and no result backend is needed to close it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

from celery import chain, group
from celery.canvas import Signature

from workflows.engine.definition import Workflow
from workflows.engine.nodes import Parallel, Unit
from workflows.engine.planner import path_from
from zea.broker import app


def canvas(
    workflow: Workflow, moves: Iterable[Unit], execution_id: UUID, epoch: int, dispatches: int = 0
) -> Signature | None:
    """What to publish so that ``moves`` run, and after each what follows it alone; None for no moves.

    ``dispatches`` is how often the moves were dispatched again; what follows them is dispatched for the first time.
    """
    ids = (str(execution_id), epoch)
    drawn = [_chain(workflow, unit, ids, dispatches) for unit in moves]
    return _one_or(group, drawn) if drawn else None


def _chain(workflow: Workflow, unit: Unit, ids: tuple[str, int], dispatches: int) -> Signature:
    links = [_link(workflow.task_name(unit), (*ids, dispatches) if dispatches else ids)]
    for node in path_from(workflow.flow, unit)[1:]:
        if isinstance(node, Parallel):
            break
        links.append(_link(workflow.task_name(node), ids))
    return _one_or(chain, links)


def _link(task_name: str, ids: tuple[str | int, ...]) -> Signature:
    return app.signature(task_name, args=ids, immutable=True, options={"ignore_result": True})


def _one_or(several: Callable[..., Signature], signatures: list[Signature]) -> Signature:
    return signatures[0] if len(signatures) == 1 else several(*signatures)


def carried(request_chain: Sequence[dict[str, Any]] | None) -> frozenset[str]:
    """The name of the task that Celery itself publishes when the task whose chain this is returns, if there is one."""
    return frozenset({str(request_chain[-1]["task"])} if request_chain else ())
