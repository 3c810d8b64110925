"""What can go wrong with what runs, done from outside; and the gates that hold a step at an exact place."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import psutil
import psycopg
import redis

from tests.e2e.nodes import ProcessContainer, ServerContainer
from zea.stack.servers import EmbeddedServers


@dataclass(frozen=True)
class Machine:
    """What can go wrong, done to what runs."""

    worker: ProcessContainer
    servers: EmbeddedServers

    def kill_worker(self) -> None:
        """kill -9 of the worker with all its children; then, as its supervisor would, start it again."""
        self.worker.kill()
        self.worker.start()

    def kill_children(self) -> None:
        """kill -9 of the processes that run steps; the worker itself lives, and replaces them."""
        for child in psutil.Process(self.worker.process.pid).children():
            child.kill()

    def flush_broker(self) -> None:
        """All that was sent is gone; the worker stands still meanwhile, so that it cannot take some of it before."""
        with self.frozen_worker(), redis.Redis.from_url(self.servers.redis_url) as broker:
            ServerContainer(self.servers).signal("SIGCONT")
            broker.flushall()

    @contextmanager
    def frozen_worker(self) -> Iterator[None]:
        self.worker.signal("SIGSTOP")
        try:
            yield
        finally:
            self.worker.signal("SIGCONT")

    @contextmanager
    def frozen_broker(self) -> Iterator[None]:
        broker = ServerContainer(self.servers)
        broker.signal("SIGSTOP")
        try:
            yield
        finally:
            broker.signal("SIGCONT")


@contextmanager
def gates_held(database: str, trips: dict[str, UUID]) -> Iterator[Callable[[], None]]:
    """Each execution stands still at its point, until the block ends or what it yields is called."""
    with psycopg.connect(database) as holder:
        gates = [(execution_id, point) for point, execution_id in trips.items()]
        holder.cursor().executemany("INSERT INTO gates VALUES (%s, %s)", gates)
        holder.commit()
        holder.execute("SELECT FROM gates FOR UPDATE")
        yield holder.commit
