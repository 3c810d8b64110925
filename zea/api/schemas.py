"""What every request and answer shares: strict bodies, moments with an offset, and the shape of a problem."""

import re
from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidatorFunctionWrapHandler, WrapValidator


class Request(BaseModel):
    """A request's body: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


def _aware(value: object, parsed: ValidatorFunctionWrapHandler) -> datetime:
    """ISO 8601 only, and with an offset: a bare number or a naive time would be a guess at what was meant."""
    if not isinstance(value, str) or not DATE_FIRST.match(value):
        raise ValueError("write a date and time as in 2026-03-02T09:00:00-03:00")
    moment: datetime = parsed(value)
    if moment.tzinfo is None:
        raise ValueError("add the offset from UTC, as in 2026-03-02T09:00:00-03:00 or 2026-03-02T12:00:00Z")
    return moment


def _day(value: object, parsed: ValidatorFunctionWrapHandler) -> date:
    """ISO 8601 only: a number or a moment would be a guess at which day is meant, and where."""
    if not isinstance(value, str) or not DAY_ONLY.match(value):
        raise ValueError("write a day as in 2026-03-02")
    found: date = parsed(value)
    return found


DAY_ONLY = re.compile(r"\d{4}-\d{2}-\d{2}$")
Day = Annotated[date, WrapValidator(_day)]
DATE_FIRST = re.compile(r"\d{4}-\d{2}-\d{2}")
AwareDatetime = Annotated[datetime, WrapValidator(_aware)]


class Accepted(BaseModel):
    """What was asked for is kept and will be decided; its execution tells how it stands."""

    execution_id: UUID


class FieldProblem(BaseModel):
    """What is wrong with one field. What was sent is never repeated: it may be a password."""

    field: str
    message: str


class Problem(BaseModel):
    """An error, as RFC 9457 has it."""

    type: str = Field(examples=["urn:zea:problem:slot-unavailable"])
    title: str
    status: int
    detail: str
    instance: str
    errors: list[FieldProblem] | None = None


PROBLEM_MEDIA_TYPE = "application/problem+json"
