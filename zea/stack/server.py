"""What the embedded servers have in common: prepared, started, ready, stopped, killed, restarted."""

from abc import ABC, abstractmethod
from pathlib import Path

from zea.errors import Unreachable
from zea.stack import child
from zea.stack.child import Child, Program

READY_WITHIN = 60.0  # seconds; replaying the log after a crash takes its time


class Server(ABC):
    """One server process on 127.0.0.1, its data in ``directory``."""

    def __init__(self, directory: Path, log: Path) -> None:
        self.directory = directory
        self.log = log
        self._child: Child | None = None

    @property
    @abstractmethod
    def program(self) -> Program:
        """How it is run; asking for the command prepares the directory."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Its address with user and password, for its own client."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether it answers its own client."""

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        running = self._child is not None and self._child.poll() is None
        return self._child.pid if self._child is not None and running else None

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            Unreachable: it did not; the message names the log.
        """
        if self.pid is not None:
            return
        self._child = child.spawn(self.program, self.log)
        if not child.wait_until(self._answers_or_ended, READY_WITHIN) or self.pid is None:
            self.kill()
            raise Unreachable(f"{self.program.name} did not start: see {self.log}.")

    def _answers_or_ended(self) -> bool:
        return self.pid is None or self.ready()

    def stop(self) -> None:
        """Stop it in good order; nothing happens if it does not run."""
        if self._child is not None:
            child.end(self._child, self.program)
            self._child = None

    def kill(self) -> None:
        """End it as a crash would (SIGKILL), reaped so that it can start again at once."""
        if self._child is not None:
            child.kill(self._child)
            self._child = None

    def restart(self) -> None:
        self.stop()
        self.start()
