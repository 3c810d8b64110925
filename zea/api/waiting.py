"""Waiting for executions without holding a thread or a connection: one subscription and one poll per API process."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool

from workflows.engine.client import ExecutionClient
from workflows.engine.dispatch import ANNOUNCEMENTS
from workflows.engine.status import Standing
from zea import config

log = logging.getLogger(__name__)

# An announcement can be lost; what it told is found by looking, this often.
POLL_SECONDS = 0.25
FIRST_RECONNECT_SECONDS = 0.05
LONGEST_RECONNECT_SECONDS = 1.0


class WaitingRoom:
    """Wakes whoever waits for an execution when it moves."""

    def __init__(self, client: ExecutionClient) -> None:
        self._client = client
        self._waiting: dict[UUID, set[Waiter]] = defaultdict(set)
        self._seen: dict[UUID, int] = {}

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Listen and poll while the block runs."""
        tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._poll())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @contextmanager
    def expecting(self, execution_id: UUID) -> Iterator["Waiter"]:
        """Register before the start commits, so that no move is missed."""
        waiter = Waiter(self, execution_id)
        self.register(waiter)
        try:
            yield waiter
        finally:
            self.forget(waiter)

    def register(self, waiter: "Waiter") -> None:
        self._waiting[waiter.execution_id].add(waiter)

    def forget(self, waiter: "Waiter") -> None:
        waiters = self._waiting[waiter.execution_id]
        waiters.discard(waiter)
        if not waiters:
            del self._waiting[waiter.execution_id]
            self._seen.pop(waiter.execution_id, None)

    async def look(self, execution_id: UUID) -> Standing:
        return await run_in_threadpool(self._client.standing, execution_id)

    def _wake(self, execution_id: UUID) -> None:
        for waiter in self._waiting.get(execution_id, ()):
            waiter.moved.set()

    async def _listen(self) -> None:
        """One subscription, made again whenever it breaks; what was missed meanwhile is looked up at once."""
        pause = FIRST_RECONNECT_SECONDS
        while True:
            try:
                async for execution_id in _announcements():
                    pause = FIRST_RECONNECT_SECONDS
                    self._wake_all() if execution_id is None else self._wake(execution_id)
            except (RedisError, OSError) as error:
                log.warning("announcements are not heard, polling instead: %s", error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_RECONNECT_SECONDS)

    def _wake_all(self) -> None:
        for execution_id in self._waiting:
            self._wake(execution_id)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if self._waiting:
                await self._look()

    async def _look(self) -> None:
        """Wake those whose execution has moved since the last look."""
        try:
            positions = await run_in_threadpool(self._client.positions, list(self._waiting))
        except Exception as error:  # the database may be away; the next look may succeed
            log.warning("executions cannot be looked at: %s", error)
            return
        for execution_id, position in positions.items():
            if execution_id in self._waiting and self._seen.get(execution_id) != position:
                self._seen[execution_id] = position
                self._wake(execution_id)


class Waiter:
    """Whoever waits for one execution."""

    def __init__(self, room: WaitingRoom, execution_id: UUID) -> None:
        self._room = room
        self.execution_id = execution_id
        self.moved = asyncio.Event()

    def follow(self, execution_id: UUID) -> None:
        """Wait for another execution instead, which may have moved already."""
        if execution_id != self.execution_id:
            self._room.forget(self)
            self.execution_id = execution_id
            self._room.register(self)
            self.moved.set()

    async def until(self, holds: Callable[[Standing], bool], patience: timedelta) -> Standing:
        """How the execution stands once ``holds`` is true of it, or when ``patience`` is over."""
        deadline = asyncio.get_running_loop().time() + patience.total_seconds()
        while await self._moved_by(deadline):
            self.moved.clear()
            standing = await self._room.look(self.execution_id)
            if holds(standing):
                return standing
        return await self._room.look(self.execution_id)

    async def _moved_by(self, deadline: float) -> bool:
        try:
            async with asyncio.timeout_at(deadline):
                return await self.moved.wait()
        except TimeoutError:
            return False


async def _announcements() -> AsyncIterator[UUID | None]:
    """Ids of executions that moved; None once after subscribing, for what happened before."""
    redis = Redis.from_url(config.redis_url(), socket_connect_timeout=0.3, socket_keepalive=True)
    try:
        async with redis.pubsub(ignore_subscribe_messages=True) as subscription:
            await subscription.subscribe(ANNOUNCEMENTS)
            yield None
            while True:
                message = await subscription.get_message(timeout=1)
                if message is not None:
                    yield UUID(bytes=message["data"])
    finally:
        await redis.aclose()
