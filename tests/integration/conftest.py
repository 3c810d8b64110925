"""The API in this process, behind a real server, and people to call it."""

import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from threading import Thread
from uuid import UUID

import httpx
import psycopg
import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import text

from tests.waiting import wait_until
from zea.accounts import service, tokens
from zea.accounts.models import Role
from zea.accounts.schemas import NewUser
from zea.api import limits
from zea.api.app import create_app
from zea.db import transaction

PASSWORD = "correct horse battery"
numbers = count(1)


@dataclass(frozen=True)
class Person:
    """Somebody with an account, and the headers of their calls."""

    user_id: UUID
    email: str
    headers: dict[str, str]


def wait_for_a_lock_to_be_wanted(database: str) -> None:
    """Until another transaction in this database stands still because of one of the test's own."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with psycopg.connect(database, autocommit=True) as connection:
        wait_until(lambda: connection.execute(waiting).fetchone() == (1,), what="the second one waits")


class ThreadedServer(uvicorn.Server):
    """A server in a thread, for as long as a block runs."""

    @contextmanager
    def running(self, listening: socket.socket) -> Iterator[None]:
        thread = Thread(target=self.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            wait_until(lambda: self.started or not thread.is_alive(), what="the server has started")
            assert self.started, "the server did not start"
            yield
        finally:
            self.should_exit = True
            thread.join(10)


@contextmanager
def served(app: FastAPI) -> Iterator[httpx.Client]:
    """A client of the application over HTTP, so that what is answered, and when, is what people see."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = ThreadedServer(uvicorn.Config(app, log_config=None, lifespan="on", timeout_graceful_shutdown=5))
        with server.running(listening), httpx.Client(base_url=address, timeout=30) as client:
            yield client


@pytest.fixture
def no_failures_counted(database: str) -> None:
    """Every test comes from the same address: those before must not slow this one."""
    counters = list(limits.broker().scan_iter(limits.COUNTER_PREFIX + "*"))
    if counters:
        limits.broker().delete(*counters)


@pytest.fixture
def sweeps_run(database: str) -> None:
    """What `GET /health/workflows` needs to call this database's executions healthy; there is no beat."""
    with transaction() as db:
        later = "now() + interval '1 hour'"
        db.execute(text(f"INSERT INTO workflow_queues (queue, probed_at, passed_at) VALUES ('test', {later}, {later})"))


@pytest.fixture
def app(database: str) -> FastAPI:
    return create_app()


@pytest.fixture
def api(app: FastAPI, no_failures_counted: None) -> Iterator[httpx.Client]:
    with served(app) as client:
        yield client


@pytest.fixture
def make_person(database: str) -> Callable[[Role], Person]:
    def make(role: Role) -> Person:
        email = f"{role.value}-{next(numbers)}@example.com"
        user = NewUser(email=email, password=PASSWORD, name=f"{role.value.capitalize()} Pérez", role=role)
        with transaction() as db:
            user_id = service.create_user(db, user)
        return Person(user_id, email, {"Authorization": f"Bearer {tokens.access_token(user_id, role)}"})

    return make


@pytest.fixture
def athlete(make_person: Callable[[Role], Person]) -> Person:
    """An athlete who may book; without credits."""
    return make_person(Role.ATHLETE)


@pytest.fixture
def coach(make_person: Callable[[Role], Person]) -> Person:
    return make_person(Role.COACH)


@pytest.fixture
def admin(make_person: Callable[[Role], Person]) -> Person:
    return make_person(Role.ADMIN)
