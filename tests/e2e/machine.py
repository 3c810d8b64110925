"""A data directory with settings of its own, and the `zea` commands that are run with them, `zea up` above all."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from zea.config import CONNECTION_FILE
from zea.stack.ports import LOOPBACK, free_port

ZEA = [sys.executable, "-c", "from zea.cli.app import main; main()"]
SERVER_SETTINGS = ("DATABASE_URL", "REDIS_URL")


class Machine:
    """One data directory, its settings, and the `zea` commands run with them."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory = directory
        self.api_port, self.flower_port = free_port(), free_port()
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in SERVER_SETTINGS},
            "ZEA_DATA_DIR": str(directory),
            "ZEA_API_PORT": str(self.api_port),
            "ZEA_FLOWER_PORT": str(self.flower_port),
            "COLUMNS": "200",
            **settings,
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*ZEA, "up", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*ZEA, *arguments],
            env={**self.environment, **settings},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def connection(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.directory / CONNECTION_FILE).read_text())
        return found

    def ready(self) -> bool:
        return self.answers(f"http://{LOOPBACK}:{self.api_port}/health/ready")

    def answers(self, url: str) -> bool:
        with suppress(OSError), urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
        return False

    def processes(self) -> list[psutil.Process]:
        """Whatever runs for this directory; a zombie does not run.

        Everything was told the directory in its environment. Valkey overwrites that, but works in the directory.
        """
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error):
            told = process.environ().get("ZEA_DATA_DIR") == str(self.directory)
            inside = Path(process.cwd()).is_relative_to(self.directory)
            return process.status() != psutil.STATUS_ZOMBIE and (told or inside)
        return False

    def child(self, words: str) -> psutil.Process | None:
        """The process of `zea up`, not of a pool, whose command line has ``words``."""
        return self._oldest(lambda process: words in " ".join(process.cmdline()))

    def server(self, name: str) -> psutil.Process | None:
        """The first process of the server ``name``, not one that it forked for a client."""
        return self._oldest(lambda process: process.name() == name)

    def _oldest(self, fits: Callable[[psutil.Process], bool]) -> psutil.Process | None:
        """Processes come and go while they are looked at: one that ended meanwhile does not count."""
        found: list[tuple[float, psutil.Process]] = []
        for process in self.processes():
            with suppress(psutil.Error):
                if fits(process):
                    found.append((process.create_time(), process))
        return min(found, key=lambda entry: entry[0])[1] if found else None


def started(machine: Machine, *arguments: str) -> subprocess.Popen[str]:
    """`zea up`, once it has said that it serves."""
    up = machine.start(*arguments)
    assert up.stdout is not None
    for line in up.stdout:
        if "Press Ctrl-C to stop" in line:
            return up
    raise AssertionError(f"zea up ended with {up.wait()}; logs: {logs(machine)}")


def logs(machine: Machine) -> dict[str, str]:
    return {log.name: log.read_text()[-2000:] for log in (machine.directory / "logs").glob("*.log")}


def end(up: subprocess.Popen[str], how: signal.Signals = signal.SIGTERM) -> int:
    if up.poll() is None:
        up.send_signal(how)
    code = up.wait(60)
    if up.stdout is not None:
        up.stdout.close()
    return code
