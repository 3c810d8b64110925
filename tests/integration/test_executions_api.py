"""How executions are seen: by whoever started them, by the parties, by admins, and on the command line."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from tests.benchmarks.seeding import customer
from workflows.booking_request import BookingRequest, booking_request
from workflows.catalog import registry
from workflows.engine.client import ExecutionClient
from workflows.engine.runner import Delivery, Runner
from zea.accounts import tokens
from zea.accounts.models import Role
from zea.cli.app import app as command_line
from zea.cli.app import exit_code
from zea.db import transaction
from zea.errors import NotFound, Unreachable

UNITS = ("validate_slot_to_confirm_booking", "notify_coach", "notify_athlete")
NOTES = "my left knee hurts"


def run(execution_id: UUID) -> None:
    for unit in UNITS:
        Runner(registry, "worker:test").run(Delivery(booking_request.name, unit, execution_id, 1))


def headers(user_id: Any, role: Role) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens.access_token(user_id, role)}"}


class Booked:
    """A booking that was made, and who has to do with it."""

    def __init__(self) -> None:
        request = next(customer(1).requests)
        with transaction() as db:
            query = text("SELECT athlete_id FROM credit_accounts ORDER BY athlete_id DESC LIMIT 1")
            self.athlete_id = db.execute(query).scalar_one()
        self.coach_id = UUID(request["coach_id"])
        starts_at = datetime.fromisoformat(request["slot_datetime"])
        inputs = BookingRequest(self.athlete_id, self.coach_id, starts_at, NOTES)
        client = ExecutionClient(registry)
        self.execution_id = client.start(booking_request, inputs, actor=f"user:{self.athlete_id}").execution_id
        run(self.execution_id)


@pytest.fixture
def booked(database: str) -> Booked:
    return Booked()


def test_an_admin_sees_values_and_parties_see_statuses(
    api: httpx.Client, booked: Booked, admin: Any, make_person: Callable[[Role], Any]
) -> None:
    path = f"/api/executions/{booked.execution_id}"
    for_admin = api.get(path, headers=admin.headers).json()
    assert for_admin["status"] == "completed"
    assert for_admin["progress_percentage"] == 100.0
    assert for_admin["output"]["status"] == "CONFIRMED"
    assert for_admin["inputs"]["coach_id"] == str(booked.coach_id)
    assert for_admin["subject"] == f"booking:{for_admin['output']['booking_id']}"
    for user_id, role in ((booked.athlete_id, Role.ATHLETE), (booked.coach_id, Role.COACH)):
        for_party = api.get(path, headers=headers(user_id, role)).json()
        assert [step["status"] for step in for_party["steps"]] == ["completed"] * 8
        assert for_party["inputs"] == for_party["output"] == for_party["steps"][0]["output"] == {}
        events = api.get(f"{path}/events", headers=headers(user_id, role)).json()["items"]
        assert events[0]["type"] == "execution.started"
        assert {str(event["data"]) for event in events} == {"{}"}
    for role in (Role.ATHLETE, Role.COACH):
        assert api.get(path, headers=make_person(role).headers).status_code == 404
        assert api.get(f"{path}/events", headers=make_person(role).headers).status_code == 404
    assert api.get(path).status_code == 401


def test_nobody_sees_the_notes_in_an_execution(api: httpx.Client, booked: Booked, admin: Any) -> None:
    path = f"/api/executions/{booked.execution_id}"
    shown = api.get(path, headers=admin.headers)
    assert shown.json()["inputs"]["athlete_notes"] == "[personal]"
    assert NOTES not in shown.text + api.get(f"{path}/events", headers=admin.headers).text
    with transaction() as db:
        coach = db.execute(text("SELECT body FROM notifications WHERE kind = 'booking_received'")).scalar_one()
        assert NOTES in coach
        stored = db.execute(text("SELECT row_to_json(e)::text FROM workflow_events e")).scalars().all()
        assert NOTES not in "".join(stored)


def test_only_an_admin_lists_executions_and_pages_through_them(
    api: httpx.Client, booked: Booked, admin: Any, athlete: Any
) -> None:
    others = [Booked().execution_id for _ in range(2)]
    assert api.get("/api/executions", headers=athlete.headers).status_code == 403
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = api.get("/api/executions", params={"limit": 2, **cursor}, headers=admin.headers).json()
        seen += [item["execution_id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == [str(each) for each in [*reversed(others), booked.execution_id]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"status": "completed"}, 1),
        ({"status": "failed"}, 0),
        ({"workflow": "zea_sport.BookingRequest"}, 1),
        ({"workflow": "zea_sport.Nothing"}, 0),
        ({"subject": "booking:nothing"}, 0),
        ({"error_kind": "slot_unavailable"}, 0),
        ({"from": "2026-01-01T00:00:00Z"}, 1),
        ({"to": "2026-01-01T00:00:00Z"}, 0),
    ],
)
def test_executions_are_found_by(
    api: httpx.Client, booked: Booked, admin: Any, query: dict[str, str], found: int
) -> None:
    assert len(api.get("/api/executions", params=query, headers=admin.headers).json()["items"]) == found


def test_a_filter_that_cannot_be_is_refused(api: httpx.Client, admin: Any) -> None:
    for query in ({"status": "lost"}, {"from": "2026-01-01T00:00:00"}, {"limit": 0}, {"cursor": "?"}):
        answer = api.get("/api/executions", params=query, headers=admin.headers)
        assert answer.status_code == 422, query
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_events_are_paged_by_position(api: httpx.Client, booked: Booked, admin: Any) -> None:
    path = f"/api/executions/{booked.execution_id}/events"
    first = api.get(path, params={"limit": 4}, headers=admin.headers).json()
    rest = api.get(path, params={"cursor": first["next_cursor"]}, headers=admin.headers).json()
    positions = [event["position"] for event in first["items"] + rest["items"]]
    assert positions == list(range(1, 11))
    assert rest["next_cursor"] is None


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(command_line, list(arguments))


def test_the_command_line_lists_shows_and_tells(booked: Booked) -> None:
    listed = json.loads(invoke("list", "--json").stdout)
    assert [item["execution_id"] for item in listed["items"]] == [str(booked.execution_id)]
    assert listed["next_cursor"] is None
    status = json.loads(invoke("status", str(booked.execution_id), "--json").stdout)
    assert (status["status"], status["current_step_name"], len(status["steps"])) == ("completed", None, 8)
    events = json.loads(invoke("events", str(booked.execution_id), "--json").stdout)
    assert [event["type"] for event in events["items"]][-1] == "execution.completed"
    for arguments in (["list"], ["status", str(booked.execution_id)], ["events", str(booked.execution_id)]):
        shown = invoke(*arguments)
        assert shown.exit_code == 0
        assert "completed" in shown.stdout
        assert NOTES not in shown.stdout


def test_the_command_line_says_how_it_went_by_its_exit_code(database: str) -> None:
    unknown = invoke("status", "01890000-0000-7000-8000-000000000001")
    assert isinstance(unknown.exception, NotFound)
    assert exit_code(unknown.exception) == 1
    assert invoke("status", "no-id").exit_code == 2
    assert invoke("list", "--status", "lost").exit_code == 2
    assert exit_code(Unreachable()) == 3
