"""What a domain function takes and returns, read from its signature and checked when a workflow is imported."""

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from workflows.engine.values import Field, hides_personal, is_record
from zea.errors import DefinitionError

INPUT = "input"
CONTEXT = "ctx"


@dataclass(frozen=True, eq=False)
class Signature:
    """A function's name, the values that it takes by name, what else it is given, and the type that it returns."""

    name: str
    takes: tuple[Field, ...]
    given: tuple[str, ...]
    wants_context: bool
    returned: Any


def signature_of(function: Callable[..., Any], given: Collection[str] = ()) -> Signature:
    """Database handle first, the rest keyword-only and typed. ``given`` are arguments that no workflow provides.

    Raises:
        DefinitionError: the function has another shape.
    """
    name = name_of(function)
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
    bound = [each for each in rest if each.name != CONTEXT and each.name not in given]
    return Signature(
        name=name,
        takes=tuple(_parameter(name, each, hints) for each in bound),
        given=tuple(each.name for each in rest if each.name in given),
        wants_context=any(each.name == CONTEXT for each in rest),
        returned=hints["return"],
    )


def name_of(function: Callable[..., Any]) -> str:
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


def checked(owner: str, values: tuple[Field, ...]) -> tuple[Field, ...]:
    """Refuse a personal value that is not a field of its own: it would be stored where it can never be erased."""
    for value in values:
        if hides_personal(value.type):
            raise DefinitionError(f"{owner}: a part of {value.name} is personal; make it a field of its own.")
    return values


def _parameter(step_name: str, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Field:
    if parameter.name not in hints:
        raise DefinitionError(f"Step {step_name}: argument {parameter.name} needs a type.")
    return Field(parameter.name, hints[parameter.name], required=parameter.default is parameter.empty)


def record_of(step_name: str, returned: Any) -> type | None:
    if returned is type(None):
        return None
    if not is_record(returned):
        raise DefinitionError(f"Step {step_name}: it must return a frozen dataclass or None, not {returned!r}.")
    return returned  # type: ignore[no-any-return]  # is_record has just said that it is a type
