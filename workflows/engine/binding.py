"""Calls a workflow's domain functions with arguments bound by name, and keeps the personal part of what they return."""

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from types import NoneType
from typing import Any

from sqlalchemy.orm import Session

from workflows.engine import store
from workflows.engine.definition import Workflow
from workflows.engine.nodes import Step
from workflows.engine.state import State
from workflows.engine.values import Field, Json, encode, is_withheld
from zea.context import StepContext
from zea.errors import InvalidInput, PersonalValueErased


@dataclass
class Binding:
    """The values of one execution within one transaction; ``private`` are those that are new and have to be kept."""

    db: Session
    workflow: Workflow
    execution: store.Stored
    state: State
    private: dict[str, Any] = field(default_factory=dict)
    _outputs: dict[str, Json] = field(default_factory=dict)

    def call(self, step: Step, attempt: int, now: datetime, expires_at: datetime | None = None, **given: Any) -> Any:
        """What the step's function returns.

        Raises:
            PersonalValueErased: it needs a value that was erased.
            InvalidInput: it returned something else than it says that it returns, which would be lost.
        """
        sources = self.workflow.sources[step.name]
        arguments = {each.name: self.value(step, each) for each in step.takes if each.name in sources}
        arguments |= {name: given[name] for name in step.asks_for}
        if step.wants_context:
            arguments["ctx"] = StepContext(
                execution_id=self.execution.id,
                step=step.name,
                attempt=attempt,
                actor=self.execution.started_by,
                now=now,
                started_at=self.execution.created_at,
                expires_at=expires_at,
            )
        return _as_declared(step, step.function(self.db, **arguments))

    def value(self, step: Step, wanted: Field) -> Any:
        """The value that the step finds under this name."""
        source = self.workflow.sources[step.name][wanted.name]
        outputs = self._outputs.get(source)
        value = self.state.value(source, wanted.name) if outputs is None else outputs[wanted.name]
        return wanted.decode(self._filled_in(step, f"{source}.{wanted.name}", value))

    def _filled_in(self, step: Step, path: str, value: Any) -> Any:
        """The value with personal ones in the place of their marks, also of those inside of an approval's answer."""
        if not is_withheld(value):
            is_answer = isinstance(value, dict) and any(is_withheld(part) for part in value.values())
            return {n: self._filled_in(step, f"{path}.{n}", part) for n, part in value.items()} if is_answer else value
        try:
            return self.known_private[path]
        except KeyError:
            raise PersonalValueErased(f"{step.name} needs {path.partition('.')[2]}, which was erased.") from None

    def keep(self, step: Step, result: object) -> Json:
        """What a step returned, as it may be seen; later steps of this transaction find it."""
        public = self._split(step.name, step.returns, result)
        self._outputs[step.name] = public
        return public

    def keep_response(self, step: Step, response_fields: tuple[Field, ...], response: object) -> Json:
        """An approval's answer, as it may be seen."""
        return self._split(f"{step.name}.{step.name}", response_fields, response)

    def keep_recorded(self, step: Step, recording: Step, recorded: object) -> Json:
        """What was returned by what recorded an approval's decision, as it may be seen."""
        return self._split(step.name, recording.returns, recorded)

    def _split(self, path: str, record_fields: tuple[Field, ...], record: object) -> Json:
        public, private = encode(record_fields, record)
        self.private |= {f"{path}.{name}": value for name, value in private.items()}
        return public

    @cached_property
    def _stored_private(self) -> dict[str, Any]:
        return store.private_values(self.db, self.execution.id)

    @property
    def known_private(self) -> dict[str, Any]:
        """The execution's personal values, with those of this transaction."""
        return self._stored_private | self.private


def _as_declared(step: Step, result: object) -> object:
    """What a step returned, which would be lost if it were not what it says that it returns."""
    if isinstance(result, step.result or NoneType) or (step.wait and result is None):
        return result
    given, declared = type(result).__name__, step.result.__name__ if step.result else "None"
    raise InvalidInput(f"Step {step.name} returned a {given} instead of {declared}: correct it, then resume.")
