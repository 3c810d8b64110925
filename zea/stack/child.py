"""Starting, signalling and ending one child process that leads a process group of its own."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from signal import Signals

POLL_SECONDS = 0.02
GONE_WITHIN = 2.0  # seconds for what was killed to be gone
PROC = Path("/proc")
# Waits for a line, which never comes if the parent is killed first, and becomes the program.
GATE = ("/bin/sh", "-c", 'read -r go && exec "$@" </dev/null', "zea")

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


def spawn(program: Program, log: Path, announce: Callable[[int], None] = lambda _: None) -> Child:
    """Start ``program`` in a session of its own, its output appended to ``log``.

    A session of its own keeps the terminal's Ctrl-C away from it: only its parent decides when it stops.
    ``announce`` is told the process's id before the program runs; if this process is killed before that, it never does.
    """
    command = [*_bound_to_parent(program.signal_at_parents_death), *GATE, *program.command()]
    process = _open(program, command, log)
    announce(process.pid)
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin as gate:
        gate.write(b"go\n")
    return process


def _open(program: Program, command: Sequence[str], log: Path) -> Child:
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        return subprocess.Popen(  # noqa: S603 the commands are zea's own
            command,
            stdin=subprocess.PIPE,
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
    """SIGKILL whatever is left of the group, such as the pool of a worker that died before it, and see it gone."""
    if _signal_group(leader, signal.SIGKILL):
        wait_until(lambda: not _group_runs(leader), GONE_WITHIN)


def _signal_group(leader: int, number: int) -> bool:
    """Whether there was anybody to signal."""
    # PermissionError is macOS's answer when only zombies are left.
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _group_runs(leader: int) -> bool:
    """Whether a member of the group runs. Zombies that wait for another parent do not, but can still be signalled."""
    if not PROC.exists():
        return _signal_group(leader, 0)
    everybody = (_status(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdigit())
    return any(fields[0] != "Z" and int(fields[2]) == leader for fields in everybody if fields)


def end(process: Child, program: Program) -> None:
    """Ask the process to stop, kill its group when it takes too long, and reap it."""
    if process.poll() is None:
        process.send_signal(program.stop_signal)
        with suppress(subprocess.TimeoutExpired):
            process.wait(program.stop_within)
    kill(process)


def kill(process: Child) -> None:
    """SIGKILL the process and its group, and reap it."""
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()
    kill_group(process.pid)


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not, whoever has yet to reap it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _status(pid)[:1] != ["Z"]


def _status(pid: int) -> list[str]:
    """State, parent, group and more as in proc(5), stat; empty where there is nothing to read."""
    try:
        # The name before them stands in parentheses and may hold anything.
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


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
