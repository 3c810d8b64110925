"""How long a step may take, and how often one that fails for a passing reason is tried again."""

from dataclasses import dataclass
from datetime import timedelta
from random import uniform

from zea.config import Settings, settings
from zea.errors import DefinitionError

# How long a step may take before the database ends its transaction and frees its claim, if it states nothing else.
STEP_TIMEOUT = timedelta(seconds=30)
# A step that states a longer timeout commits that it has started before it runs.
LONG_STEP = timedelta(seconds=10)
# Attempts that started and vanished, one after the other, before a step fails as `worker_lost`.
MAXIMUM_VANISHED = 5
# A longer wait is a timer in the database, never a message that a worker keeps in its memory.
LONGEST_COUNTDOWN = timedelta(seconds=30)
JITTER = 0.25


@dataclass(frozen=True)
class Retry:
    """How a step is tried again after a lost connection, a deadlock, a serialization failure or a timeout.

    ``attempts`` counts the first one. The n-th wait is ``first_delay`` doubled n-1 times, at most ``longest_delay``,
    and up to a quarter more or less, so that those who failed together do not come back together.

    Raises:
        DefinitionError: there is no attempt, a delay is not positive, or the first is longer than the longest.
    """

    attempts: int = 5
    first_delay: timedelta = timedelta(milliseconds=200)
    longest_delay: timedelta = timedelta(minutes=5)

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise DefinitionError("Retry(attempts=…) counts the first attempt: it is at least 1.")
        if min(self.first_delay, self.longest_delay) <= timedelta():
            raise DefinitionError("Retry(…): its delays are longer than nothing.")
        if self.first_delay > self.longest_delay:
            raise DefinitionError("Retry(…): its first_delay is longer than its longest_delay; state both.")

    def delay_after(self, failures: int) -> timedelta:
        """How long to wait after this many failed attempts (1 or more)."""
        doubled = self.first_delay * float(2 ** min(failures - 1, 30))
        return min(doubled, self.longest_delay) * uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 not for secrets


DEFAULT_RETRY = Retry()


@dataclass(frozen=True)
class Setting:
    """A duration that the setting of this name holds, read when it is needed.

    Raises:
        DefinitionError: there is no such setting, or it is no duration.
    """

    name: str

    def __post_init__(self) -> None:
        if self.name not in Settings.model_fields:
            raise DefinitionError(f"There is no setting {self.name!r}: see zea/config.py.")
        if not isinstance(Settings.model_fields[self.name].default, timedelta):
            raise DefinitionError(f"The setting {self.name} is no duration.")

    @property
    def value(self) -> timedelta:
        found: timedelta = getattr(settings(), self.name)
        return found
