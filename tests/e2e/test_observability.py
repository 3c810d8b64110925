"""What people and Prometheus see of the system from outside: whoever is gone is named, and every process counts."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import migrated_template
from tests.e2e.conftest import API_IS_READY, BEAT_IS_READY, CELERY_IS_READY
from tests.e2e.nodes import ProcessContainer, StartNode
from tests.waiting import wait_until
from zea.stack import processes
from zea.stack.child import Program
from zea.stack.ports import LOOPBACK, free_port
from zea.stack.servers import EmbeddedServers

INTERVAL = 2.0  # seconds between sweeps
NAMED_WITHIN = 2 * INTERVAL
SCRAPE = 0.2


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    """Servers for these tests alone: no other should suffer what is done to them."""
    with EmbeddedServers(tmp_path_factory.mktemp("observed")) as running:
        yield running


@pytest.fixture(scope="module")
def template(servers: EmbeddedServers) -> str:
    return migrated_template(servers)


@pytest.fixture(autouse=True)
def both_are_back(servers: EmbeddedServers, database: str) -> Iterator[None]:
    """Wherever a test failed, the next one finds both servers."""
    yield
    servers.valkey.start()
    servers.postgres.start()


class Observer(NamedTuple):
    """Sees the system as Prometheus and whoever is on call do."""

    environment: dict[str, str]
    address: str

    def metric(self, name: str, **labels: str) -> float:
        """Its value; NaN, which nothing compares with, if it is not told."""
        for family in text_string_to_metric_families(httpx.get(f"{self.address}/metrics", timeout=10).text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return float(sample.value)
        return float("nan")

    def is_late(self, name: str, **labels: str) -> bool:
        return self.metric(name, **labels) > self.metric("zea_late_after_seconds")

    def named_by_doctor(self) -> dict[str, str]:
        """What is not well, and how bad that is."""
        command = [sys.executable, "-m", "zea", "doctor", "--json"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=60)
        findings = json.loads(done.stdout)["items"]
        assert done.returncode == int(any(each["level"] == "fail" for each in findings)), done.stderr
        return {each["name"]: each["level"] for each in findings if each["level"] != "ok"}

    def ready(self) -> int:
        return httpx.get(f"{self.address}/health/ready", timeout=10).status_code


@pytest.fixture
def everything(
    start_node: StartNode, environment: dict[str, str], tmp_path: Path
) -> tuple[Observer, dict[str, ProcessContainer]]:
    """The whole system, each process by its name, and nobody who starts again what ends."""
    api_port, flower_port = free_port(), free_port()
    environment |= {
        "ZEA_SWEEP_INTERVAL": str(INTERVAL),
        "ZEA_API_PORT": str(api_port),
        "ZEA_FLOWER_PORT": str(flower_port),
        "ZEA_DATA_DIR": str(tmp_path),
    }
    (tmp_path / "beat").mkdir()
    nodes = {
        "api": start_node(processes.api(LOOPBACK, api_port, environment), API_IS_READY),
        "worker": start_node(processes.worker(environment), CELERY_IS_READY),
        "sweeper": start_node(processes.sweeper(environment), CELERY_IS_READY),
        "reporter": start_node(processes.reporter(environment), CELERY_IS_READY),
        "beat": start_node(processes.beat(tmp_path / "beat" / "schedule", environment), BEAT_IS_READY),
        "flower": start_node(processes.flower(flower_port, "zea:flower-password", environment), "Connected to"),
    }
    for node in nodes.values():
        node.ready()
    return Observer(environment, f"http://{LOOPBACK}:{api_port}"), nodes


def named_in_time(sees: Callable[[], bool], what: str) -> None:
    began = time.monotonic()
    wait_until(sees, 3 * NAMED_WITHIN, f"the metrics to say that {what} is gone")
    assert time.monotonic() - began < NAMED_WITHIN + SCRAPE, what


def test_whoever_is_gone_is_named_within_two_sweep_intervals(
    everything: tuple[Observer, dict[str, ProcessContainer]], servers: EmbeddedServers
) -> None:
    observer, nodes = everything
    # Sweeps run, and probes come out of every queue.
    wait_until(
        lambda: all(observer.metric("zea_queue_age_seconds", worker=each) == 0 for each in ("worker", "reporter"))
    )
    wait_until(lambda: observer.metric("zea_flower_up") == 1)
    assert {name for name, level in observer.named_by_doctor().items() if level == "fail"} == set()

    for name in ("worker", "reporter", "flower"):
        nodes[name].kill()
    named_in_time(lambda: observer.metric("zea_flower_up") == 0, "Flower")
    named_in_time(lambda: observer.is_late("zea_queue_age_seconds", worker="worker"), "the worker")
    wait_until(lambda: observer.is_late("zea_queue_age_seconds", worker="reporter"), SCRAPE + INTERVAL)
    found = observer.named_by_doctor()
    assert [found.get(name) for name in ("worker", "reporter", "flower")] == ["fail", "fail", "warn"]

    nodes["sweeper"].kill()
    named_in_time(lambda: observer.is_late("zea_sweep_lag_seconds"), "the sweeper")
    assert observer.metric("zea_queue_messages", queue="sweeps") > 0
    assert observer.named_by_doctor()["sweeper"] == "fail"

    nodes["sweeper"].restart()
    wait_until(lambda: observer.metric("zea_sweep_lag_seconds") < INTERVAL)
    nodes["beat"].kill()
    named_in_time(lambda: observer.is_late("zea_sweep_lag_seconds"), "beat")
    assert observer.metric("zea_queue_messages", queue="sweeps") == 0
    found = observer.named_by_doctor()
    assert (found["beat"], found.get("sweeper")) == ("fail", None)

    assert observer.ready() == 200
    servers.valkey.kill()
    named_in_time(lambda: observer.metric("zea_broker_up") == 0, "the broker")
    assert observer.ready() == 503
    assert observer.named_by_doctor()["broker"] == "fail"
    servers.postgres.kill()
    named_in_time(lambda: observer.metric("zea_database_up") == 0, "the database")
    assert observer.named_by_doctor()["database"] == "fail"

    nodes["api"].kill()
    with pytest.raises(httpx.ConnectError):
        observer.ready()
    assert observer.named_by_doctor()["api"] == "warn"


def test_every_process_of_a_server_is_counted(
    start_node: StartNode, environment: dict[str, str], tmp_path: Path
) -> None:
    port = free_port()
    one = processes.api(LOOPBACK, port, environment).command()
    several = [*one[: one.index("--workers")], "--workers", "3", *one[one.index("--workers") + 2 :]]
    start_node(Program("api", lambda: several, environment), "Application startup complete").ready()
    observer = Observer(environment, f"http://{LOOPBACK}:{port}")
    wait_until(lambda: _answers(observer), 30, "the first process to answer")
    asked = 60
    for _ in range(asked):
        assert httpx.get(f"{observer.address}/api/me").status_code == 401
    # Each scrape is answered by another process, perhaps.
    counts = [observer.metric("zea_http_requests_total", route="/api/me", status="401") for _ in range(12)]
    assert counts == [asked] * 12
    assert observer.metric("zea_http_request_duration_seconds_count", route="/api/me") == asked


def _answers(observer: Observer) -> bool:
    try:
        return observer.ready() == 200
    except httpx.TransportError:
        return False
