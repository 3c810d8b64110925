"""The database's clock within one transaction."""

from datetime import datetime, timedelta
from time import perf_counter


class Clock:
    """The database's clock, carried on by what this process measures since it was read."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._read_at = perf_counter()

    def __call__(self) -> datetime:
        return self._now + timedelta(seconds=perf_counter() - self._read_at)
