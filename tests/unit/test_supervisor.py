"""The supervisor on small stand-in programs: restarts, order, and nobody left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import Signals

import pytest
from waiting import wait_until

from zea.errors import ConfigurationError, Unreachable
from zea.stack import child, logs
from zea.stack.child import Program
from zea.stack.supervisor import LONGEST_DELAY, STEADY_AFTER, Supervised, Supervisor

SLEEPER = "import time; time.sleep(600)"
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""
WITH_A_CHILD = """
import os, signal, sys, time
child = os.fork()
if child == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open(sys.argv[1], "a").write(f"{os.getpid()}\\n")
time.sleep(600)
"""
TELLS_ITS_END = """
import signal, sys, time
def end(*_):
    open(sys.argv[1], "a").write(sys.argv[2] + "\\n")
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("listening", flush=True)
time.sleep(600)
"""


def python(name: str, code: str, *arguments: str, **changes: object) -> Program:
    return Program(name, lambda: [sys.executable, "-I", "-S", "-c", code, *arguments], **changes)  # type: ignore[arg-type]


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def supervisor(tmp_path: Path, lines: list[str]) -> Iterator[Supervisor]:
    running = Supervisor(tmp_path, lines.append)
    yield running
    running.hurry()
    running.stop()


def start(supervisor: Supervisor, program: Program, ready: Callable[[], bool] = lambda: True) -> int:
    supervisor.start(program)
    supervisor.wait_ready(program.name, ready, 10)
    pid = supervisor.pid(program.name)
    assert pid is not None
    return pid


def pids_in(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def test_a_killed_program_is_started_again(supervisor: Supervisor, lines: list[str]) -> None:
    first = start(supervisor, python("sleeper", SLEEPER))
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: supervisor.pid("sleeper") not in (None, first))
    assert lines == ["sleeper ended (killed by SIGKILL); it is started again in 0.2 s."]


def test_a_program_that_cannot_start_is_tried_again(supervisor: Supervisor, lines: list[str]) -> None:
    supervisor.start(Program("missing", lambda: ["/no/such/program"]))
    wait_until(lambda: len(lines) >= 2)
    assert all("missing ended" in line for line in lines)


def test_a_preparation_that_fails_is_tried_again(supervisor: Supervisor, tmp_path: Path) -> None:
    def command() -> list[str]:
        if not (tmp_path / "prepared").exists():
            (tmp_path / "prepared").touch()
            raise ConfigurationError("not yet")
        return [sys.executable, "-I", "-S", "-c", SLEEPER]

    supervisor.start(Program("late", command))
    wait_until(lambda: supervisor.pid("late"))


def test_the_back_off_doubles_up_to_a_limit() -> None:
    supervised = Supervised(python("any", SLEEPER), Path("any.log"))
    delays = [supervised.next_delay(ran_for=0.1) for _ in range(8)]
    assert delays == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, LONGEST_DELAY, LONGEST_DELAY]


def test_the_back_off_starts_anew_after_a_steady_run() -> None:
    supervised = Supervised(python("any", SLEEPER), Path("any.log"))
    for _ in range(8):
        supervised.next_delay(ran_for=0.1)
    assert supervised.next_delay(ran_for=STEADY_AFTER) == 0.2


def test_what_a_dead_leader_forked_is_gone_before_it_starts_again(supervisor: Supervisor, tmp_path: Path) -> None:
    forked = tmp_path / "forked"
    first = start(supervisor, python("pool", WITH_A_CHILD, str(forked)), lambda: bool(pids_in(forked)))
    left_behind = pids_in(forked)[0]
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: len(pids_in(forked)) == 2, what="the second leader's child")
    assert not child.alive(left_behind)


def test_programs_stop_in_reverse_order_of_their_stages(supervisor: Supervisor, tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    for name, stage in (("database", 0), ("worker", 1), ("front", 2)):
        program = python(name, TELLS_ITS_END, str(ended), name, stage=stage)
        start(supervisor, program, lambda name=name: "listening" in supervisor.output(name))  # type: ignore[misc]
    supervisor.stop()
    assert ended.read_text().split() == ["front", "worker", "database"]


def test_a_stop_leaves_nothing(supervisor: Supervisor, tmp_path: Path) -> None:
    forked = tmp_path / "forked"
    pid = start(supervisor, python("pool", WITH_A_CHILD, str(forked)), lambda: bool(pids_in(forked)))
    guardian = supervisor.guard.pid
    supervisor.stop()
    assert not any(map(child.alive, [pid, guardian, *pids_in(forked)]))


def test_who_does_not_stop_in_time_is_killed(supervisor: Supervisor) -> None:
    program = python("deaf", STUBBORN, stop_within=0.1)
    pid = start(supervisor, program, lambda: "deaf" in supervisor.output("deaf"))
    supervisor.stop()
    assert not child.alive(pid)


def test_a_hurried_stop_waits_for_nobody(supervisor: Supervisor) -> None:
    program = python("deaf", STUBBORN, stop_within=600.0)
    pid = start(supervisor, program, lambda: "deaf" in supervisor.output("deaf"))
    supervisor.hurry()
    supervisor.stop()
    assert not child.alive(pid)


def test_a_program_that_ends_at_once_fails_the_start_with_its_last_line(supervisor: Supervisor) -> None:
    supervisor.start(python("hasty", "import sys; sys.exit('the database is missing')"))
    with pytest.raises(Unreachable, match=r"hasty ended as soon as it was started: the database is missing \(see .*\)"):
        supervisor.wait_ready("hasty", lambda: False, 10)


def test_a_program_that_is_never_ready_fails_the_start(supervisor: Supervisor) -> None:
    supervisor.start(python("slow", SLEEPER))
    with pytest.raises(Unreachable, match="slow was not ready within 0 seconds"):
        supervisor.wait_ready("slow", lambda: False, 0.1)


def test_a_dead_guardian_is_replaced(supervisor: Supervisor) -> None:
    start(supervisor, python("sleeper", SLEEPER))
    first = supervisor.guard.pid
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: supervisor.guard.pid != first and child.alive(supervisor.guard.pid))


SUPERVISOR_TO_KILL = """
import os, sys, fcntl
from pathlib import Path
from signal import Signals
from zea.stack.child import Program
from zea.stack.supervisor import Supervisor

directory, code = Path(sys.argv[1]), sys.argv[2]
lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
supervisor = Supervisor(directory, print, held=(lock,))
command = [sys.executable, "-I", "-S", "-c", code, str(directory / "forked")]
supervisor.start(Program("pool", lambda: command, signal_at_parents_death=Signals[sys.argv[3]]))
supervisor.wait_ready("pool", lambda: (directory / "forked").exists(), 10)
print(supervisor.pid("pool"), supervisor.guard.pid, flush=True)
supervisor.wait()
"""


@pytest.mark.parametrize("death_signal", [Signals.SIGKILL, Signals.SIGTERM])
def test_a_supervisor_killed_with_sigkill_takes_everything_with_it(tmp_path: Path, death_signal: Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR_TO_KILL, str(tmp_path), WITH_A_CHILD, death_signal.name],
        stdout=subprocess.PIPE,
        text=True,
    ) as killed:
        assert killed.stdout is not None
        leader, guardian = map(int, killed.stdout.readline().split())
        wait_until(lambda: pids_in(tmp_path / "forked"))
        everything = [leader, guardian, *pids_in(tmp_path / "forked")]
        assert all(map(child.alive, everything))
        killed.kill()
    wait_until(lambda: not any(map(child.alive, everything)), what=f"the end of {everything}")


def test_a_log_past_its_limit_is_kept_once_and_begun_anew(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    for text in ("oldest", "older"):
        log.write_text(text)
        logs.rotate(log, limit=3)
    assert (log.read_text(), (tmp_path / "api.log.1").read_text()) == ("", "older")


def test_a_log_within_its_limit_stays(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    log.write_text("short")
    logs.rotate(log, limit=5)
    assert log.read_text() == "short"
