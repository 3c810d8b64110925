"""`make bench`: what a booking takes, next to a bare Celery task and a bare commit, on one machine in one run."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, NamedTuple

import psycopg
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from tests.benchmarks.seeding import Customer

ROOT = Path(__file__).parents[2]
BOOKINGS_BY_CLIENTS = {8: 800, 32: 960}
WARM_UP = 40
ROUNDS, PER_ROUND = 20, 20
TIMELINE = """
    WITH confirmed AS (
        SELECT e.id, e.created_at,
               (e.state -> 'steps' -> 'validate_slot' ->> 'started_at')::timestamptz AS began,
               (e.state -> 'steps' -> 'confirm_booking' ->> 'completed_at')::timestamptz AS ended
        FROM workflow_executions e WHERE e.id = ANY(%s::uuid[]))
    SELECT id, extract(epoch FROM created_at), extract(epoch FROM began), extract(epoch FROM ended) FROM confirmed"""

UNFINISHED = "SELECT FROM workflow_executions WHERE due_at IS NOT NULL LIMIT 1"


class Sample(NamedTuple):
    """One booking: wall-clock seconds at request and answer, and its execution."""

    sent: float
    answered: float
    execution_id: str

    @property
    def milliseconds(self) -> float:
        return (self.answered - self.sent) * 1000


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running_system(directory: Path) -> Iterator[dict[str, str]]:
    """`zea up` in a directory of its own; its connection file's content."""
    environment = {
        **os.environ,
        "ZEA_DATA_DIR": str(directory),
        "ZEA_API_PORT": str(free_port()),
        "ZEA_FLOWER_PORT": str(free_port()),
    }
    log = (directory.parent / "up.log").open("w")
    system = subprocess.Popen([sys.executable, "-m", "zea", "up"], env=environment, stdout=log, stderr=log)
    try:
        yield _connection(system, directory / "connection.json", directory.parent / "up.log")
    finally:
        system.send_signal(signal.SIGTERM)
        system.wait(60)


def use(connection: dict[str, str], directory: Path) -> None:
    """Have this process use the running system, down to its tokens."""
    os.environ.update(
        DATABASE_URL=connection["database_url"],
        REDIS_URL=connection["redis_url"],
        ZEA_DATA_DIR=str(directory),
        ZEA_SECRET_KEY=json.loads((directory / "generated.json").read_text())["secret_key"],
    )


def _connection(system: "subprocess.Popen[bytes]", path: Path, log: Path) -> dict[str, str]:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and system.poll() is None:
        if "Press Ctrl-C" in log.read_text():
            connection: dict[str, str] = json.loads(path.read_text())
            return connection
        time.sleep(0.1)
    raise SystemExit(f"zea up did not start:\n{log.read_text()}")


@contextmanager
def noop_worker() -> Iterator[None]:
    command = [sys.executable, "-m", "celery", "-A", "tests.benchmarks.noop", "worker", "-Q", "noop", "-c", "2"]
    features = ["-n", "noop@%h", "--without-gossip", "--without-mingle", "--loglevel", "WARNING"]
    worker = subprocess.Popen([*command, *features], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)


def timed(call: Callable[[], object], times: int) -> list[float]:
    """Milliseconds of each call, after one to warm up."""
    call()
    took = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        took.append((time.perf_counter() - began) * 1000)
    return took


def measure_commit(database_url: str) -> list[float]:
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS benchmark_commits (id serial PRIMARY KEY, at timestamptz)")
        connection.commit()

        def commit() -> None:
            connection.execute("INSERT INTO benchmark_commits (at) VALUES (now())")
            connection.commit()

        return timed(commit, 400)


class OneClient(NamedTuple):
    """What one client measured: milliseconds of no-ops, and samples of bookings in turn with them."""

    noop: list[float]
    rested: list[Sample]
    back_to_back: list[Sample]


def measure_one_client(address: str, database_url: str) -> OneClient:
    """No-ops and bookings in turn, a few of each at a time, so that a machine that slows down slows all of them.

    Rested bookings find the system with nothing to do, as no-ops do; back to back, each one meets the notifications of
    the one before.
    """
    from tests.benchmarks.noop import noop
    from tests.benchmarks.seeding import customer

    who = customer(WARM_UP + ROUNDS * (2 * PER_ROUND + 1))
    connection = http.client.HTTPConnection(address, timeout=60)
    measured = OneClient([], [], [])
    with noop_worker(), psycopg.connect(database_url, autocommit=True) as database:

        def book(times: int, *, rest: bool) -> list[Sample]:
            samples = []
            for _ in range(times):
                samples.append(one_booking(connection, headers_of(who), next(who.requests)))
                while rest and database.execute(UNFINISHED).fetchone():
                    time.sleep(0.002)
            return samples

        noop.delay().get(timeout=60)
        book(WARM_UP, rest=False)
        for _ in range(ROUNDS):
            book(1, rest=True)
            measured.noop.extend(timed(lambda: noop.delay().get(timeout=30), PER_ROUND))
            measured.rested.extend(book(PER_ROUND, rest=True))
            measured.back_to_back.extend(book(PER_ROUND, rest=False))
    return measured


def measure_bookings(address: str, clients: int, bookings: int) -> tuple[list[Sample], float]:
    """Every booking's sample, and bookings per second, by so many clients at once, each asking again when answered."""
    from tests.benchmarks.seeding import customer

    each = bookings // clients
    warm_up = -(-WARM_UP // clients)
    customers = [customer(each + warm_up) for _ in range(clients)]
    samples: list[list[Sample]] = [[] for _ in customers]
    barrier = threading.Barrier(clients + 1)

    def book(index: int) -> None:
        connection = http.client.HTTPConnection(address, timeout=60)
        headers = headers_of(customers[index])
        for number, request in enumerate(customers[index].requests):
            if number == warm_up:
                barrier.wait()
            sample = one_booking(connection, headers, request)
            if number >= warm_up:
                samples[index].append(sample)

    threads = [threading.Thread(target=book, args=(index,)) for index in range(clients)]
    for thread in threads:
        thread.start()
    barrier.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    flat = [sample for each_client in samples for sample in each_client]
    return flat, len(flat) / (time.perf_counter() - began)


def headers_of(who: "Customer") -> dict[str, str]:
    return {"Authorization": f"Bearer {who.token}", "Content-Type": "application/json"}


def one_booking(connection: http.client.HTTPConnection, headers: dict[str, str], request: dict[str, str]) -> Sample:
    sent = time.time()
    connection.request("POST", "/api/bookings", json.dumps(request), headers)
    response = connection.getresponse()
    answer = json.loads(response.read())
    answered = time.time()
    if response.status != 201:
        raise SystemExit(f"a booking was answered with {response.status}: {answer}")
    return Sample(sent, answered, answer["execution_id"])


def where_the_time_goes(database_url: str, samples: list[Sample]) -> dict[str, float]:
    """Median milliseconds of each part of a booking; client and database read the same machine's clock."""
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(TIMELINE, ([sample.execution_id for sample in samples],)).fetchall()
    moments = {str(row[0]): [float(moment) for moment in row[1:]] for row in rows}
    parts: dict[str, list[float]] = {"accept": [], "hand over": [], "work": [], "answer": []}
    for sample in samples:
        created, began, ended = moments[sample.execution_id]
        for name, seconds in zip(
            parts, (created - sample.sent, began - created, ended - began, sample.answered - ended), strict=True
        ):
            parts[name].append(seconds * 1000)
    return {name: median(values) for name, values in parts.items()}


def columns(samples: list[Sample], rate: float | None, noop: list[float]) -> tuple[str, str, str, str]:
    took = [sample.milliseconds for sample in samples]
    ratio = f"{median(took) / median(noop):.1f}"
    return f"{median(took):.1f} ms", f"{p95(took):.1f} ms", f"{rate:.0f}" if rate else "", ratio


def p95(values: list[float]) -> float:
    return quantiles(values, n=20)[-1]


def main() -> None:
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory() as folder, running_system(Path(folder) / "zea") as connection:
        use(connection, Path(folder) / "zea")
        address = connection["api_url"].removeprefix("http://")
        table = Table("Measured", "p50", "p95", "per second", "p50 ÷ no-op", box=None, pad_edge=False)
        one = measure_one_client(address, connection["database_url"])
        commit = measure_commit(connection["database_url"])
        for name, values in (("one PostgreSQL commit", commit), ("one Celery no-op, to its result", one.noop)):
            ratio = f"{median(values) / median(one.noop):.1f}"
            table.add_row(name, f"{median(values):.2f} ms", f"{p95(values):.2f} ms", "", ratio)
        table.add_row("a booking, one at a time", *columns(one.rested, None, one.noop))
        rate = 1000 / (sum(sample.milliseconds for sample in one.back_to_back) / len(one.back_to_back))
        table.add_row("bookings back to back, 1 client", *columns(one.back_to_back, rate, one.noop))
        for clients, bookings in BOOKINGS_BY_CLIENTS.items():
            samples, rate = measure_bookings(address, clients, bookings)
            table.add_row(f"bookings back to back, {clients} clients", *columns(samples, rate, one.noop))
        parts = where_the_time_goes(connection["database_url"], one.rested)
        console.print(table)
        console.print("One at a time: " + ", ".join(f"{name} {value:.1f} ms" for name, value in parts.items()))


if __name__ == "__main__":
    main()
