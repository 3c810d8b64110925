"""Clients that book over HTTP without a break while what serves them is replaced."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from threading import Event
from types import TracebackType
from typing import NamedTuple, Self

import httpx

from tests.benchmarks.seeding import Customer, customer
from tests.e2e.conftest import Desk
from tests.e2e.journal import column
from tests.e2e.test_booking import AT_REST_WITHIN, assert_booked_once
from tests.waiting import wait_until
from zea.db import new_id

CLIENTS, BOOKINGS_EACH = 3, 300
# Seconds for a test that starts many processes one after the other: a busy machine takes many for each.
STARTS_MANY = 400
# Nobody asks for more than is done meanwhile, however slow the machine is.
PAUSE = 0.25  # seconds between two bookings of a client
MOST_UNDER_WAY = 9
UNDER_WAY = "SELECT count(*) FROM workflow_executions WHERE completed_at IS NULL OR due_at IS NOT NULL"
MOST_TRIES = 500  # at doors that are closed, for one booking


class Answer(NamedTuple):
    """What came back for one booking, and from where."""

    door: str
    status: int
    execution_id: str


class Stream:
    """Clients that book one hour after the other until the block ends.

    Each goes to the ``doors`` in turn, and with the same key to the next one when nobody answers, as clients and load
    balancers do. ``doors`` may be replaced meanwhile.
    """

    def __init__(self, *doors: str) -> None:
        self.doors: Sequence[str] = doors
        self.answers: list[Answer] = []
        self.unanswered: Counter[str] = Counter()
        self._customers = [customer(BOOKINGS_EACH) for _ in range(CLIENTS)]
        self._turn = count()
        self._is_over = Event()
        self._pool = ThreadPoolExecutor(CLIENTS)
        self._clients: list[Future[None]] = []

    def __enter__(self) -> Self:
        self._clients = [self._pool.submit(self._book_on, who) for who in self._customers]
        return self

    def __exit__(self, _: object, error: BaseException | None, __: TracebackType | None) -> None:
        self._is_over.set()
        self._pool.shutdown()
        if error is None:
            self.assert_goes_on()

    def wait_for(self, more: int = CLIENTS) -> None:
        """Until so many more bookings have been answered."""
        enough = len(self.answers) + more

        def has_come() -> bool:
            self.assert_goes_on()
            return len(self.answers) >= enough

        wait_until(has_come, 30, f"{more} more bookings")

    def statuses(self) -> set[int]:
        return {answer.status for answer in self.answers}

    def assert_goes_on(self) -> None:
        for client in self._clients:
            if client.done():
                client.result()

    def assert_each_is_booked_once(self) -> None:
        """Whatever was answered was accepted, each booking is there once, paid once, told once, and all have ended."""
        assert self.statuses() <= {201, 202}, Counter(self.answers)
        accepted = {answer.execution_id for answer in self.answers}
        assert len(accepted) == len(self.answers)
        desk = Desk(self.doors[0])
        wait_until(lambda: column(UNDER_WAY) == [0], AT_REST_WITHIN, "every execution to end")
        assert column("SELECT DISTINCT status FROM workflow_executions") == ["completed"]
        assert set(map(str, column("SELECT id FROM workflow_executions"))) == accepted
        assert_booked_once(desk, len(accepted))

    def _book_on(self, who: Customer) -> None:
        with httpx.Client(timeout=60, headers={"Authorization": f"Bearer {who.token}"}) as client:
            for request in who.requests:
                self.answers.append(self._book(client, request))
                while self._is_over.wait(PAUSE) or column(UNDER_WAY) > [MOST_UNDER_WAY]:
                    if self._is_over.is_set():
                        return
        raise AssertionError("There are too few hours to book.")

    def _book(self, client: httpx.Client, request: dict[str, str]) -> Answer:
        key = {"Idempotency-Key": str(new_id())}
        for _ in range(MOST_TRIES):
            door = self.doors[next(self._turn) % len(self.doors)]
            try:
                response = client.post(f"{door}/api/bookings", json=request, headers=key)
            except httpx.TransportError as error:
                self.unanswered[type(error).__name__] += 1
            else:
                return Answer(door, response.status_code, response.json().get("execution_id", response.text))
        raise AssertionError(f"Nobody answers at {self.doors}.")
