"""A process that outlives a supervisor killed with SIGKILL for the moment it takes to end the supervisor's children.

The kernel's own signal at a parent's death reaches children, but not the pool processes that a Celery worker forked:
the guardian ends whole process groups. It also inherits the data directory's lock, so that the next `zea up` waits
until nothing of the last one is left.

It is run as a file (`python -I -S guardian.py`), so it imports the standard library alone and starts in 20 ms.
It reads lines: ``+PID SIGNAL`` (a group leader, and the signal that ends it) and ``-PID``. The end of the input means
that the supervisor is gone.
"""

import os
import signal
import sys
import time
from contextlib import suppress

PATIENCE = 5.0  # seconds for a database to shut down before it is killed too


def main() -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    leaders: dict[int, int] = {}
    for line in sys.stdin:
        note(line, leaders)
    end_all(leaders)


def note(line: str, leaders: dict[int, int]) -> None:
    words = line[1:].split()
    if line.startswith("+"):
        leaders[int(words[0])] = int(words[1])
    else:
        leaders.pop(int(words[0]), None)


def end_all(leaders: dict[int, int]) -> None:
    """The last one started is the first to be told, and whatever has not ended after a while is killed."""
    for leader, ending in reversed(leaders.items()):
        send(leader, ending)
    deadline = time.monotonic() + PATIENCE
    while any(map(running, leaders)) and time.monotonic() < deadline:
        time.sleep(0.01)
    for leader in leaders:
        send(leader, signal.SIGKILL)


def send(leader: int, ending: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, ending)


def running(leader: int) -> bool:
    """A zombie does not run: whoever inherits it may reap it late."""
    try:
        with open(f"/proc/{leader}/stat") as status:
            return status.read().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return not os.path.isdir("/proc/self") and exists(leader)


def exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if __name__ == "__main__":
    main()
