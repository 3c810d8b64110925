"""PostgreSQL or the broker goes away: what was accepted ends once, what cannot be is told so soon, nobody restarts."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Event
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest
import redis
from pytest_celery import CeleryWorkerCluster
from sqlalchemy import text

from tests.benchmarks.seeding import Customer
from tests.conftest import migrated_template
from tests.e2e.conftest import CELERY_IS_READY, Desk
from tests.e2e.nodes import ProcessContainer, StartNode
from tests.waiting import wait_until
from workflows.catalog import registry
from workflows.engine.client import ExecutionClient
from workflows.engine.counts import SWEPT
from zea.db import transaction
from zea.stack import processes
from zea.stack.servers import EmbeddedServers

MakeCustomer = Callable[[int], Customer]
AT_REST_WITHIN = 30.0
UNAVAILABLE_WITHIN = 2.0
# A new connection is waited for two seconds, which is the least that the driver knows.
FROZEN_IS_TOLD_WITHIN = 3.0
PUBLISHED_WITHIN = 1.0
CROWD_PUBLISHED_WITHIN = 1.5  # twenty clients of one small machine
# What a person would still wait for, from when the broker is back; Celery's own pauses are up to 30 seconds long.
BACK_WITHIN = 5
PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    """Servers for these tests alone: no other should suffer what is done to them."""
    with EmbeddedServers(tmp_path_factory.mktemp("outages")) as running:
        yield running


@pytest.fixture(scope="module")
def template(servers: EmbeddedServers) -> str:
    return migrated_template(servers)


@pytest.fixture(autouse=True)
def both_are_back(servers: EmbeddedServers, database: str) -> Iterator[None]:
    """Whatever a test did, and wherever it failed, the next one finds both servers."""
    yield
    for server in (servers.postgres, servers.valkey):
        for process in family(server.pid):
            # It may end while it is looked at.
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)
        server.start()


def family(pid: int | None) -> list[psutil.Process]:
    if pid is None:
        return []
    leader = psutil.Process(pid)
    return [leader, *leader.children(recursive=True)]


@contextmanager
def frozen(pid: int | None) -> Iterator[None]:
    """The process and its children exist, accept connections, and answer nothing while the block runs."""
    processes = family(pid)
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


@pytest.fixture
def nobody_is_restarted(celery_worker_cluster: CeleryWorkerCluster, beat: ProcessContainer) -> Iterator[None]:
    """Worker, sweeper and beat; they have to be the ones that were there before."""
    yield
    for node in [*(worker.container for worker in celery_worker_cluster), beat]:
        assert node.status == "running", f"{node.name} ended:\n{node.logs()[-3000:]}"


def at_rest(desk: Desk) -> bool:
    """Whether nothing is left to run: whoever registered is asked for their profile, and has a week."""
    moving = "SELECT count(*) FROM workflow_executions WHERE completed_at IS NULL AND status <> 'waiting_for_approval'"
    return bool(desk.scalar(moving) == 0)


def assert_each_ended_once(desk: Desk, accepted: list[str]) -> None:
    """All that was accepted, and nothing twice. A request may have been accepted whose answer was lost."""
    wait_until(lambda: at_rest(desk), AT_REST_WITHIN, "everything to end")
    desk.assert_books_balance()
    ended = "SELECT execution_id::text FROM workflow_events WHERE type = 'execution.completed'"
    executions = desk.column(ended)
    bookings = "SELECT id::text FROM workflow_executions WHERE workflow = 'zea_sport.BookingRequest'"
    assert sorted(executions) == sorted(desk.column(bookings))
    assert set(accepted) <= set(executions)
    assert desk.scalar("SELECT count(*) FROM bookings") == len(executions)
    told = "SELECT execution_id::text || kind FROM notifications WHERE kind LIKE 'booking%'"
    assert len(set(desk.column(told))) == len(desk.column(told)) == 2 * len(executions)
    asked = desk.column("SELECT count(*) FROM workflow_approvals WHERE status = 'pending' GROUP BY execution_id")
    assert asked == [1] * desk.scalar("SELECT count(*) FROM users WHERE email LIKE '%@example.com' AND NOT can_book")


def accepted(desk: Desk, who: Customer, wait: int = 0, within: float = PUBLISHED_WITHIN) -> str:
    """The execution of a booking that was asked for and not decided at once."""
    begun = time.monotonic()
    answer = desk.book(who, next(who.requests), Prefer=f"wait={wait}")
    assert answer.status_code == 202, answer.text
    assert time.monotonic() - begun < wait + within
    assert answer.headers["Location"] == f"/api/executions/{answer.json()['execution_id']}"
    return str(answer.json()["execution_id"])


def confirmed(desk: Desk, who: Customer, within: int = BACK_WITHIN) -> str:
    """The execution of a booking that is confirmed as if nothing had happened."""
    answer = desk.book(who, next(who.requests), Prefer=f"wait={within}")
    assert answer.status_code == 201, answer.text
    return str(answer.json()["execution_id"])


@contextmanager
def block_under_way(desk: Desk, ask: Callable[[], str]) -> Iterator[str]:
    """While the block runs, a worker is in the middle of the booking that ``ask`` asks for; it commits afterwards."""
    with transaction() as db:
        db.execute(text("SELECT FROM credit_accounts FOR UPDATE"))
        execution_id = ask()
        wait_until(desk.somebody_waits_for_a_lock, 10, "the block to wait")
        yield execution_id


@pytest.mark.usefixtures("nobody_is_restarted")
class TestBroker:
    """kill -9, lost data, frozen: a request is accepted all the same, and what it asked for is done soon after."""

    def test_killed_while_a_step_runs(self, desk: Desk, make_customer: MakeCustomer, servers: EmbeddedServers) -> None:
        who = make_customer(4)
        with block_under_way(desk, lambda: accepted(desk, who)) as running:
            servers.valkey.kill()
            asked = [accepted(desk, who), accepted(desk, who, wait=1)]
            servers.valkey.start()
        assert_each_ended_once(desk, [running, *asked, confirmed(desk, who)])

    def test_killed_again_and_again_under_load(
        self, desk: Desk, make_customer: MakeCustomer, servers: EmbeddedServers
    ) -> None:
        with load(desk, make_customer(1000)) as asked:
            for _ in range(5):
                wait_for_more(asked)
                servers.valkey.kill()
                servers.valkey.start()
        who = make_customer(1)
        last = confirmed(desk, who)
        assert {answer.status_code for answer in asked} <= {201, 202}
        assert_each_ended_once(desk, [*execution_ids(asked), last])

    @pytest.mark.parametrize("lose", ["restarted_empty", "flushed"])
    def test_it_loses_what_it_knew(
        self, desk: Desk, make_customer: MakeCustomer, servers: EmbeddedServers, worker: ProcessContainer, lose: str
    ) -> None:
        who = make_customer(3)
        worker.signal("SIGSTOP")
        waiting = [accepted(desk, who), accepted(desk, who)]
        with redis.Redis.from_url(servers.redis_url) as broker:
            broker.flushall()
            if lose == "restarted_empty":
                servers.valkey.restart()
        worker.signal("SIGCONT")
        assert_each_ended_once(desk, [*waiting, confirmed(desk, who)])

    def test_frozen_for_five_seconds(self, desk: Desk, make_customer: MakeCustomer, servers: EmbeddedServers) -> None:
        who, crowd = make_customer(3), make_customer(20)
        login = register(desk)
        with block_under_way(desk, lambda: accepted(desk, who)) as running, frozen(servers.valkey.pid):
            begun = time.monotonic()
            asked = [accepted(desk, who, wait=1)]
            with ThreadPoolExecutor(20) as pool:
                asked += pool.map(lambda _: accepted(desk, crowd, wait=1, within=CROWD_PUBLISHED_WITHIN), range(20))
            assert httpx.post(f"{desk.base_url}/api/auth/login", data=login, timeout=2).status_code == 200
            wait_until(lambda: time.monotonic() > begun + 5)
        # It may hand the next message to a connection that was given up meanwhile: a sweep then sends it again.
        assert_each_ended_once(desk, [running, *asked, confirmed(desk, who, within=30)])

    def test_away_for_twenty_seconds(self, desk: Desk, make_customer: MakeCustomer, servers: EmbeddedServers) -> None:
        who = make_customer(3)
        login = register(desk)
        servers.valkey.kill()
        begun = time.monotonic()
        asked = [accepted(desk, who, wait=1)]
        authorized = {"Authorization": f"Bearer {who.token}"}
        execution = httpx.get(f"{desk.base_url}/api/executions/{asked[0]}", headers=authorized)
        assert (execution.status_code, execution.json()["status"]) == (200, "running")
        assert httpx.post(f"{desk.base_url}/api/auth/login", data=login).status_code == 200
        register(desk)
        asked.append(accepted(desk, who))
        wait_until(lambda: time.monotonic() > begun + 20, 25)
        servers.valkey.start()
        assert_each_ended_once(desk, [*asked, confirmed(desk, who)])

    def test_full(
        self, desk: Desk, make_customer: MakeCustomer, servers: EmbeddedServers, worker: ProcessContainer
    ) -> None:
        """It answers, and refuses whatever would need memory, such as to note that a worker has taken a message."""
        who = make_customer(4)
        worker.signal("SIGSTOP")
        waiting = [accepted(desk, who), accepted(desk, who)]
        with full(servers.redis_url):
            asked = accepted(desk, who)
            worker.signal("SIGCONT")
            wait_until(lambda: "not allowed when used memory" in worker.logs(), what="the worker to be refused")
        assert_each_ended_once(desk, [*waiting, asked, confirmed(desk, who)])


@contextmanager
def full(redis_url: str) -> Iterator[None]:
    """The broker has no memory left while the block runs."""
    with redis.Redis.from_url(redis_url) as broker:
        before = broker.config_get("maxmemory")["maxmemory"]
        broker.config_set("maxmemory", 1)
        try:
            yield
        finally:
            broker.config_set("maxmemory", before)


def register(desk: Desk) -> dict[str, str]:
    """Somebody new, and what they log in with."""
    login = {"username": f"{uuid4()}@example.com", "password": PASSWORD}
    body = {"email": login["username"], "password": PASSWORD}
    assert httpx.post(f"{desk.base_url}/api/auth/register", json=body, timeout=10).status_code == 201
    return login


def execution_ids(answers: list[httpx.Response]) -> list[str]:
    return [answer.json()["execution_id"] for answer in answers if answer.status_code in (201, 202)]


@contextmanager
def load(desk: Desk, who: Customer, clients: int = 3) -> Iterator[list[httpx.Response]]:
    """So many ask for bookings, one after the other, while the block runs; the answers until then."""
    answers: list[httpx.Response] = []
    over = Event()

    def ask() -> None:
        while not over.is_set():
            answers.append(desk.book(who, next(who.requests), Prefer="wait=1"))

    with ThreadPoolExecutor(clients) as pool:
        asking = [pool.submit(ask) for _ in range(clients)]
        try:
            yield answers
        finally:
            over.set()
    for each in asking:
        each.result()


def wait_for_more(answers: list[httpx.Response]) -> None:
    """So that the next fault finds requests at every stage."""
    enough = len(answers) + 6
    wait_until(lambda: len(answers) >= enough, what="more answers")


@pytest.mark.usefixtures("nobody_is_restarted")
class TestDatabase:
    """kill -9 and away: callers are told soon, and when it is back everything goes on at once."""

    def test_killed_under_load(self, desk: Desk, make_customer: MakeCustomer, servers: EmbeddedServers) -> None:
        with load(desk, make_customer(1000)) as answers:
            for _ in range(3):
                wait_for_more(answers)
                servers.postgres.kill()
                servers.postgres.start()
        for refused in (answer for answer in answers if answer.status_code not in (201, 202)):
            assert_unavailable(refused)
        who = make_customer(5)
        # Not one more fails for the connections that died.
        later = [confirmed(desk, who, within=30) for _ in range(5)]
        assert_each_ended_once(desk, [*execution_ids(answers), *later])

    def test_away(self, desk: Desk, make_customer: MakeCustomer, servers: EmbeddedServers) -> None:
        who = make_customer(8)
        before = [confirmed(desk, who, within=30) for _ in range(2)]
        login = register(desk)
        ask_everything(desk, who, before[0], login)
        servers.postgres.kill()
        for answer in ask_everything(desk, who, before[0], login):
            assert_unavailable(answer)
        servers.postgres.start()
        assert {answer.status_code for answer in ask_everything(desk, who, before[0], login)} <= {200, 201, 202}
        assert_each_ended_once(desk, before)

    def test_frozen(self, desk: Desk, make_customer: MakeCustomer, servers: EmbeddedServers) -> None:
        who = make_customer(8)
        before = [confirmed(desk, who, within=30)]
        login = register(desk)
        ask_everything(desk, who, before[0], login)
        with frozen(servers.postgres.pid):
            for _ in range(3):
                for answer in ask_everything(desk, who, before[0], login, FROZEN_IS_TOLD_WITHIN):
                    assert_unavailable(answer)
        wait_until(lambda: httpx.get(f"{desk.base_url}/health/ready").status_code == 200)
        assert {answer.status_code for answer in ask_everything(desk, who, before[0], login)} <= {200, 201, 202}
        assert_each_ended_once(desk, before)

    def test_away_after_it_was_accepted(
        self, desk: Desk, make_customer: MakeCustomer, servers: EmbeddedServers, worker: ProcessContainer
    ) -> None:
        """Accepted is accepted: who waits for the decision is not told that it failed."""
        who = make_customer(1)
        worker.signal("SIGSTOP")
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(accepted, desk, who, wait=2)
            wait_until(lambda: desk.scalar("SELECT count(*) FROM workflow_executions"), what="it to be accepted")
            servers.postgres.kill()
            execution_id = asked.result()
        servers.postgres.start()
        worker.signal("SIGCONT")
        assert_each_ended_once(desk, [execution_id])


def assert_unavailable(answer: httpx.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) >= 1


def ask_everything(
    desk: Desk, who: Customer, execution_id: str, login: dict[str, str], within: float = UNAVAILABLE_WITHIN
) -> list[httpx.Response]:
    """Thirty at once, of every kind, each answered in time."""
    authorized = {"Authorization": f"Bearer {who.token}"}
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", "/health/ready", {}),
        ("GET", "/api/me", {}),
        ("GET", "/api/bookings", {}),
        ("GET", "/api/me/credits", {}),
        ("GET", f"/api/executions/{execution_id}", {}),
        ("POST", "/api/auth/login", {"data": login}),
        ("POST", "/api/auth/register", {"json": {"email": f"{uuid4()}@example.com", "password": PASSWORD}}),
        ("POST", "/api/bookings", {"json": next(who.requests), "headers": {**authorized, "Prefer": "wait=0"}}),
        *[("GET", "/api/bookings", {})] * 22,
    ]
    with httpx.Client(base_url=desk.base_url, headers=authorized, timeout=30) as client, ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda call: client.request(call[0], call[1], **call[2]), calls))
    for answer in answers:
        assert answer.elapsed.total_seconds() < within, f"{answer.request.url} took {answer.elapsed}"
    return answers


def test_a_worker_that_cannot_check_its_definitions_ends_and_says_why(
    start_node: StartNode, environment: dict[str, str], servers: EmbeddedServers
) -> None:
    servers.postgres.kill()
    node = start_node(processes.worker(environment), CELERY_IS_READY)
    assert node.process.wait(30) == 1
    assert CELERY_IS_READY not in node.logs()
    (said,) = [line for line in node.logs().splitlines() if line.startswith("zea: ")]
    assert "the definitions cannot be compared" in said


@pytest.mark.usefixtures("celery_worker_cluster")
def test_every_process_of_a_pool_has_a_connection_of_its_own(desk: Desk, servers: EmbeddedServers) -> None:
    """The parents connect before they fork."""
    pool = running("worker@", "sweeper@")

    def connected() -> set[int]:
        """Their local ports, of those connections that PostgreSQL knows."""
        found = (each for process in pool for each in process.net_connections("tcp"))
        ours = {each.laddr.port for each in found if each.raddr and each.raddr.port == servers.postgres.port}
        return ours & set(desk.column("SELECT client_port FROM pg_stat_activity"))

    wait_until(lambda: len(connected()) == len(pool), what="a connection for each")


def running(*names: str) -> list[psutil.Process]:
    """The children of this process that are called so, and theirs."""
    ours = psutil.Process(os.getpid()).children()
    named = [process for process in ours if any(name in " ".join(process.cmdline()) for name in names)]
    return [member for process in named for member in family(process.pid)]


@pytest.mark.usefixtures("beat")
def test_an_idle_worker_keeps_its_connection(celery_worker_cluster: CeleryWorkerCluster) -> None:
    """A publish is given up after 0.4 seconds; waiting for work is not."""
    worker, sweeper = (each.container for each in celery_worker_cluster)

    def five_sweeps() -> bool:
        counts = ExecutionClient(registry).census().counts
        return any(each.name == "redrive" and count.total >= 5 for each, count in counts.of(SWEPT))

    wait_until(five_sweeps, 15, "five seconds to pass")
    for node in (worker, sweeper):
        assert node.logs().count("Connected to ") == 1, node.logs()
