"""How values travel: dataclass fields to JSON and back, with personal values kept apart."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any, NamedTuple, get_args, get_type_hints

from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticSerializationError

from zea.context import PersonalMark
from zea.errors import InvalidInput

Json = dict[str, Any]


# What no JSON in PostgreSQL can hold: NUL, and halves of characters, as from a terminal with another encoding.
UNSTORABLE = re.compile("[\0\ud800-\udfff]")

# What stands in events and execution rows in the place of a personal value.
WITHHELD: Json = {"personal": True}


class Encoded(NamedTuple):
    """A dataclass instance as JSON: what may be seen, and what is kept in ``workflow_private``."""

    public: Json
    private: Json


@dataclass(frozen=True, eq=False)
class Field:
    """One named, typed value of an input, a step's result or a step's parameters."""

    name: str
    type: Any
    required: bool = True

    @cached_property
    def personal(self) -> bool:
        return any(isinstance(mark, PersonalMark) for mark in getattr(self.type, "__metadata__", ()))

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.type)

    def encode(self, value: object) -> Any:
        """The value as JSON.

        Raises:
            InvalidInput: it is not of this field's type. The value itself is not repeated: it may be personal.
        """
        try:
            return self._adapter.dump_python(value, mode="json", warnings="error")
        except PydanticSerializationError:
            given = type(value).__name__
            raise InvalidInput(f"{self.name} must be {self.type}, and is a {given}.", self.name) from None

    def decode(self, value: object) -> Any:
        """The JSON value as this field's type."""
        return self._adapter.validate_python(value)


def fields_of(record: type | None) -> tuple[Field, ...]:
    """The fields of a dataclass, in order; none for None."""
    if record is None:
        return ()
    hints = get_type_hints(record, include_extras=True)
    return tuple(Field(field.name, hints[field.name]) for field in fields(record))


def is_record(candidate: object) -> bool:
    """Whether ``candidate`` is a frozen dataclass type."""
    return isinstance(candidate, type) and is_dataclass(candidate) and candidate.__dataclass_params__.frozen  # type: ignore[attr-defined]  # not in typeshed


def hides_personal(type_: Any, *, within: bool = False) -> bool:
    """Whether a personal value stands inside a value of this type, where it would not be kept apart."""
    if within and any(isinstance(mark, PersonalMark) for mark in getattr(type_, "__metadata__", ())):
        return True
    return any(hides_personal(inner, within=True) for inner in (*get_args(type_), *_types_inside(type_)))


def _types_inside(type_: Any) -> tuple[Any, ...]:
    is_model = isinstance(type_, type) and (is_dataclass(type_) or issubclass(type_, BaseModel))
    return tuple(get_type_hints(type_, include_extras=True).values()) if is_model else ()


def encode(record_fields: tuple[Field, ...], record: object) -> Encoded:
    """A dataclass instance as JSON, its personal values apart. An absent personal value (None) is no secret."""
    public: Json = {}
    private: Json = {}
    for field in record_fields:
        value = field.encode(getattr(record, field.name))
        if field.personal and value is not None:
            private[field.name] = value
            value = WITHHELD
        public[field.name] = value
    return Encoded(public, private)


def is_withheld(value: object) -> bool:
    """Whether this stands in the place of a personal value."""
    return value == WITHHELD


def without(private: Mapping[str, Any], text: str) -> str:
    """``text`` with every personal string in it blanked out."""
    for value in private.values():
        if isinstance(value, str) and value:
            text = text.replace(value, "[personal]")
    return text
