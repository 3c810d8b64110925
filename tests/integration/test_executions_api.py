"""How executions are seen: by whoever started them, by the parties, by admins, and on the command line."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from tests.integration.conftest import Person
from tests.requested_booking import (
    NOTES,
    RequestedBooking,
    become_unknown,
    completed_booking,
    confirmed_booking,
    failed_booking,
    requested_booking,
    sleeping_booking,
)
from workflows.booking_request import booking_request
from workflows.engine.policy import Retry
from zea import clock
from zea.accounts.models import Role
from zea.cli.app import app as command_line
from zea.cli.app import exit_code
from zea.db import transaction
from zea.errors import NotFound, Unreachable


@pytest.fixture
def booked(database: str) -> RequestedBooking:
    return completed_booking()


@pytest.fixture
def sleeping(database: str, monkeypatch: pytest.MonkeyPatch) -> RequestedBooking:
    """What failed for a passing reason is tried again in an hour."""
    monkeypatch.setattr(Retry, "delay_after", lambda *_: timedelta(hours=1))
    return sleeping_booking()


def test_an_admin_sees_values_and_parties_see_statuses(
    api: httpx.Client, booked: RequestedBooking, admin: Person, make_person: Callable[[Role], Person]
) -> None:
    path = booked.path
    for_admin = api.get(path, headers=admin.headers).json()
    assert for_admin["status"] == "completed"
    assert for_admin["progress_percentage"] == 100.0
    assert for_admin["output"]["status"] == "CONFIRMED"
    assert for_admin["inputs"]["coach_id"] == str(booked.coach_id)
    assert for_admin["subject"] == f"booking:{for_admin['output']['booking_id']}"
    for party in booked.parties.values():
        for_party = api.get(path, headers=party).json()
        assert [step["status"] for step in for_party["steps"]] == ["completed"] * 8
        assert for_party["inputs"] == for_party["output"] == for_party["steps"][0]["output"] == {}
        events = api.get(f"{path}/events", headers=party).json()["items"]
        assert events[0]["type"] == "execution.started"
        assert {str(event["data"]) for event in events} == {"{}"}
        # Which machine did it is nothing to a party.
        assert events[-1]["actor"] == "worker"
    for role in (Role.ATHLETE, Role.COACH):
        assert api.get(path, headers=make_person(role).headers).status_code == 404
        assert api.get(f"{path}/events", headers=make_person(role).headers).status_code == 404
    assert api.get(path).status_code == 401


def test_nobody_sees_the_notes_in_an_execution(api: httpx.Client, booked: RequestedBooking, admin: Person) -> None:
    path = booked.path
    shown = api.get(path, headers=admin.headers)
    assert shown.json()["inputs"]["athlete_notes"] == "[personal]"
    assert NOTES not in shown.text + api.get(f"{path}/events", headers=admin.headers).text
    with transaction() as db:
        coach = db.execute(text("SELECT body FROM notifications WHERE kind = 'booking_received'")).scalar_one()
        assert NOTES in coach
        stored = db.execute(text("SELECT row_to_json(e)::text FROM workflow_events e")).scalars().all()
        assert NOTES not in "".join(stored)


def test_only_an_admin_lists_executions_and_pages_through_them(
    api: httpx.Client, booked: RequestedBooking, admin: Person, athlete: Person
) -> None:
    others = [completed_booking().execution_id for _ in range(2)]
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
        ({"status": "running"}, 0),
        ({"status": "sleeping"}, 0),
        ({"status": "compensating"}, 0),
        ({"status": "cancelled"}, 0),
        ({"error_kind": "slot_unavailable"}, 0),
        ({"from": "2026-01-01T00:00:00Z"}, 1),
        ({"to": "2026-01-01T00:00:00Z"}, 0),
    ],
)
def test_executions_are_found_by(
    api: httpx.Client, booked: RequestedBooking, admin: Person, query: dict[str, str], found: int
) -> None:
    assert len(api.get("/api/executions", params=query, headers=admin.headers).json()["items"]) == found


def test_a_filter_that_cannot_be_is_refused(api: httpx.Client, admin: Person) -> None:
    for query in ({"status": "lost"}, {"from": "2026-01-01T00:00:00"}, {"limit": 0}, {"cursor": "?"}):
        answer = api.get("/api/executions", params=query, headers=admin.headers)
        assert answer.status_code == 422, query
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_events_are_paged_by_position(api: httpx.Client, booked: RequestedBooking, admin: Person) -> None:
    path = f"{booked.path}/events"
    first = api.get(path, params={"limit": 4}, headers=admin.headers).json()
    rest = api.get(path, params={"cursor": first["next_cursor"]}, headers=admin.headers).json()
    positions = [event["position"] for event in first["items"] + rest["items"]]
    assert positions == list(range(1, 11))
    assert rest["next_cursor"] is None


def ids(page: httpx.Response) -> list[str]:
    return [item["execution_id"] for item in page.json()["items"]]


def test_what_has_not_ended_is_active(
    api: httpx.Client, admin: Person, booked: RequestedBooking, sleeping: RequestedBooking
) -> None:
    failed, running = failed_booking(), requested_booking()
    assert api.get(failed.path, headers=admin.headers).json()["status"] == "failed"
    active = api.get("/api/executions/active", headers=admin.headers)
    assert ids(active) == [str(running.execution_id), str(sleeping.execution_id)]
    assert [item["status"] for item in active.json()["items"]] == ["running", "sleeping"]
    for status, found in (("sleeping", sleeping), ("running", running), ("failed", failed), ("completed", booked)):
        page = api.get("/api/executions", params={"status": status}, headers=admin.headers)
        assert ids(page) == [str(found.execution_id)], status


def test_active_executions_are_paged_and_for_admins_only(api: httpx.Client, admin: Person, athlete: Person) -> None:
    running = [str(requested_booking().execution_id) for _ in range(3)]
    path = "/api/executions/active"
    first = api.get(path, params={"limit": 2}, headers=admin.headers)
    rest = api.get(path, params={"limit": 2, "cursor": first.json()["next_cursor"]}, headers=admin.headers)
    assert ids(first) + ids(rest) == running[::-1]
    assert rest.json()["next_cursor"] is None
    assert api.get(path, headers=athlete.headers).status_code == 403
    assert api.get(path).status_code == 401
    assert api.get(path, params={"cursor": "?"}, headers=admin.headers).status_code == 422


def test_what_an_execution_waits_for_is_shown_to_its_parties_too(
    api: httpx.Client, admin: Person, sleeping: RequestedBooking
) -> None:
    for caller in (admin.headers, *sleeping.parties.values()):
        shown = api.get(sleeping.path, headers=caller).json()
        assert [timer["timer"] for timer in shown["timers"]] == ["notify_athlete", "notify_coach"]
        assert 3500 < shown["timers"][0]["remaining_seconds"] <= 3600
        assert [step["status"] for step in shown["steps"][-2:]] == ["waiting", "waiting"]


def test_parties_are_not_told_what_broke_inside(api: httpx.Client, admin: Person) -> None:
    failed = failed_booking()
    for_admin = api.get(failed.path, headers=admin.headers).json()
    assert for_admin["error"]["kind"] == "database_error"
    assert for_admin["steps"][-1]["error"]["traceback"]
    with transaction() as db:
        # As after a compensation: not to be resumed, though nothing was refused.
        db.execute(text("""UPDATE workflow_executions SET error = error || '{"resumable": false}'"""))
    assert not api.get(failed.path, headers=admin.headers).json()["resumable"]
    for party in failed.parties.values():
        shown = api.get(failed.path, headers=party)
        assert (shown.json()["status"], shown.json()["error"]) == ("failed", None)
        assert "database_error" not in shown.text
        assert "Traceback" not in shown.text + api.get(f"{failed.path}/events", headers=party).text


def test_an_execution_of_a_version_that_is_not_known_here_is_shown_as_such(
    api: httpx.Client, admin: Person, booked: RequestedBooking
) -> None:
    assert api.get(booked.path, headers=admin.headers).json()["workflow_known"] is True
    become_unknown(booked.execution_id)
    (listed,) = api.get("/api/executions", headers=admin.headers).json()["items"]
    assert (listed["workflow_version"], listed["workflow_known"]) == (7, False)
    shown = api.get(booked.path, headers=admin.headers).json()
    assert (shown["workflow_version"], shown["workflow_known"], shown["status"]) == (7, False, "completed")
    assert sorted(step["step_name"] for step in shown["steps"]) == sorted(step.name for step in booking_request.steps)
    assert api.get(booked.path, headers=booked.parties[Role.ATHLETE]).json()["steps"][0]["output"] == {}


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(command_line, list(arguments))


def test_the_command_line_lists_shows_and_tells(booked: RequestedBooking) -> None:
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


def test_the_command_line_lists_by_error_and_time(booked: RequestedBooking) -> None:
    failed = failed_booking().execution_id

    def listed(*options: str) -> list[str]:
        return [each["execution_id"] for each in json.loads(invoke("list", *options, "--json").stdout)["items"]]

    assert listed("--error-kind", "database_error") == [str(failed)]
    today, tomorrow = clock.now().date(), clock.now().date() + timedelta(days=1)
    assert listed("--from", str(today)) == [str(failed), str(booked.execution_id)]
    assert listed("--from", str(tomorrow)) == listed("--to", f"{today}T00:00:00") == []
    assert invoke("list", "--from", "yesterday").exit_code == 2


def test_the_command_line_says_how_it_went_by_its_exit_code(database: str) -> None:
    unknown = invoke("status", "01890000-0000-7000-8000-000000000001")
    assert isinstance(unknown.exception, NotFound)
    assert exit_code(unknown.exception) == 1
    assert invoke("status", "no-id").exit_code == 2
    assert invoke("list", "--status", "lost").exit_code == 2
    assert exit_code(Unreachable()) == 3


def test_the_command_line_shows_what_is_active(booked: RequestedBooking, sleeping: RequestedBooking) -> None:
    running = requested_booking().execution_id
    listed = json.loads(invoke("active", "--json").stdout)
    assert [item["execution_id"] for item in listed["items"]] == [str(running), str(sleeping.execution_id)]
    first = invoke("active", "--limit", "1")
    assert str(running) in first.stdout
    assert str(sleeping.execution_id) not in first.stdout
    cursor = first.stdout.rpartition("--cursor ")[2].strip()
    rest = invoke("active", "--cursor", cursor).stdout
    assert str(sleeping.execution_id) in rest
    assert str(running) not in rest


def test_the_command_line_shows_a_version_that_is_not_known_here(booked: RequestedBooking) -> None:
    assert "BookingRequest v1 " in invoke("list").stdout
    become_unknown(booked.execution_id)
    for arguments in (["list"], ["status", str(booked.execution_id)]):
        assert "BookingRequest v7 (unknown here)" in invoke(*arguments).stdout
    listed = json.loads(invoke("list", "--json").stdout)
    assert listed["items"][0]["workflow_known"] is False


def test_the_command_line_says_that_a_version_that_is_not_known_here_is_resumed_elsewhere(database: str) -> None:
    failed = failed_booking().execution_id
    become_unknown(failed)
    shown = invoke("status", str(failed)).stdout
    assert "zea resume" not in shown
    assert "with the one that does" in shown


def test_the_command_line_shows_what_is_waited_for(sleeping: RequestedBooking) -> None:
    shown = invoke("status", str(sleeping.execution_id)).stdout
    assert shown.count(" waits until 2") == 2
    assert "notify_coach waits until" in shown
    assert "waiting" in shown
    events = invoke("events", str(sleeping.execution_id)).stdout
    assert ": deadlock detected (40P01), again in 3600.0 s" in events
    assert "notify_coach, until 2" in events


def test_the_command_line_says_whether_it_can_be_resumed(database: str) -> None:
    failed = failed_booking().execution_id
    shown = invoke("status", str(failed)).stdout
    assert f"It can be resumed: zea resume {failed}" in shown
    assert 'database_error: relation "notifications" does not exist (42P01)' in shown
    assert 'database_error: relation "notifications" does not exist (42P01)' in invoke("events", str(failed)).stdout
    assert "resume" not in invoke("status", str(confirmed_booking().execution_id)).stdout
