"""Questions to servers that may not answer: each is given up after a while, and takes nothing that requests need."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TypeVar

import anyio
from sqlalchemy import Engine, NullPool, create_engine, event
from sqlalchemy.orm import Session

from zea import config, db
from zea.api.silence import attend

Answer = TypeVar("Answer")

# Threads of their own: those that serve requests are for them. Whoever asks has given up before a question ends, so
# each has to end by itself soon after.
_THREADS = 4


async def answer_within(seconds: float, question: Callable[[], Answer]) -> Answer:
    """What ``question`` answers; it runs on in its thread when it is given up.

    Raises:
        TimeoutError: nothing, in that time.
    """
    with anyio.fail_after(seconds):
        return await anyio.to_thread.run_sync(question, abandon_on_cancel=True, limiter=_limiter())


@contextmanager
def beside_the_pool() -> Iterator[Session]:
    """A database handle on a connection of its own: a pool that is busy says nothing about the database.

    It ends itself when the server is silent.
    """
    with Session(_engine(config.database_url())) as session:
        yield session


@lru_cache
def _engine(url: str) -> Engine:
    made = create_engine(
        url, poolclass=NullPool, connect_args=db.CONNECT_ARGUMENTS, isolation_level="AUTOCOMMIT", hide_parameters=True
    )
    event.listen(made, "connect", db.recognise)
    attend(made)
    return made


@lru_cache
def _limiter() -> anyio.CapacityLimiter:
    return anyio.CapacityLimiter(_THREADS)
