"""What a workflow is: a name, a version, an input and a flow of steps, all checked when it is imported."""

import hashlib
import json
import re
import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from workflows.engine.nodes import (
    CONTINUE,
    HALF,
    Approval,
    Atomic,
    Continuation,
    Fail,
    Node,
    Parallel,
    Sleep,
    Step,
    Undo,
    Unit,
    approval,
    atomic,
    failure_hook,
    parallel,
    sleep,
    step,
)
from workflows.engine.signature import INPUT, checked
from workflows.engine.values import Field, Json, fields_of, is_record
from zea.errors import DefinitionError

# What a definition is written with.
__all__ = ["CONTINUE", "HALF", "Fail", "Workflow", "approval", "atomic", "parallel", "sleep", "step"]

# It names tasks and queues' patterns, and people type it.
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)*")


@dataclass(frozen=True, eq=False)
class Workflow:
    """A definition. ``subject`` is a template over its public values, such as ``booking:{booking_id}``.

    ``on_failure`` is called in the transaction that ends an execution as failed or cancelled: a domain function of what
    is in the input, and of ``failure``. What it does stands; if it fails itself, that is logged, and changes nothing.

    Raises:
        DefinitionError: a name that nothing produces, that two parallel branches both produce, or that two steps share.
    """

    name: str
    version: int
    input: type
    flow: Sequence[Node]
    subject: str | None = None
    on_failure: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise DefinitionError(f"{self.name!r} is no workflow's name: use letters and digits, as in sport.Booking.")
        if self.version < 1:
            raise DefinitionError(f"{self}: versions count from 1.")
        if not is_record(self.input):
            raise DefinitionError(f"{self}: its input must be a frozen dataclass.")
        _refuse_strangers(self, self.flow)
        if not self.steps:
            raise DefinitionError(f"{self}: it needs at least one step.")
        named = [each.name for step in self.steps for each in (step, step.undo, *step.hooks) if each]
        _refuse_twins(self, [*named, *([self.failure_hook.name] if self.failure_hook else [])])
        _refuse_twins(self, (each.name for each in (*self.units, *self.undos.values())))
        _ = self.sources
        _refuse_unknown_values(self)

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"

    @cached_property
    def prefix(self) -> str:
        """What its Celery tasks' names begin with: ``booking_request`` for ``zea_sport.BookingRequest``."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", self.name.rsplit(".", 1)[-1]).lower()

    @cached_property
    def input_fields(self) -> tuple[Field, ...]:
        return checked(str(self), fields_of(self.input))

    @cached_property
    def units(self) -> tuple[Step | Atomic, ...]:
        """The steps and blocks of the flow, in its order."""
        return tuple(_units(self.flow))

    @cached_property
    def undos(self) -> dict[str, Undo]:
        """The compensation of each unit that has one, by the unit's name."""
        made = (Undo(unit, tuple(each.undo for each in reversed(unit.steps) if each.undo)) for unit in self.units)
        return {undo.of.name: undo for undo in made if undo.steps}

    @cached_property
    def tasks(self) -> dict[str, Unit]:
        """Everything that is a task, by name: the units of the flow and their undos."""
        return {each.name: each for each in (*self.units, *self.undos.values())}

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Every step, in flow order."""
        return tuple(each for unit in self.units for each in unit.steps)

    @cached_property
    def alone(self) -> frozenset[str]:
        """Names of the units beside which no other unit can run; undos run one at a time."""
        in_sequence = {node.name for node in self.flow if not isinstance(node, Parallel)}
        return frozenset(in_sequence | {undo.name for undo in self.undos.values()})

    @cached_property
    def failure_hook(self) -> Step | None:
        """What is called when an execution has come to nothing."""
        return failure_hook(self.on_failure) if self.on_failure else None

    @cached_property
    def sources(self) -> dict[str, dict[str, str]]:
        """For each step, where each argument comes from: the name of an earlier step, or ``input``."""
        found: dict[str, dict[str, str]] = {}
        given = {field.name: INPUT for field in self.input_fields}
        _resolve(self, self.flow, given, found)
        if hook := self.failure_hook:
            found[hook.name] = _sources_of(self, hook, given)
        return found

    def step(self, name: str) -> Step:
        """The step of that name.

        Raises:
            KeyError: this version has none.
        """
        return {each.name: each for each in self.steps}[name]

    def unit(self, name: str) -> Unit | None:
        """The unit of that name, if this version has one."""
        return self.tasks.get(name)

    def task_name(self, unit: Unit) -> str:
        return f"{self.prefix}.{unit.name}"

    @cached_property
    def shape(self) -> Json:
        """All that a running execution relies on, as JSON."""
        return {
            "input": [_described(field) for field in self.input_fields],
            "subject": self.subject,
            "flow": [_shape(node) for node in self.flow],
        }

    @cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps(self.shape, sort_keys=True).encode()).hexdigest()


def _units(nodes: Iterable[Node]) -> Iterator[Step | Atomic]:
    for node in nodes:
        if isinstance(node, Parallel):
            for branch in node.branches:
                yield from _units(branch)
        else:
            yield node


def _refuse_strangers(workflow: Workflow, nodes: Iterable[Node]) -> None:
    if not isinstance(nodes, Sequence):
        raise DefinitionError(f"{workflow}: its flow must be a list.")
    for node in nodes:
        if not isinstance(node, Step | Atomic | Parallel):
            given = type(node).__name__
            raise DefinitionError(f"{workflow}: a flow is made of step, atomic and parallel, not of a {given}.")
        for branch in node.branches if isinstance(node, Parallel) else ():
            _refuse_strangers(workflow, branch)


def _refuse_unknown_values(workflow: Workflow) -> None:
    """A subject whose values never come, or are personal, would never be set."""
    values = {
        field.name: field for field in (*workflow.input_fields, *(f for step in workflow.steps for f in step.returns))
    }
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(workflow.subject or "") if name is not None]
    except ValueError as error:
        raise DefinitionError(f"{workflow}: its subject cannot be read: {error}.") from None
    for name in names:
        if name not in values or values[name].personal:
            raise DefinitionError(f"{workflow}: its subject takes {name or '{}'}, which is no public value of it.")


def _refuse_twins(workflow: Workflow, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DefinitionError(f"{workflow}: two steps are named {name}; a step's name is unique in its workflow.")
        seen.add(name)


def _resolve(
    workflow: Workflow, nodes: Iterable[Node], scope: dict[str, str], found: dict[str, dict[str, str]]
) -> dict[str, str]:
    """Bind each step's arguments to what is in scope before it; answers the names that ``nodes`` produce."""
    scope = dict(scope)
    produced: dict[str, str] = {}
    for node in nodes:
        new = (
            _resolve_branches(workflow, node, scope, found)
            if isinstance(node, Parallel)
            else _resolve_steps(workflow, node.steps, scope, found)
        )
        scope |= new
        produced |= new
    return produced


def _resolve_steps(
    workflow: Workflow, steps: Iterable[Step], scope: dict[str, str], found: dict[str, dict[str, str]]
) -> dict[str, str]:
    produced: dict[str, str] = {}
    for each in steps:
        found[each.name] = _sources_of(workflow, each, scope | produced)
        found |= {hook.name: _sources_of(workflow, hook, scope | produced) for hook in each.hooks}
        produced |= {field.name: each.name for field in each.returns}
        if each.undo:
            found[each.undo.name] = _sources_of(workflow, each.undo, scope | produced)
    return produced


def _sources_of(workflow: Workflow, step: Step, visible: Mapping[str, str]) -> dict[str, str]:
    for field in step.needs:
        if field.required and field.name not in visible:
            raise DefinitionError(f"{workflow}: step {step.name} takes {field.name}, which nothing before it returns.")
    return {field.name: visible[field.name] for field in step.needs if field.name in visible}


def _resolve_branches(
    workflow: Workflow, node: Parallel, scope: dict[str, str], found: dict[str, dict[str, str]]
) -> dict[str, str]:
    produced: dict[str, str] = {}
    for branch in node.branches:
        new = _resolve(workflow, branch, scope, found)
        for name in new.keys() & produced.keys():
            raise DefinitionError(
                f"{workflow}: two parallel branches both return {name}: {produced[name]} and {new[name]}."
            )
        produced |= new
    return produced


def _shape(node: Node) -> Json:
    match node:
        case Step(wait=Approval() as wait):
            return {"approval": node.name, **_shape_of_approval(node, wait)}
        case Step(wait=Sleep()):
            return {"sleep": node.name, "takes": sorted(field.name for field in node.needs)}
        case Step():
            undo = {"undo": _shape(node.undo)} if node.undo else {}
            return {
                "step": node.name,
                "takes": sorted(field.name for field in node.takes),
                "returns": [_described(field) for field in node.returns],
                **undo,
            }
        case Atomic():
            return {"atomic": [_shape(each) for each in node.steps]}
        case Parallel():
            return {"parallel": [[_shape(each) for each in branch] for branch in node.branches]}


def _shape_of_approval(node: Step, wait: Approval) -> Json:
    """How long it waits, and whom it tells, may change without a new version."""
    return {
        "type": wait.approval_type,
        "assignee": wait.assignee.name,
        "response": [_described(field) for field in fields_of(wait.response)],
        "on_timeout": _continuation(wait.on_timeout),
        "on_reject": _continuation(wait.on_reject),
        "returns": [_described(field) for field in node.returns],
    }


def _continuation(continuation: Continuation) -> str:
    return f"fail as {continuation.kind}" if isinstance(continuation, Fail) else "continue"


def _described(field: Field) -> str:
    return f"{field.name} (personal)" if field.personal else field.name
