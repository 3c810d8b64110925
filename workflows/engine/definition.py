"""What a workflow is: a name, a version, an input and a flow of steps, all checked when it is imported."""

import hashlib
import inspect
import json
import re
import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import Any, get_type_hints

from workflows.engine.policy import DEFAULT_RETRY, LONG_STEP, STEP_TIMEOUT, Retry
from workflows.engine.values import Field, Json, fields_of, hides_personal, is_record
from zea.errors import DefinitionError

INPUT = "input"
# It names tasks and queues' patterns, and people type it.
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)*")


@dataclass(frozen=True, eq=False)
class Step:
    """One named unit of work: a domain function, what it takes by name and what it returns.

    ``undo`` is the step that compensates it; ``undoes`` names, in an undo, the step that it compensates.
    """

    name: str
    function: Callable[..., Any]
    takes: tuple[Field, ...]
    result: type | None
    returns: tuple[Field, ...]
    wants_context: bool
    retry: Retry = DEFAULT_RETRY
    timeout: timedelta | None = None
    undo: "Step | None" = None
    undoes: str | None = None

    @property
    def steps(self) -> tuple["Step", ...]:
        return (self,)


@dataclass(frozen=True, eq=False)
class Atomic:
    """Steps that happen in one task and one transaction: all of them, or none."""

    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        return f"{self.steps[0].name}_to_{self.steps[-1].name}"


@dataclass(frozen=True, eq=False)
class Undo:
    """The compensation of a completed step or block: the undos of its steps, the last step's first, in one task."""

    of: Step | Atomic
    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        return undo_name(self.of.name)


@dataclass(frozen=True, eq=False)
class Parallel:
    """Branches that run side by side; what follows waits for all of them."""

    branches: tuple[tuple["Node", ...], ...]


# A unit is what one Celery task runs.
Unit = Step | Atomic | Undo
Node = Step | Atomic | Parallel
Branch = Node | Sequence[Node]


def undo_name(name: str) -> str:
    """What the undo of this step, or this block, is called."""
    return f"undo_{name}"


def limit_of(unit: Unit) -> timedelta:
    """How long one attempt may take before the database ends it; the steps that state nothing share a default."""
    states_all = all(each.timeout for each in unit.steps)
    return _stated_time(unit) + (timedelta() if states_all else STEP_TIMEOUT)


def is_long(unit: Unit) -> bool:
    """Whether it says before it runs that it has started."""
    return _stated_time(unit) > LONG_STEP


def _stated_time(unit: Unit) -> timedelta:
    return sum((each.timeout for each in unit.steps if each.timeout), timedelta())


def step(
    function: Callable[..., Any],
    undo: Callable[..., Any] | None = None,
    retry: Retry = DEFAULT_RETRY,
    timeout: timedelta | None = None,
) -> Step:
    """A step made of a domain function: database handle first, the rest keyword-only, a frozen dataclass or None back.

    ``undo`` compensates it once it is completed and the execution fails or is cancelled: a function of the same form
    that returns None, and may take what the step took and what it returned. ``retry`` is for failures that pass;
    ``timeout`` is how long an attempt may take, 30 seconds if it is not stated. Both may change without a new version.

    Raises:
        DefinitionError: a function has another shape, or the timeout is not positive.
    """
    made = _step_of(function)
    if timeout is not None and timeout <= timedelta():
        raise DefinitionError(f"Step {made.name}: its timeout must be longer than nothing.")
    return replace(made, retry=retry, timeout=timeout, undo=undo and _undo_of(made.name, undo, retry, timeout))


def _undo_of(undoes: str, function: Callable[..., Any], retry: Retry, timeout: timedelta | None) -> Step:
    made = _step_of(function)
    if made.returns:
        raise DefinitionError(f"Step {undoes}: its undo {made.name} must return None.")
    return replace(made, name=undo_name(undoes), undoes=undoes, retry=retry, timeout=timeout)


def _step_of(function: Callable[..., Any]) -> Step:
    name = _name_of(function)
    parameters = list(inspect.signature(function).parameters.values())
    handle, rest = next(iter(parameters), None), parameters[1:]
    if handle is None or handle.kind not in (handle.POSITIONAL_ONLY, handle.POSITIONAL_OR_KEYWORD):
        raise DefinitionError(f"Step {name}: its first argument must be the database handle.")
    for parameter in rest:
        if parameter.kind is not parameter.KEYWORD_ONLY:
            raise DefinitionError(f"Step {name}: argument {parameter.name} must be keyword-only.")
    hints = get_type_hints(function, include_extras=True)
    if "return" not in hints:
        raise DefinitionError(f"Step {name}: say what it returns, a frozen dataclass or None.")
    result = _record(name, hints["return"])
    return Step(
        name=name,
        function=function,
        takes=tuple(_parameter(name, each, hints) for each in rest if each.name != "ctx"),
        result=result,
        returns=_checked(f"Step {name}", fields_of(result)),
        wants_context=any(each.name == "ctx" for each in rest),
    )


def _name_of(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", repr(function))
    if not inspect.isfunction(function) or not name.isidentifier():
        raise DefinitionError(f"Step {name}: it must be a function with a name.")
    # Calling one of these does nothing yet, and nobody would go on with what it answers.
    if (
        inspect.iscoroutinefunction(function)
        or inspect.isgeneratorfunction(function)
        or inspect.isasyncgenfunction(function)
    ):
        raise DefinitionError(f"Step {name}: it must be a plain function, neither async nor a generator.")
    if name == INPUT:
        raise DefinitionError("Step input: this name stands for the workflow's input; choose another one.")
    return name


def _checked(owner: str, values: tuple[Field, ...]) -> tuple[Field, ...]:
    """Refuse a personal value that is not a field of its own: it would be stored where it can never be erased."""
    for value in values:
        if hides_personal(value.type):
            raise DefinitionError(f"{owner}: a part of {value.name} is personal; make it a field of its own.")
    return values


def _parameter(step_name: str, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Field:
    if parameter.name not in hints:
        raise DefinitionError(f"Step {step_name}: argument {parameter.name} needs a type.")
    return Field(parameter.name, hints[parameter.name], required=parameter.default is parameter.empty)


def _record(step_name: str, returned: Any) -> type | None:
    if returned is type(None):
        return None
    if not is_record(returned):
        raise DefinitionError(f"Step {step_name}: it must return a frozen dataclass or None, not {returned!r}.")
    return returned  # type: ignore[no-any-return]  # is_record has just said that it is a type


def atomic(*steps: Step) -> Atomic:
    """Steps in one task and one transaction.

    Raises:
        DefinitionError: there is no step in it.
    """
    if not steps:
        raise DefinitionError("atomic(...) needs at least one step.")
    for each in steps:
        if not isinstance(each, Step):
            raise DefinitionError(f"atomic(...) takes steps, not a {type(each).__name__}.")
    return Atomic(steps)


def parallel(*branches: Branch) -> Parallel:
    """Branches side by side; a branch is a step or a list."""
    return Parallel(tuple(tuple(each) if isinstance(each, Sequence) else (each,) for each in branches))


@dataclass(frozen=True, eq=False)
class Workflow:
    """A definition. ``subject`` is a template over its public values, such as ``booking:{booking_id}``.

    Raises:
        DefinitionError: a name that nothing produces, that two parallel branches both produce, or that two steps share.
    """

    name: str
    version: int
    input: type
    flow: Sequence[Node]
    subject: str | None = None

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
        _refuse_twins(self, (each.name for step in self.steps for each in (step, step.undo) if each))
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
        return _checked(str(self), fields_of(self.input))

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
    def sources(self) -> dict[str, dict[str, str]]:
        """For each step, where each argument comes from: the name of an earlier step, or ``input``."""
        found: dict[str, dict[str, str]] = {}
        _resolve(self, self.flow, {field.name: INPUT for field in self.input_fields}, found)
        return found

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
        produced |= {field.name: each.name for field in each.returns}
        if each.undo:
            found[each.undo.name] = _sources_of(workflow, each.undo, scope | produced)
    return produced


def _sources_of(workflow: Workflow, step: Step, visible: Mapping[str, str]) -> dict[str, str]:
    for field in step.takes:
        if field.required and field.name not in visible:
            raise DefinitionError(f"{workflow}: step {step.name} takes {field.name}, which nothing before it returns.")
    return {field.name: visible[field.name] for field in step.takes if field.name in visible}


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


def _described(field: Field) -> str:
    return f"{field.name} (personal)" if field.personal else field.name
