"""Questions to servers that may not answer: each is given up after a while, and never takes a request's thread."""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

import anyio

Answer = TypeVar("Answer")

# Threads of their own: checks that hang must not take those that serve requests, nor ever be more than a few.
_THREADS = 4


async def answer_within(seconds: float, question: Callable[[], Answer]) -> Answer:
    """What ``question`` answers; it runs on in its thread when it is given up.

    Raises:
        TimeoutError: nothing, in that time.
    """
    with anyio.fail_after(seconds):
        return await anyio.to_thread.run_sync(question, abandon_on_cancel=True, limiter=_limiter())


@lru_cache
def _limiter() -> anyio.CapacityLimiter:
    return anyio.CapacityLimiter(_THREADS)
