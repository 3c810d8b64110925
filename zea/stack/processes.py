"""The processes of zea and their commands: what `zea up` supervises, and what the Procfile says in the shell's words.

Workers run without gossip and mingle, which are for workers that talk to each other: mingle alone makes a start wait a
second for answers. Heartbeats stay, because Flower tells a living worker by them; `inspect` needs none of the three.

REMAP_SIGTERM makes SIGTERM end a worker within worker_soft_shutdown_timeout, its unfinished messages put back: a plain
warm stop waits for the running step however long it takes. A step is one transaction, so ending it loses nothing.
"""

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from zea.stack.child import Program

# What each worker works off. What a person waits for is in front: see celeryconfig.
QUEUES = {"worker": ("workflows", "notifications"), "sweeper": ("sweeps", "mail"), "reporter": ("reports",)}
CELERY = ("celery", "--quiet", "-A", "tasks")
WORKER_FEATURES = ("--loglevel", "INFO", "--without-gossip", "--without-mingle")
API = (
    *("uvicorn", "zea.api.app:create_app", "--factory", "--loop", "uvloop", "--http", "httptools"),
    *("--workers", "1", "--no-access-log", "--timeout-graceful-shutdown", "5"),
)
WORKER = (
    *(*CELERY, "worker", "-Q", ",".join(QUEUES["worker"]), "-n", "worker@%h"),
    *("--pool", "prefork", "-c", "2", *WORKER_FEATURES),
)
SWEEPER = (
    *(*CELERY, "worker", "-Q", ",".join(QUEUES["sweeper"]), "-n", "sweeper@%h"),
    *("--pool", "prefork", "-c", "2", *WORKER_FEATURES),
)
# One at a time: a report of a million sessions takes a processor for a while, and its runs wait for each other anyway.
REPORTER = (
    *(*CELERY, "worker", "-Q", ",".join(QUEUES["reporter"]), "-n", "reporter@%h"),
    *("--pool", "prefork", "-c", "1", *WORKER_FEATURES),
)
BEAT = (*CELERY, "beat", "--loglevel", "INFO", "--pidfile=")
FLOWER = (*CELERY, "flower")

# Flower only watches: it runs when a processor has nothing else to do. On a small machine it would slow bookings down.
WHEN_IDLE = ("chrt", "--idle", "0") if shutil.which("chrt") else ("nice", "-n", "19") if shutil.which("nice") else ()
WORKER_STOP = {"REMAP_SIGTERM": "SIGQUIT"}

WORKER_STAGE, FRONT_STAGE = 1, 2  # what takes requests or makes work stops before what does the work


def api(host: str, port: int, environment: Mapping[str, str]) -> Program:
    return _program("api", (*API, "--host", host, "--port", str(port)), environment, FRONT_STAGE)


def worker(environment: Mapping[str, str]) -> Program:
    return _program("worker", WORKER, {**environment, **WORKER_STOP}, WORKER_STAGE)


def sweeper(environment: Mapping[str, str]) -> Program:
    return _program("sweeper", SWEEPER, {**environment, **WORKER_STOP}, WORKER_STAGE)


def reporter(environment: Mapping[str, str]) -> Program:
    return _program("reporter", REPORTER, {**environment, **WORKER_STOP}, WORKER_STAGE)


def beat(schedule: Path, environment: Mapping[str, str]) -> Program:
    return _program("beat", (*BEAT, "-s", str(schedule)), environment, FRONT_STAGE)


def flower(port: int, login: str, environment: Mapping[str, str]) -> Program:
    """``login`` is user:password. It is handed over in the environment: a command line is public."""
    module = (*FLOWER, f"--port={port}")
    return _program("flower", module, {**environment, "ZEA_FLOWER_BASIC_AUTH": login}, FRONT_STAGE, WHEN_IDLE)


def _program(
    name: str, module: Sequence[str], environment: Mapping[str, str], stage: int, prefix: Sequence[str] = ()
) -> Program:
    command = [*prefix, sys.executable, "-m", *module]
    return Program(name, lambda: command, environment, stage)
