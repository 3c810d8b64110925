"""A release replaces the one before while bookings stream in: first the schema, then one process after the other."""

import os
import socket
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.e2e.conftest import API_IS_READY, BEAT_IS_READY, CELERY_IS_READY, api_at_a_free_port
from tests.e2e.journal import column
from tests.e2e.nodes import ProcessContainer, renamed
from tests.e2e.stream import STARTS_MANY, Stream
from tests.waiting import wait_until
from zea import config, db
from zea.broker import app
from zea.stack import processes, schema
from zea.stack.child import Program
from zea.stack.servers import EmbeddedServers

# The release before this one, by its commit. The first has no tag: it is the last commit before events were counted,
# whose newest migration is that of tests.migration_check.FIRST_RELEASE.
PREVIOUS = "a9620c7897da24c3800845582da344515154c3a3"
ROOT = Path(__file__).parents[2]
PARTS = ("celeryconfig.py", "migrations", "tasks", "workflows", "zea")
UPGRADE = "import zea; from zea.stack import schema; schema.upgrade(); print(zea.__file__)"
# What this release has and the one before has not: a task of the sweeper, and a page.
NEW_TASK, NEW_PAGE = "sweep.count", "/metrics"


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the release before this one."""
    folder = tmp_path_factory.mktemp("previous")
    archive = subprocess.run(["git", "-C", ROOT, "archive", PREVIOUS, *PARTS], capture_output=True, check=False)
    if archive.returncode:
        pytest.fail(
            f"The release before is commit {PREVIOUS}, which cannot be read here: {archive.stderr.decode().strip()}\n"
            "Run this in a clone with the whole history: `git fetch --unshallow` completes a shallow one."
        )
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


@pytest.fixture
def database(
    servers: EmbeddedServers, previous: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[str]:
    """A database that the release before has migrated; this process's settings and engine use it."""
    url = servers.create_database(f"rolling_{uuid4().hex}")
    settings = {"DATABASE_URL": url, "REDIS_URL": servers.redis_url, "ZEA_DATA_DIR": str(tmp_path / "zea")}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    config.settings.cache_clear()
    upgraded = subprocess.run(
        [sys.executable, "-c", UPGRADE],
        cwd=previous,
        env={**os.environ, "PYTHONPATH": str(previous)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert upgraded.stdout.strip() == str(previous / "zea" / "__init__.py")
    yield url
    db.close_connections()
    config.settings.cache_clear()


class Release:
    """The processes of one release: API, worker, sweeper and beat."""

    def __init__(self, name: str, environment: dict[str, str], tmp_path: Path, folder: Path) -> None:
        self._name, self._tmp_path, self._folder = name, tmp_path, folder
        self._environment = {**environment, "PYTHONPATH": str(folder)}
        self.nodes: list[ProcessContainer] = []
        (tmp_path / name).mkdir()

    def start(self) -> None:
        """One process after the other, each as soon as the one before is ready."""
        program, self.door = api_at_a_free_port(self._environment)
        self.api = self._start(program, API_IS_READY)
        self.worker = self._start(processes.worker(self._environment), CELERY_IS_READY)
        self.sweeper = self._start(processes.sweeper(self._environment), CELERY_IS_READY)
        schedule = self._tmp_path / self._name / "schedule"
        self.beat = self._start(processes.beat(schedule, self._environment), BEAT_IS_READY)

    def _start(self, program: Program, prompt: str) -> ProcessContainer:
        named = renamed(program, f"{program.name}-{self._name}")
        self.nodes.append(node := ProcessContainer(named, self._environment, self._tmp_path, prompt, self._folder))
        node.ready()
        return node

    def is_this_one(self) -> bool:
        """Whether its processes run the code of this release and not of the one before."""
        worker = f"{self.sweeper.name}@{socket.gethostname()}"
        told: dict[str, Any] = app.control.inspect([worker]).registered() or {}
        has_page = httpx.get(self.door + NEW_PAGE).status_code == 200
        has_task = NEW_TASK in told[worker]
        assert has_page == has_task
        return has_task


@pytest.fixture
def releases(previous: Path, environment: dict[str, str], tmp_path: Path) -> Iterator[tuple[Release, Release]]:
    """The one before, and this one."""
    made = Release("old", environment, tmp_path, previous), Release("new", environment, tmp_path, ROOT)
    yield made
    for node in (node for release in made for node in release.nodes):
        node.teardown()


def who_worked_for(door: str, stream: Stream) -> set[str]:
    """The workers that have done steps of executions which were begun at that door."""
    query = """
        SELECT DISTINCT split_part(actor, '@', 1) FROM workflow_events
        WHERE execution_id = ANY(:begun) AND type = 'step.completed'"""
    return set(column(query, begun=[each.execution_id for each in stream.answers if each.door == door]))


@pytest.mark.timeout(STARTS_MANY)
def test_a_release_is_replaced_by_the_next_while_bookings_stream_in(releases: tuple[Release, Release]) -> None:
    old, new = releases
    old.start()
    assert not old.is_this_one()
    with Stream(old.door) as stream:
        stream.wait_for()
        assert schema.upgrade() == schema.newest()
        stream.wait_for()
        new.start()
        assert new.is_this_one()
        stream.doors = (old.door, new.door)
        both = {"worker:worker-old", "worker:worker-new"}
        wait_until(
            lambda: who_worked_for(old.door, stream) == who_worked_for(new.door, stream) == both,
            30,
            "each release to work for the other",
        )
        for node in (old.worker, old.sweeper, old.beat):
            node.stop()
            stream.wait_for()
        stream.doors = (new.door,)
        old.api.stop()
        stopped_at = column("SELECT clock_timestamp()")
        wait_until(lambda: column("SELECT min(probed_at) FROM workflow_queues") > stopped_at, 30, "sweeps to go on")
        stream.wait_for()
    stream.assert_each_is_booked_once()
