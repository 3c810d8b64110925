"""Stretches of time."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Period:
    """A half-open stretch of time: ``starts_at`` belongs to it, ``ends_at`` does not."""

    starts_at: datetime
    ends_at: datetime
