"""What a flow is made of: steps, atomic blocks, parallel branches, approvals and sleeps. All are data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from types import NoneType
from typing import Any, Final, get_args
from uuid import UUID

from workflows.engine.policy import DEFAULT_RETRY, LONG_STEP, STEP_TIMEOUT, Retry, Setting
from workflows.engine.signature import INPUT, checked, record_of, signature_of
from workflows.engine.values import Field, fields_of, is_record
from zea.errors import DefinitionError


@dataclass(frozen=True, eq=False)
class Step:
    """One named unit of work: a domain function, what it takes by name and what it returns.

    ``undo`` is the step that compensates it; ``undoes`` names, in an undo, the step that it compensates. ``wait`` is
    what it waits for once its function has run, before it is completed. ``asks_for`` names what the engine gives it
    beside values: in what records a decision, the decision.
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
    wait: "Approval | Sleep | None" = None
    asks_for: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[Field, ...]:
        """What must be in scope before it: what it takes, and what its wait looks up."""
        return (*self.takes, *(self.wait.needs if self.wait else ()))

    @property
    def hooks(self) -> tuple["Step", ...]:
        """What is called while it waits, and once it is decided."""
        return self.wait.hooks if self.wait else ()

    @property
    def steps(self) -> tuple["Step", ...]:
        return (self,)


# How long: fixed, or as the settings of the process say at that moment.
Duration = timedelta | Setting
# Half of an approval's time, after which it is reminded of.
HALF: Final = 0.5


@dataclass(frozen=True)
class Fail:
    """What an approval that was not given comes to: a failure of this kind, for good."""

    kind: str


@dataclass(frozen=True)
class Continue:
    """What an approval that was not given comes to: the flow goes on without the answer."""


CONTINUE: Final = Continue()
Continuation = Fail | Continue


@dataclass(frozen=True, eq=False)
class Approval:
    """A durable wait for a person's decision.

    ``assignee`` looks up who decides; ``remind_after`` is a share of the timeout. ``remind`` and ``record`` are called
    in the transaction that reminds, and in the one that takes the decision or notes that the time is over.
    """

    approval_type: str
    response: type
    assignee: Field
    timeout: Duration
    on_timeout: Continuation
    on_reject: Continuation
    remind_after: float | None = None
    remind: Step | None = None
    record: Step | None = None

    @cached_property
    def response_fields(self) -> tuple[Field, ...]:
        return fields_of(self.response)

    @property
    def needs(self) -> tuple[Field, ...]:
        return (self.assignee,)

    @property
    def hooks(self) -> tuple[Step, ...]:
        return tuple(each for each in (self.remind, self.record) if each)


@dataclass(frozen=True, eq=False)
class Sleep:
    """A durable wait: for a stretch of time, or until the moment that ``until`` looks up."""

    duration: Duration | None = None
    until: Field | None = None
    hooks: tuple[Step, ...] = field(default=(), init=False)

    @property
    def needs(self) -> tuple[Field, ...]:
        return (self.until,) if self.until else ()


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
    signature = signature_of(function)
    result = record_of(signature.name, signature.returned)
    return Step(
        name=signature.name,
        function=function,
        takes=signature.takes,
        result=result,
        returns=checked(f"Step {signature.name}", fields_of(result)),
        wants_context=signature.wants_context,
    )


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
        if each.wait:
            raise DefinitionError(f"atomic(...) cannot wait for {each.name}: a transaction is no place to wait in.")
    return Atomic(steps)


def parallel(*branches: Branch) -> Parallel:
    """Branches side by side; a branch is a step or a list."""
    return Parallel(tuple(tuple(each) if isinstance(each, Sequence) else (each,) for each in branches))


def approval(
    name: str,
    *,
    type: str,
    response: type,
    assignee: str,
    timeout: Duration,
    on_timeout: Continuation,
    on_reject: Continuation,
    request: Callable[..., Any] | None = None,
    remind_after: float | None = None,
    remind: Callable[..., Any] | None = None,
    record: Callable[..., Any] | None = None,
) -> Step:
    """A wait for a person's decision, which is bound under ``name`` as one ``response``, or None if none was given.

    ``assignee`` is the name of the value that holds the person's id. ``request`` is called when the approval is
    reached, to tell that person; it may return the answer if that is known already. ``remind`` is called once, when
    ``remind_after``, a share of the timeout such as ``HALF``, is over. ``record`` keeps what was decided: it may ask
    for ``outcome`` (approved, rejected or expired) and ``response``, and what it returns is in scope for what follows.
    They are domain functions like those of steps; their ``ctx`` knows when the approval ``expires_at``.

    Raises:
        DefinitionError: one of them has another shape, the response is no frozen dataclass, or a time makes no sense.
    """
    _refuse_odd_name(name)
    if not is_record(response):
        raise DefinitionError(f"Approval {name}: its response must be a frozen dataclass.")
    checked(f"Approval {name}", fields_of(response))
    _refuse_odd_time(name, timeout)
    if (remind is None) != (remind_after is None):
        raise DefinitionError(f"Approval {name}: state both remind and remind_after, or neither.")
    if remind_after is not None and not 0 < remind_after < 1:
        raise DefinitionError(f"Approval {name}: remind_after is a share of its timeout, between 0 and 1.")
    recording = _hook(f"{name}_decision", record, {"outcome", "response"}) if record else None
    wait = Approval(
        approval_type=type,
        response=response,
        assignee=Field(assignee, UUID),
        timeout=timeout,
        on_timeout=on_timeout,
        on_reject=on_reject,
        remind_after=remind_after,
        remind=_silent(_hook(f"{name}_reminder", remind)) if remind else None,
        record=recording,
    )
    recorded = recording.returns if recording else ()
    return replace(_requesting(name, request, response), returns=(Field(name, response | None), *recorded), wait=wait)


def sleep(name: str, duration: Duration | None = None, *, until: str | None = None) -> Step:
    """A wait for ``duration``, or until the moment in the value called ``until``; one that is over is no wait.

    Raises:
        DefinitionError: both are stated, or neither, or the duration is not positive.
    """
    _refuse_odd_name(name)
    if (duration is None) == (until is None):
        raise DefinitionError(f"Sleep {name}: state a duration, or until which moment.")
    if duration is not None:
        _refuse_odd_time(name, duration)
    wait = Sleep(duration, Field(until, datetime) if until else None)
    return Step(name, _nothing, (), None, (), wants_context=False, wait=wait)


def _requesting(name: str, request: Callable[..., Any] | None, response: type) -> Step:
    """What is called when an approval is reached."""
    if request is None:
        return Step(name, _nothing, (), None, (), wants_context=False)
    signature = signature_of(request)
    if set(get_args(signature.returned) or (signature.returned,)) - {response, NoneType}:
        raise DefinitionError(f"Approval {name}: {signature.name} must return a {response.__name__}, None, or either.")
    return Step(name, request, signature.takes, response, (), wants_context=signature.wants_context)


def failure_hook(function: Callable[..., Any]) -> Step:
    """What is called when an execution has come to nothing: a domain function that may ask for ``failure``.

    Raises:
        DefinitionError: it has another shape.
    """
    return _silent(_hook(signature_of(function, {"failure"}).name, function, {"failure"}))


def _hook(name: str, function: Callable[..., Any], given: frozenset[str] | set[str] = frozenset()) -> Step:
    signature = signature_of(function, given)
    result = record_of(signature.name, signature.returned)
    returns = checked(f"Step {signature.name}", fields_of(result))
    return Step(name, function, signature.takes, result, returns, signature.wants_context, asks_for=signature.given)


def _silent(hook: Step) -> Step:
    if hook.result:
        raise DefinitionError(f"{hook.name}: {hook.function.__name__} must return None; nobody reads what it returns.")
    return hook


def _nothing(_: object) -> None:
    """What is done where only the waiting counts."""


def _refuse_odd_name(name: str) -> None:
    if not name.isidentifier() or name == INPUT:
        raise DefinitionError(f"{name!r} names no wait: use a name like request_feedback.")


def _refuse_odd_time(name: str, duration: Duration) -> None:
    if isinstance(duration, timedelta) and duration <= timedelta():
        raise DefinitionError(f"{name}: it must wait for longer than nothing.")
