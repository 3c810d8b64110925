"""pytest-celery's nodes as processes of this machine instead of containers: no Docker, and a real kill -9."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytest_celery import CeleryTestContainer

from tests.waiting import wait_until
from zea.stack.child import Program
from zea.stack.servers import EmbeddedServers

READY_WITHIN = 30.0
STOPS_WITHIN = 30.0


class ProcessContainer(CeleryTestContainer):  # type: ignore[misc]  # pytest-celery has no types
    """One of the product's own programs, in a process group of its own, with the container's manners."""

    def __init__(
        self, program: Program, environment: Mapping[str, str], logs: Path, prompt: str, folder: Path | None = None
    ) -> None:
        self._program = program
        self._environment = {**(program.environment or {}), **environment}
        self._folder = folder
        self._log = logs / f"{program.name}.log"
        self._prompt = prompt
        self.start()

    def start(self) -> None:
        self._log_begins = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._program.command(),
                cwd=self._folder,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def id(self) -> str:
        return str(self.process.pid)

    @property
    def name(self) -> str:
        return self._program.name

    @property
    def status(self) -> str:
        return "running" if self.process.poll() is None else "exited"

    @property
    def ready_prompt(self) -> str:
        return self._prompt

    @property
    def celeryconfig(self) -> dict[str, Any]:
        return {}

    def logs(self) -> str:
        """What it has written since its last start."""
        with self._log.open("rb") as log:
            log.seek(self._log_begins)
            return log.read().decode(errors="replace")

    def reload(self) -> None: ...

    def kill(self, signal: str | int = "SIGKILL") -> None:
        """Signal the whole group; a kill -9 leaves none of a worker's children either."""
        self.signal(signal)
        if _number(signal) in (_number("SIGKILL"), _number("SIGTERM")):
            self.process.wait(READY_WITHIN)

    def signal(self, sent: str | int) -> None:
        os.killpg(self.process.pid, _number(sent))

    def stop(self) -> float:
        """Tell it to stop, as a supervisor does, and wait until it has; the seconds that it took."""
        begun = time.monotonic()
        os.kill(self.process.pid, signal.SIGTERM)
        self.process.wait(STOPS_WITHIN)
        return time.monotonic() - begun

    def restart(self, timeout: float = READY_WITHIN) -> None:
        self.start()
        self.ready()

    def ready(self) -> bool:
        def is_ready() -> bool:
            assert self.status == "running", f"{self.name} ended:\n{self.logs()}"
            return self._prompt in self.logs()

        wait_until(is_ready, READY_WITHIN, f"{self.name} to be ready")
        return True

    def teardown(self) -> None:
        if self.status == "running":
            self.signal("SIGCONT")
            self.kill()


def _number(sent: str | int) -> int:
    return signal.Signals[sent] if isinstance(sent, str) else sent


class ServerContainer(CeleryTestContainer):  # type: ignore[misc]  # pytest-celery has no types
    """The embedded broker, which lives longer than a test."""

    def __init__(self, servers: EmbeddedServers) -> None:
        self._servers = servers

    @property
    def id(self) -> str:
        return "valkey"

    @property
    def name(self) -> str:
        return "valkey"

    @property
    def status(self) -> str:
        return "running"

    @property
    def celeryconfig(self) -> dict[str, Any]:
        return {"url": self._servers.redis_url, "host_url": self._servers.redis_url}

    def ready(self) -> bool:
        return True

    def signal(self, sent: str) -> None:
        pid = self._servers.valkey.pid
        assert pid is not None
        os.kill(pid, _number(sent))

    def teardown(self) -> None: ...


# What a worker says of each message that it took, and of those that nobody needed.
TAKEN = re.compile(r"workflows\.engine\.runner: (?:left alone: |\S+ )(\w+)")
LEFT_ALONE = "workflows.engine.runner: left alone: "

StartNode = Callable[[Program, str], ProcessContainer]


def renamed(program: Program, name: str) -> Program:
    """The same program under another name, so that it can run twice; a worker is called so too."""
    command = [word.replace(f"{program.name}@%h", f"{name}@%h") for word in program.command()]
    return Program(name, lambda: command, program.environment)


def with_test_workflows(program: Program, concurrency: int = 2, name: str | None = None) -> Program:
    """A worker of the product that runs the workflows of the tests as well, in so many processes."""
    replaced = {"tasks": "tests.e2e.loaded", f"{program.name}@%h": f"{name or program.name}@%h"}
    command = [replaced.get(word, word) for word in program.command()]
    command[command.index("-c") + 1] = str(concurrency)
    return Program(name or program.name, lambda: command, program.environment)
