"""Waits that outlive everything: whatever is killed, restarted and emptied meanwhile, they go on where they were."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
import redis
from sqlalchemy import text

from tests.benchmarks.seeding import Customer
from tests.conftest import migrated_template
from tests.e2e.conftest import CELERY_IS_READY, Desk
from tests.e2e.nodes import ProcessContainer, StartNode
from tests.waiting import wait_until
from workflows.catalog import registry
from workflows.engine.client import ExecutionClient
from workflows.session_completion import CompletedSession, session_completion
from zea import clock
from zea.accounts import tokens
from zea.accounts.models import Role
from zea.db import transaction
from zea.stack import processes
from zea.stack.servers import EmbeddedServers

MakeCustomer = Callable[[int], Customer]
AT_REST_WITHIN = 30.0
HOUR = timedelta(hours=1)
client = ExecutionClient(registry)
PROFILE = {"sport": "Tenis", "position": "Singles", "objectives": ["saque"], "experience_level": "beginner"}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    """Servers for these tests alone: no other should suffer what is done to them."""
    with EmbeddedServers(tmp_path_factory.mktemp("waits")) as running:
        yield running


@pytest.fixture(scope="module")
def template(servers: EmbeddedServers) -> str:
    return migrated_template(servers)


@pytest.fixture
def system(
    start_node: StartNode, environment: dict[str, str], beat: ProcessContainer, tmp_path: Any
) -> list[ProcessContainer]:
    """All that runs steps and sweeps."""
    nodes = [start_node(make(environment), CELERY_IS_READY) for make in (processes.worker, processes.sweeper)]
    for node in nodes:
        node.ready()
    return [*nodes, beat]


class BookedHour:
    """A confirmed booking of an hour that has just been trained, and the calls of its parties."""

    def __init__(self, desk: Desk, who: Customer) -> None:
        request = next(who.requests)
        booked = desk.book(who, request, Prefer="wait=30")
        assert booked.status_code == 201, booked.text
        self.desk, self.booking_id = desk, booked.json()["booking_id"]
        # The customers' hours are far away: this one was this morning.
        with transaction() as db:
            move = "UPDATE bookings SET starts_at = now(), ends_at = now() + interval '1 hour' WHERE id = :id"
            db.execute(text(move), {"id": self.booking_id})
            row = db.execute(text("SELECT * FROM bookings WHERE id = :id"), {"id": self.booking_id}).one()
        self.athlete_id, self.coach_id = row.athlete_id, row.coach_id
        self.athlete = {"Authorization": f"Bearer {who.token}"}
        self.coach = {"Authorization": f"Bearer {tokens.access_token(row.coach_id, Role.COACH)}"}
        self.execution_id = ""

    def complete(self) -> None:
        now = clock.now()
        times = {"actual_start_time": (now - HOUR).isoformat(), "actual_end_time": now.isoformat()}
        path = f"{self.desk.base_url}/api/bookings/{self.booking_id}/complete"
        done = httpx.post(path, json=times, headers={**self.coach, "Prefer": "wait=30"}, timeout=60)
        assert (done.status_code, done.json().get("billable_minutes")) == (200, 60), done.text
        self.execution_id = done.json()["execution_id"]
        wait_until(lambda: self.desk.status(self.execution_id) == "waiting_for_approval", AT_REST_WITHIN)

    def say(self, headers: dict[str, str], **said: Any) -> httpx.Response:
        body = {"execution_id": self.execution_id, **said}
        return httpx.post(f"{self.desk.base_url}/api/feedback/submit", json=body, headers=headers, timeout=60)

    @property
    def status(self) -> str:
        return str(self.desk.scalar("SELECT status FROM bookings WHERE id = :id", id=self.booking_id))

    def is_over(self) -> bool:
        return self.desk.status(self.execution_id) == "completed"


def test_a_completion_survives_everything_between_its_two_answers(
    desk: Desk,
    system: list[ProcessContainer],
    servers: EmbeddedServers,
    make_customer: MakeCustomer,
) -> None:
    hour = BookedHour(desk, make_customer(1))
    hour.complete()
    assert hour.say(hour.athlete, rating=5, objectives_met=True).status_code == 200
    for node in system:
        node.kill()
    with redis.Redis.from_url(servers.redis_url) as broker:
        broker.flushall()
    servers.postgres.kill()
    servers.postgres.start()
    for node in system:
        node.restart()
    judged = {"performance_rating": 4, "areas_worked": ["saque"], "areas_to_improve": ["volea"]}
    wait_until(lambda: hour.say(hour.coach, **judged).status_code == 200, AT_REST_WITHIN, "the API to be back")
    wait_until(hour.is_over, AT_REST_WITHIN, "the completion to end")
    assert hour.status == "FINALIZED"
    assert (
        desk.scalar("SELECT count(*) FROM workflow_events WHERE type = 'step.completed' AND step = 'record_time'") == 1
    )
    assert desk.column("SELECT rating FROM athlete_feedback") == [5]
    assert desk.column("SELECT performance_rating FROM coach_evaluations") == [4]


@pytest.mark.usefixtures("system")
def test_deadlines_of_seconds_belong_to_one_execution_and_close_the_session(
    desk: Desk, make_customer: MakeCustomer
) -> None:
    hour = BookedHour(desk, make_customer(1))
    now = clock.now()
    inputs = CompletedSession(UUID(hour.booking_id), hour.athlete_id, hour.coach_id, now - HOUR, now)
    own = {"request_athlete_feedback": timedelta(seconds=2), "request_coach_evaluation": timedelta(seconds=3)}
    hour.execution_id = str(client.start(session_completion, inputs, actor="test", timeouts=own).execution_id)
    wait_until(hour.is_over, AT_REST_WITHIN, "the deadlines to pass")
    assert hour.status == "FINALIZED"
    assert desk.column("SELECT status FROM athlete_feedback") == ["no_response_timeout"]
    kinds = desk.column("SELECT kind FROM notifications WHERE kind LIKE '%reminder' ORDER BY kind")
    assert kinds == ["evaluation_reminder", "feedback_reminder"]


@pytest.mark.usefixtures("system")
def test_a_profile_opens_the_door_well_under_a_second(desk: Desk) -> None:
    """Of ten newcomers the median: this machine does other things too."""
    took = []
    for number in range(10):
        account = {"email": f"ana-{number}@example.com", "password": "correct horse battery"}
        with httpx.Client(base_url=desk.base_url, timeout=60) as api:
            assert api.post("/api/auth/register", json=account).status_code == 201
            login = {"username": account["email"], "password": account["password"]}
            token = api.post("/api/auth/login", data=login).json()["access_token"]
            headers = {"Authorization": f"Bearer {token}", "Prefer": "wait=30"}
            began = time.monotonic()
            saved = api.put("/api/athletes/me/profile", json=PROFILE, headers=headers)
            took.append(time.monotonic() - began)
        assert saved.json()["can_book"] is True
    assert sorted(took)[5] < 0.7, took
