"""Dockerfile and docker-compose.yml carried out without an engine: each container is a process of this machine.

What a process gets is what the files say: the command, the environment, the order and its conditions, health checks and
how long a stop may take. Not carried out is what only an engine can do: namespaces, a file system that is read-only,
users.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.waiting import wait_until
from zea.stack.child import kill_group

ROOT = Path(__file__).parents[2]
COMPOSE = Path(sys.executable).with_name("docker-compose")
STARTED_WITHIN = 90.0

Service = dict[str, Any]


def compose(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What docker-compose itself says; it reads the file and asks no engine."""
    command = [str(COMPOSE), "--project-directory", str(ROOT), "--env-file", os.devnull, *arguments]
    return subprocess.run(
        command, env={"HOME": "/", **environment}, capture_output=True, text=True, check=False, cwd=ROOT
    )


def services(*profiles: str, **environment: str) -> dict[str, Service]:
    """The services with everything filled in."""
    chosen = [word for profile in profiles for word in ("--profile", profile)]
    read = compose(*chosen, "config", "--format", "json", **environment)
    assert read.returncode == 0, read.stderr
    found: dict[str, Service] = json.loads(read.stdout)["services"]
    return found


class Dockerfile:
    """Its instructions, in stages."""

    def __init__(self, text: str) -> None:
        joined = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
        instructions = [(line.partition(" ")[0], line.partition(" ")[2]) for line in joined.splitlines() if line]
        begins = [number for number, (word, _) in enumerate(instructions) if word == "FROM"]
        ends = [*begins[1:], len(instructions)]
        self.stages = [instructions[begin:end] for begin, end in zip(begins, ends, strict=True)]

    @property
    def command(self) -> list[str]:
        """What a container runs that is told nothing else."""
        found: list[str] = json.loads(self._last("CMD"))
        return found

    @property
    def environment(self) -> dict[str, str]:
        """What every container is told."""
        return dict(word.split("=", 1) for word in shlex.split(self._last("ENV")))

    def _last(self, word: str) -> str:
        return [rest for found, rest in self.stages[-1] if found == word][-1]


@dataclass(frozen=True)
class Image:
    """What the Dockerfile makes, in a folder."""

    root: Path
    dockerfile: Dockerfile

    @classmethod
    def build(cls, folder: Path) -> "Image":
        """Carry out the first stage; the other one copies /opt/zea of it, and nothing else."""
        image = cls(folder, Dockerfile((ROOT / "Dockerfile").read_text()))
        for word, rest in image.dockerfile.stages[0]:
            if word == "COPY":
                image._copy(*rest.split())
            elif word == "RUN":
                image._run(rest)
        for left_behind in ("build", "source", "wheels"):
            shutil.rmtree(folder / left_behind)
        return image

    @property
    def programs(self) -> Path:
        return self.root / "opt" / "zea" / "bin"

    @property
    def command(self) -> list[str]:
        return self.dockerfile.command

    def inside(self, text: str) -> str:
        """The same with this image's folders; folders that are not the image's are left alone."""
        return re.sub(r"(?<![\w./])/(build|wheels|opt/zea|source|data)\b", rf"{self.root}/\1", text)

    def _copy(self, *words: str) -> None:
        *sources, target = words
        place = self.root / "source" / target
        for source in sources:
            assert not_ignored(source), f"{source} does not get to the engine: see .dockerignore"
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / source, place)

    def _run(self, command: str) -> None:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["/bin/sh", "-c", self.inside(command)],
            cwd=self.root / "source",
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def not_ignored(source: str) -> bool:
    return f"!{source}" in (ROOT / ".dockerignore").read_text().splitlines()


def seconds(duration: str) -> float:
    """Of a duration as Compose writes it: 1m30s."""
    parts = re.findall(r"(\d+)([hms])", duration)
    return float(sum(int(number) * {"h": 3600, "m": 60, "s": 1}[unit] for number, unit in parts))


@dataclass
class Container:
    """One service's process."""

    name: str
    command: list[str]
    environment: dict[str, str]
    folder: Path
    healthcheck: list[str]
    stop_within: float
    process: subprocess.Popen[bytes] = field(init=False, repr=False)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> Path:
        return self.folder / "output.log"

    def runs(self) -> bool:
        return self.process.poll() is None

    def healthy(self) -> bool:
        """What its health check says."""
        checked = subprocess.run(
            self.healthcheck, env=self.environment, cwd=self.folder, capture_output=True, check=False, timeout=60
        )
        return checked.returncode == 0

    def stop(self) -> None:
        """As an engine does it: one signal to its first process, and a kill when the time is over."""
        if self.runs():
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(self.stop_within)
        finally:
            self.kill()

    def kill(self) -> None:
        kill_group(self.process.pid)
        self.process.wait(10)


@dataclass
class Composition:
    """The services of docker-compose.yml as processes; at the end of a block they are stopped.

    ``ports`` has, by the port that a service listens on in the file, the one that it has here. A service that is
    ``elsewhere`` runs already.
    """

    described: Mapping[str, Service]
    image: Image
    folder: Path
    ports: Mapping[str, int]
    elsewhere: frozenset[str]
    containers: dict[str, list[Container]] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def up(self) -> None:
        """Start every service, each once what it depends on is as it wants it."""
        for service in self.described:
            if service not in self.containers:
                self._start(service)

    def _start(self, service: str) -> None:
        for other, wanted in (self.described[service].get("depends_on") or {}).items():
            if other not in self.containers:
                self._start(other)
            self._await(other, wanted["condition"])
        replicas = self.described[service].get("deploy", {}).get("replicas", 1)
        self.containers[service] = [self._container(service, number) for number in range(1, replicas + 1)]
        if service not in self.elsewhere:
            for container in self.containers[service]:
                container.start()
                self._stack.callback(container.stop)

    def _await(self, service: str, condition: str) -> None:
        for container in self.containers[service]:
            if condition == "service_completed_successfully":
                assert container.process.wait(STARTED_WITHIN) == 0, container.log.read_text()
            else:
                assert condition == "service_healthy", condition
                wait_until(container.healthy, STARTED_WITHIN, f"{container.name} to be healthy")

    def _container(self, service: str, number: int) -> Container:
        described, name = self.described[service], f"{service}-{number}"
        folder = self.folder / name
        folder.mkdir()
        told = {**self.image.dockerfile.environment, **(described.get("environment") or {})}
        own = {"PATH": f"{self.image.programs}:{os.environ['PATH']}", "HOSTNAME": name, "HOME": "/nonexistent"}
        kind, *check = described.get("healthcheck", {}).get("test", ["NONE"])
        shell = ["/bin/sh", "-c"] if kind == "CMD-SHELL" else []
        return Container(
            name,
            # A container is a host, and nodes are named after it.
            [self.here(word).replace("@%h", f"@{name}") for word in described.get("command") or self.image.command],
            {**{key: self.here(str(value)) for key, value in told.items() if value is not None}, **own},
            folder,
            [*shell, *(self.here(word).replace("$$", "$") for word in check)],
            seconds(described.get("stop_grace_period", "10s")),
        )

    def here(self, text: str) -> str:
        """The same on this machine: its hosts, ports and folders."""
        services = "|".join(self.described)
        text = re.sub(rf"\b(?:{services}):(?=\d)", "127.0.0.1:", text)
        text = re.sub(r"\b\d{4}\b", lambda port: str(self.ports.get(port[0], port[0])), text)
        return self.image.inside(text)
