"""The supervisor's end of the guardian: tells it which process groups to end if the supervisor is killed."""

import subprocess
import sys
from contextlib import suppress

from zea.stack import guardian


class Guard:
    """A guardian process, started again if it dies. ``held`` are file descriptors that it keeps open until its end."""

    def __init__(self, held: tuple[int, ...] = ()) -> None:
        self._held = held
        self._leaders: dict[int, int] = {}
        self._process = self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def watch(self, leader: int, ending: int) -> None:
        self._leaders[leader] = ending
        self._tell(f"+{leader} {ending}\n")

    def forget(self, leader: int) -> None:
        self._leaders.pop(leader, None)
        self._tell(f"-{leader}\n")

    def tend(self) -> None:
        """Replace the guardian if it died."""
        if self._process.poll() is not None:
            self._hang_up()
            self._process = self._start()

    def close(self) -> None:
        """Let the guardian end; it ends whatever it still watches."""
        with suppress(subprocess.TimeoutExpired):
            self._process.communicate(timeout=2 * guardian.PATIENCE)

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(  # noqa: S603 this very Python, and a file of this package
            [sys.executable, "-I", "-S", guardian.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            start_new_session=True,
            pass_fds=self._held,
        )
        self._process = process
        for leader, ending in self._leaders.items():
            self._tell(f"+{leader} {ending}\n")
        return process

    def _tell(self, line: str) -> None:
        # A dead guardian is told everything again when `tend` has replaced it.
        with suppress(BrokenPipeError):
            assert self._process.stdin is not None
            self._process.stdin.write(line)

    def _hang_up(self) -> None:
        with suppress(BrokenPipeError):
            assert self._process.stdin is not None
            self._process.stdin.close()
