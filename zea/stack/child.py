"""Starting, signalling and ending one child process that leads a process group of its own."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from signal import Signals

POLL_SECONDS = 0.02

Child = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Program:
    """What is to run, and how it is asked to stop.

    ``command`` is asked before every start, because a start may need preparation. Programs of one ``stage`` are
    stopped together, higher stages first. ``stop_signal`` goes to the leader alone; after ``stop_within`` seconds
    the whole group is killed.
    """

    name: str
    command: Callable[[], Sequence[str]]
    environment: Mapping[str, str] | None = None
    stage: int = 0
    stop_signal: Signals = Signals.SIGTERM
    stop_within: float = 8.0
    signal_at_parents_death: Signals = Signals.SIGKILL


def spawn(program: Program, log: Path) -> Child:
    """Start ``program`` in a session of its own, its output appended to ``log``.

    A session of its own keeps the terminal's Ctrl-C away from it: only its parent decides when it stops.
    """
    command = [*_bound_to_parent(program.signal_at_parents_death), *program.command()]
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        return subprocess.Popen(  # noqa: S603 the commands are zea's own
            command,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            env=program.environment,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)


def _bound_to_parent(death_signal: Signals) -> tuple[str, ...]:
    """A prefix that makes the kernel send ``death_signal`` when the thread that starts the child ends.

    setpriv sets it after the fork and is replaced by the program: a preexec_fn would run Python between fork and
    exec, which is unsafe once there are threads.
    """
    setpriv = _setpriv()
    return (setpriv, "--pdeathsig", death_signal.name.removeprefix("SIG")) if setpriv else ()


@lru_cache
def _setpriv() -> str | None:
    """The path of util-linux's setpriv; without it the guardian alone watches over the children."""
    path = shutil.which("setpriv") if sys.platform == "linux" else None
    if path is None:
        return None
    probe = subprocess.run([path, "--pdeathsig", "KILL", "true"], capture_output=True, check=False)  # noqa: S603
    return path if probe.returncode == 0 else None


def kill_group(leader: int) -> None:
    """SIGKILL whatever is left of the group, for example the pool of a worker that died before it."""
    # PermissionError is macOS's answer when only zombies are left.
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def end(process: Child, program: Program) -> None:
    """Ask the process to stop, kill its group when it takes too long, and reap it."""
    if process.poll() is None:
        process.send_signal(program.stop_signal)
        try:
            process.wait(program.stop_within)
        except subprocess.TimeoutExpired:
            kill_group(process.pid)
    process.wait()
    kill_group(process.pid)


def kill(process: Child) -> None:
    """SIGKILL the process and its group, and reap it."""
    kill_group(process.pid)
    process.wait()


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not, whoever has yet to reap it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _state(pid) != "Z"


def _state(pid: int) -> str | None:
    """The kernel's letter for the process's state, where there is a /proc to read it from."""
    try:
        # The name before it stands in parentheses and may hold anything.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return None


def how_it_ended(returncode: int) -> str:
    """A few words for a return code, for people."""
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        return f"killed by {Signals(-returncode).name}"
    except ValueError:
        return f"killed by signal {-returncode}"


def wait_until(condition: Callable[[], bool], seconds: float, interval: float = POLL_SECONDS) -> bool:
    """Poll ``condition`` until it holds; False if it did not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval)
    return True
