"""Keeps programs running: started in order, started again when they die, stopped in reverse, none left behind."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path

from zea.errors import Unreachable, ZeaError
from zea.stack import child, logs
from zea.stack.child import Child, Program
from zea.stack.guard import Guard

log = logging.getLogger(__name__)

FIRST_DELAY = 0.2
LONGEST_DELAY = 10.0
STEADY_AFTER = 30.0  # seconds after which a program counts as running well, and its back-off starts anew
TICK = 0.05
WAKE_INTERVAL = 0.2
ROTATION_INTERVAL = 60.0

Report = Callable[[str], None]


@dataclass
class Supervised:
    """One program and its present process. Only the supervisor's thread changes it."""

    program: Program
    log: Path
    process: Child | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    delay: float = FIRST_DELAY
    deaths: int = 0
    log_start: int = 0
    spawned: threading.Event = field(default_factory=threading.Event)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def next_delay(self, ran_for: float) -> float:
        """The back-off before the next start: doubling up to a limit, from the start again after a steady run."""
        delay = FIRST_DELAY if ran_for >= STEADY_AFTER else self.delay
        self.delay = min(2 * delay, LONGEST_DELAY)
        return delay


class Supervisor:
    """Runs programs; ``report`` is given a line for whatever people should know.

    One thread of its own starts, restarts, stops and reaps, and lives until all is ended: the kernel signals the
    children when the thread that started them ends.
    """

    def __init__(self, directory: Path, report: Report, held: tuple[int, ...] = ()) -> None:
        self._logs = directory
        self._report = report
        self._held = held
        self._supervised: dict[str, Supervised] = {}
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._hurried = threading.Event()
        self._ended = threading.Event()
        self._rotated_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._thread_started = False

    @cached_property
    def guard(self) -> Guard:
        return Guard(self._held)

    def start(self, program: Program) -> None:
        """Have ``program`` running from now on."""
        self._supervised[program.name] = Supervised(program, self._logs / f"{program.name}.log")
        if not self._thread_started:
            self._thread_started = True
            self._thread.start()
        self._wake.set()

    def wait_ready(self, name: str, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until a program just started is ``ready``.

        Raises:
            Unreachable: it ended, or was not ready in time; the message names its log.
        """
        supervised = self._supervised[name]
        settled = child.wait_until(lambda: supervised.deaths > 0 or (supervised.running and ready()), seconds)
        if supervised.deaths:
            reason = logs.last_line(supervised.log, supervised.log_start)
            raise Unreachable(f"{name} ended as soon as it was started: {reason} (see {supervised.log})")
        if not settled:
            raise Unreachable(f"{name} was not ready within {seconds:.0f} seconds: see {supervised.log}.")

    def pid(self, name: str) -> int | None:
        """The id of the program's present process, if it runs."""
        process = self._supervised[name].process
        return process.pid if process is not None and process.poll() is None else None

    def output(self, name: str) -> str:
        """What the program has written since it was first started here."""
        supervised = self._supervised[name]
        return logs.written_since(supervised.log, supervised.log_start) if supervised.spawned.is_set() else ""

    def wait(self) -> None:
        """Come back when nothing is supervised any more: after `stop`, or if the supervisor itself failed."""
        # With a timeout: a signal that comes just before an endless wait would not be handled until its end. And an
        # event: a join that a signal interrupts takes its thread for ended (bpo-45274).
        while not self._ended.wait(WAKE_INTERVAL):
            pass

    def stop(self) -> None:
        """Stop everything, the last started first, and come back when nothing is left."""
        self._stopping.set()
        self._wake.set()
        if self._thread_started:
            self.wait()

    def hurry(self) -> None:
        """From now on nothing is asked to stop: it is killed."""
        self._hurried.set()

    def _run(self) -> None:
        try:
            self._keep_running()
        finally:
            self._ended.set()

    def _keep_running(self) -> None:
        try:
            while not self._stopping.is_set():
                self._wake.clear()
                self._tend()
                self._wake.wait(TICK)
        finally:
            self._stop_all()
            self.guard.close()

    def _tend(self) -> None:
        self.guard.tend()
        for supervised in list(self._supervised.values()):
            if supervised.process is not None and not supervised.running:
                self._clear_away(supervised)
            elif supervised.process is None and time.monotonic() >= supervised.start_at:
                self._spawn(supervised)
        self._rotate_logs()

    def _spawn(self, supervised: Supervised) -> None:
        logs.rotate(supervised.log)
        if not supervised.deaths:
            supervised.log_start = logs.size(supervised.log)
        supervised.spawned.set()
        supervised.started_at = time.monotonic()
        try:
            supervised.process = child.spawn(
                supervised.program,
                supervised.log,
                lambda pid: self.guard.watch(pid, supervised.program.signal_at_parents_death),
            )
        except (OSError, ZeaError) as error:
            self._put_off(supervised, str(error))

    def _clear_away(self, supervised: Supervised) -> None:
        """What a dead program leaves, such as the pool of a worker, would hold its place: it is ended first."""
        process = supervised.process
        assert process is not None
        child.kill_group(process.pid)
        self.guard.forget(process.pid)
        supervised.process = None
        self._put_off(supervised, child.how_it_ended(process.returncode))

    def _put_off(self, supervised: Supervised, reason: str) -> None:
        delay = supervised.next_delay(time.monotonic() - supervised.started_at)
        supervised.start_at = time.monotonic() + delay
        supervised.deaths += 1
        self._report(f"{supervised.program.name} ended ({reason}); it is started again in {delay:g} s.")

    def _rotate_logs(self) -> None:
        if time.monotonic() - self._rotated_at >= ROTATION_INTERVAL:
            self._rotated_at = time.monotonic()
            for supervised in self._supervised.values():
                logs.rotate(supervised.log)

    def _stop_all(self) -> None:
        started = reversed(self._supervised.values())
        by_stage = sorted(started, key=lambda supervised: -supervised.program.stage)
        for _, stage in groupby(by_stage, key=lambda supervised: supervised.program.stage):
            self._stop_together([supervised for supervised in stage if supervised.process is not None])

    def _stop_together(self, stage: Sequence[Supervised]) -> None:
        """Ask all of a stage, last started first; wait for each as long as it may take; kill what is left."""
        asked_at = time.monotonic()
        for supervised in stage:
            if supervised.running and supervised.process is not None:
                supervised.process.send_signal(supervised.program.stop_signal)
        for supervised in stage:
            process = supervised.process
            assert process is not None
            while supervised.running and not self._over(asked_at, supervised.program.stop_within):
                time.sleep(child.POLL_SECONDS)
            child.kill(process)
            self.guard.forget(process.pid)
            supervised.process = None

    def _over(self, asked_at: float, seconds: float) -> bool:
        return self._hurried.is_set() or time.monotonic() - asked_at > seconds
