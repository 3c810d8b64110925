"""The whole system as processes: API, worker, sweeper and beat, started by the product's own commands."""

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import redis
from celery import Celery
from pytest_celery import (
    CeleryBrokerCluster,
    CeleryTestBroker,
    CeleryTestWorker,
    CeleryWorkerCluster,
)
from sqlalchemy import text

from tests.benchmarks.seeding import Customer, customer
from tests.e2e.faults import Machine
from tests.e2e.nodes import ProcessContainer, ServerContainer, StartNode, with_test_workflows
from tests.e2e.trip import TABLES
from zea.db import transaction
from zea.stack import processes
from zea.stack.child import Program
from zea.stack.servers import EmbeddedServers

CELERY_IS_READY = " ready."
# Said once its port is open; that the application has started is said before.
API_IS_READY = "Uvicorn running on"
BEAT_IS_READY = "beat: Starting"


@pytest.fixture
def environment(database: str, servers: EmbeddedServers, tmp_path: Path) -> dict[str, str]:
    """What every process is told; beat's interval is short so that nothing waits long for a sweep."""
    broker = redis.Redis.from_url(servers.redis_url)
    broker.flushdb()
    broker.close()
    return {
        **os.environ,
        "DATABASE_URL": database,
        "REDIS_URL": servers.redis_url,
        "ZEA_DATA_DIR": str(tmp_path / "zea"),
        "ZEA_SWEEP_INTERVAL": "1",
        "PYTHONUNBUFFERED": "1",
    }


@pytest.fixture
def start_node(environment: dict[str, str], tmp_path: Path) -> Iterator[StartNode]:
    """Start a program of the product; it ends with the test."""
    started: list[ProcessContainer] = []

    def start(program: Program, prompt: str) -> ProcessContainer:
        started.append(ProcessContainer(program, environment, tmp_path, prompt))
        return started[-1]

    yield start
    for node in reversed(started):
        node.teardown()


@pytest.fixture
def celery_broker_cluster(servers: EmbeddedServers) -> CeleryBrokerCluster:
    return CeleryBrokerCluster(CeleryTestBroker(ServerContainer(servers)))


@pytest.fixture
def celery_backend_cluster() -> None:
    """There is no result backend: progress is kept in PostgreSQL alone."""


@pytest.fixture
def celery_worker_cluster(
    start_node: StartNode, environment: dict[str, str], celery_setup_app: Celery
) -> CeleryWorkerCluster:
    """The worker of the steps and the sweeper."""
    nodes = [start_node(program(environment), CELERY_IS_READY) for program in (processes.worker, processes.sweeper)]
    cluster = CeleryWorkerCluster(*(CeleryTestWorker(node, celery_setup_app) for node in nodes))
    assert cluster.ready()
    return cluster


@pytest.fixture
def celery_setup_app() -> Celery:
    from zea.broker import app

    return app


@pytest.fixture
def worker(celery_worker_cluster: CeleryWorkerCluster) -> ProcessContainer:
    node: ProcessContainer = celery_worker_cluster[0].container
    return node


@pytest.fixture
def beat(start_node: StartNode, environment: dict[str, str], tmp_path: Path) -> ProcessContainer:
    (tmp_path / "beat").mkdir()
    node = start_node(processes.beat(tmp_path / "beat" / "schedule", environment), BEAT_IS_READY)
    node.ready()
    return node


def api_at_a_free_port(environment: Mapping[str, str]) -> tuple[Program, str]:
    """An API, and its address once it has started."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    return processes.api("127.0.0.1", port, environment), f"http://127.0.0.1:{port}"


@pytest.fixture
def api(start_node: StartNode, environment: dict[str, str]) -> str:
    """The API's address."""
    program, address = api_at_a_free_port(environment)
    start_node(program, API_IS_READY).ready()
    return address


@dataclass(frozen=True)
class Desk:
    """Asks for bookings over HTTP and looks into the tables for what came of them."""

    base_url: str

    def book(self, who: Customer, request: dict[str, str], **headers: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {who.token}", **headers}
        return httpx.post(f"{self.base_url}/api/bookings", json=request, headers=headers, timeout=60)

    def scalar(self, query: str, **values: Any) -> Any:
        with transaction() as db:
            return db.execute(text(query), values).scalar()

    def column(self, query: str, **values: Any) -> list[Any]:
        with transaction() as db:
            return list(db.execute(text(query), values).scalars())

    def status(self, execution_id: UUID | str) -> str:
        return str(self.scalar("SELECT status FROM workflow_executions WHERE id = :id", id=execution_id))

    def somebody_waits_for_a_lock(self) -> bool:
        return bool(self.scalar("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    def assert_books_balance(self) -> None:
        """Every balance is its ledger's sum, every live booking has one debit and one booked slot, and no more."""
        assert (
            self.scalar("""
            SELECT count(*) FROM credit_accounts a
            WHERE balance <> (SELECT coalesce(sum(amount), 0) FROM credit_ledger WHERE athlete_id = a.athlete_id)
        """)
            == 0
        )
        bookings = self.scalar("SELECT count(*) FROM bookings WHERE status = 'CONFIRMED'")
        assert bookings == self.scalar("SELECT count(*) FROM bookings")
        assert bookings == self.scalar("SELECT count(*) FROM credit_ledger WHERE kind = 'debit'")
        assert bookings == self.scalar("SELECT count(*) FROM slots WHERE status = 'booked'")


@pytest.fixture
def desk(api: str) -> Desk:
    return Desk(api)


@pytest.fixture
def make_customer(database: str) -> Callable[[int], Customer]:
    return customer


@pytest.fixture
def concurrency() -> int:
    """How many processes ``trip_worker`` has."""
    return 2


@pytest.fixture
def trip_worker(start_node: StartNode, environment: dict[str, str], concurrency: int) -> ProcessContainer:
    """The worker, with the workflows of ``tests.e2e.trip`` and the tables that they use."""
    with transaction() as db:
        db.execute(text(TABLES))
    node = start_node(with_test_workflows(processes.worker(environment), concurrency), CELERY_IS_READY)
    node.ready()
    return node


@pytest.fixture
def trip_sweeper(start_node: StartNode, environment: dict[str, str], beat: ProcessContainer) -> ProcessContainer:
    """What looks after those workflows: the sweeper, and beat."""
    node = start_node(with_test_workflows(processes.sweeper(environment)), CELERY_IS_READY)
    node.ready()
    return node


@pytest.fixture
def machine(trip_worker: ProcessContainer, servers: EmbeddedServers) -> Machine:
    return Machine(trip_worker, servers)
