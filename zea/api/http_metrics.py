"""What the API answered, how often and how soon: counted for all processes that serve one port together."""

import multiprocessing
import os
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, values
from prometheus_client.multiprocess import MultiProcessCollector

from zea import config
from zea.stack.child import alive

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
OTHER: Final = "other"


class HttpMetrics:
    """Counts requests by their route, never by their path: a path holds ids, and anybody can make up more of them.

    The processes of one server keep what they count in files that they share, so that whichever of them is asked
    answers for all, and what a process that ended had counted is not lost.
    """

    def __init__(self, directory: Path) -> None:
        config.share_metrics_in(directory)
        # The library chooses when it is imported, which may have been before.
        values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]  # it has no types
        self._requests = Counter(
            "zea_http_requests_total", "Requests answered.", ["method", "route", "status"], registry=None
        )
        self._seconds = Histogram(
            "zea_http_request_duration_seconds",
            "Seconds until an answer began.",
            ["method", "route"],
            buckets=BUCKETS,
            registry=None,
        )

    def count(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """One request; ``route`` is None where no route was found, ``seconds`` is the time until the answer began."""
        known = method if method in METHODS else OTHER
        self._requests.labels(known, route or OTHER, str(status)).inc()
        self._seconds.labels(known, route or OTHER).observe(seconds)

    def register(self, registry: CollectorRegistry) -> None:
        """Have ``registry`` tell what all processes counted."""
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # it has no types


@lru_cache
def http_metrics() -> HttpMetrics:
    """This process's; its library can make each metric once only."""
    return HttpMetrics(_directory())


def _directory() -> Path:
    """Of the server that this process belongs to: what servers of this account that have ended left is removed."""
    parent = multiprocessing.parent_process()
    server = os.getpid() if parent is None or parent.pid is None else parent.pid
    mine = Path(tempfile.gettempdir()) / f"zea-metrics-{os.geteuid()}"
    try:
        mine.mkdir(mode=0o700, exist_ok=True)
        if mine.is_symlink() or mine.stat().st_uid != os.geteuid():
            raise PermissionError(mine)
        _remove_ended(mine)
        directory = mine / str(server)
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        # Somebody else's, or no place to write: this process counts for itself.
        return Path(tempfile.mkdtemp(prefix="zea-metrics-"))
    return directory


def _remove_ended(mine: Path) -> None:
    ended = [each for each in mine.iterdir() if each.name.isdigit() and not alive(int(each.name))]
    for directory in ended:
        # Processes that start together all do this.
        shutil.rmtree(directory, ignore_errors=True)
