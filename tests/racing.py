"""Calls that are made at the same moment, and which of them won."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from zea.errors import AlreadyDecided, Busy, DeadlinePassed, NotPossible, StaleMessage

Call = Callable[[], object]
LOST = (AlreadyDecided, Busy, DeadlinePassed, NotPossible, StaleMessage)


def at_once(calls: Sequence[tuple[str, Call]]) -> Counter[str]:
    """Make all calls at the same moment; how often each name won. Whoever loses is told so, in one of these ways."""
    start = Barrier(len(calls), timeout=10)

    def attempt(named: tuple[str, Call]) -> str | None:
        name, call = named
        start.wait()
        try:
            call()
        except LOST:
            return None
        return name

    with ThreadPoolExecutor(len(calls)) as pool:
        return Counter(name for name in pool.map(attempt, calls) if name)


class Deadline:
    """So many seconds for an answer that about half of the answers come in time, on fast machines and on slow ones."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def learn(self, in_time: bool) -> None:
        """What came in time had too long, what came late too short."""
        self.seconds *= 0.9 if in_time else 1.1
