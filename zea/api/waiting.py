"""Waiting for executions without holding a thread or a connection: one subscription and one poll per API process."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool

from workflows.engine.client import ExecutionClient
from workflows.engine.dispatch import ANNOUNCEMENTS
from workflows.engine.models import ExecutionStatus
from workflows.engine.status import Standing, of_announcement
from zea import config
from zea.api.errors import UNAVAILABLE

log = logging.getLogger(__name__)

# An announcement can be lost; what it told is found by looking, this often.
POLL_SECONDS = 0.25
FIRST_RECONNECT_SECONDS = 0.05
LONGEST_RECONNECT_SECONDS = 1.0


class WaitingRoom:
    """Tells whoever waits for an execution where it stands, whenever that has changed."""

    def __init__(self, client: ExecutionClient) -> None:
        self._client = client
        self._waiting: dict[UUID, set[Waiter]] = defaultdict(set)
        self._look_now = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Listen and poll while the block runs."""
        self._run(self._listen())
        self._run(self._poll())
        try:
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        # Kept here: the event loop itself only knows tasks weakly.
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def see_to(self, call: Callable[[], object]) -> None:
        """Have ``call`` made in a thread once the database, which is away now, is back."""
        self._run(_until_it_succeeds(call))

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

    def look_now(self) -> None:
        """Do not wait for the next announcement or poll."""
        self._look_now.set()

    async def look(self, execution_ids: Sequence[UUID]) -> list[Standing]:
        return await run_in_threadpool(self._client.standings, execution_ids)

    def _tell(self, standing: Standing) -> None:
        for waiter in self._waiting.get(standing.execution_id, ()):
            waiter.tell(standing)

    async def _listen(self) -> None:
        """One subscription, made again whenever it breaks; what was missed meanwhile is looked up at once."""
        pause = FIRST_RECONNECT_SECONDS
        while True:
            try:
                async with _subscription() as subscription:
                    pause = FIRST_RECONNECT_SECONDS
                    self.look_now()
                    await self._hear(subscription)
            except (RedisError, OSError) as error:
                log.warning("announcements are not heard, polling instead: %s", error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_RECONNECT_SECONDS)

    async def _hear(self, subscription: PubSub) -> None:
        while True:
            message = await subscription.get_message(timeout=1)
            if message is not None:
                self._pass_on(message["data"])

    def _pass_on(self, announcement: bytes) -> None:
        """One that cannot be read, such as another release's, is found out by polling."""
        try:
            self._tell(of_announcement(announcement))
        except ValueError:
            log.warning("an announcement cannot be read")

    async def _poll(self) -> None:
        """Look every quarter of a second, or as soon as somebody asks for it, after all who wait in one query."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look_now.wait(), POLL_SECONDS)
            self._look_now.clear()
            if self._waiting:
                await self._look_for_all()

    async def _look_for_all(self) -> None:
        try:
            standings = await self.look(list(self._waiting))
        except Exception as error:  # the database may be away; the next look may succeed
            log.warning("executions cannot be looked at: %s", error)
            return
        for standing in standings:
            self._tell(standing)


class Waiter:
    """Whoever waits for one execution."""

    def __init__(self, room: WaitingRoom, execution_id: UUID) -> None:
        self._room = room
        self.execution_id = execution_id
        self._told: asyncio.Queue[Standing] = asyncio.Queue()
        self._seen: Standing | None = None

    def tell(self, standing: Standing) -> None:
        self._told.put_nowait(standing)

    def follow(self, execution_id: UUID) -> None:
        """Wait for another execution instead, which may have moved already."""
        if execution_id != self.execution_id:
            self._room.forget(self)
            self.execution_id = execution_id
            self._room.register(self)
            self._room.look_now()

    async def changed(self, patience: timedelta) -> None:
        """Return once the execution is told to stand otherwise than it did, or when ``patience`` is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience.total_seconds()):
                while (standing := await self._told.get()) == self._seen:
                    pass
                self._seen = standing

    async def until(self, holds: Callable[[Standing], bool], patience: timedelta) -> Standing:
        """Where the execution stands once ``holds`` is true of it, or when ``patience`` is over.

        Its start is committed: without a database to look into it is known to be accepted, and no more.
        """
        standing = Standing(self.execution_id, ExecutionStatus.RUNNING, {}, None)
        with suppress(TimeoutError):
            async with asyncio.timeout(patience.total_seconds()):
                while True:
                    standing = await self._told.get()
                    if holds(standing):
                        return standing
        try:
            return (await self._room.look([self.execution_id]))[0]
        except UNAVAILABLE as error:
            log.warning("execution %s cannot be looked at: %s", self.execution_id, error)
            return standing


async def _until_it_succeeds(call: Callable[[], object]) -> None:
    while True:
        await asyncio.sleep(LONGEST_RECONNECT_SECONDS)
        try:
            await run_in_threadpool(call)
        except UNAVAILABLE as error:
            log.warning("tried again later: %s", error)
        else:
            return


@asynccontextmanager
async def _subscription() -> AsyncIterator[PubSub]:
    redis = Redis.from_url(config.redis_url(), socket_connect_timeout=0.3, socket_keepalive=True)
    try:
        async with redis.pubsub(ignore_subscribe_messages=True) as subscription:
            await subscription.subscribe(ANNOUNCEMENTS)
            yield subscription
    finally:
        await redis.aclose()
