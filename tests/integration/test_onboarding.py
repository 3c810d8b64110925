"""Onboarding over HTTP: a profile is asked for, in whatever order it comes, and opens the door to booking."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from tests.integration.conftest import PASSWORD, Person
from tests.integration.test_approvals import assert_events_give_the_rows
from tests.requested_booking import no_notifications_table
from tests.waiting import wait_until
from tests.worker_here import working
from workflows.catalog import registry
from workflows.engine import sweep
from workflows.engine.client import ExecutionClient
from zea.accounts.models import Role
from zea.db import transaction

client = ExecutionClient(registry)
PROFILE = {
    "sport": "Tenis",
    "position": "Singles",
    "objectives": ["mejorar el saque"],
    "experience_level": "intermediate",
    "injury_history": "meniscus, left knee",
    "special_notes": None,
}
STEPS = [
    "validate_registration",
    "request_profile_completion",
    "validate_profile_data",
    "enable_booking_capability",
    "send_welcome_email",
    "track_analytics",
]


@pytest.fixture
def worker(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with working(monkeypatch):
        yield


class Newcomer:
    """Somebody who has just registered."""

    def __init__(self, api: httpx.Client, email: str = "ana@example.com", **more: str) -> None:
        self.api, self.email = api, email
        registered = api.post("/api/auth/register", json={"email": email, "password": PASSWORD, **more}).json()
        self.user_id, self.onboarding = UUID(registered["user_id"]), UUID(registered["onboarding_execution_id"])
        signed_in = api.post("/api/auth/login", data={"username": email, "password": PASSWORD}).json()
        self.headers = {"Authorization": f"Bearer {signed_in['access_token']}"}

    def save(self, wait: int = 10, **changes: Any) -> httpx.Response:
        headers = {**self.headers, "Prefer": f"wait={wait}"}
        return self.api.put("/api/athletes/me/profile", headers=headers, json={**PROFILE, **changes})

    def begin_anew(self, **headers: str) -> httpx.Response:
        return self.api.post("/api/athletes/me/onboarding", headers={**self.headers, **headers})

    def may_book(self) -> bool:
        return bool(self.api.get("/api/me", headers=self.headers).json()["can_book"])

    def told(self) -> list[dict[str, Any]]:
        listed = self.api.get("/api/me/notifications", headers=self.headers).json()["items"]
        assert isinstance(listed, list)
        return listed

    def waits(self) -> None:
        wait_until(lambda: status(self.onboarding) == "waiting_for_approval", what="the profile to be asked for")


def status(execution_id: UUID) -> str:
    return client.get_execution_status(execution_id).status


def ends_as(execution_id: UUID, wanted: str) -> None:
    wait_until(lambda: status(execution_id) == wanted, what=f"{execution_id} to be {wanted}")
    assert_events_give_the_rows(execution_id)


def run_out(execution_id: UUID) -> None:
    """The week is over."""
    over = """
        UPDATE workflow_executions SET wakes_at = clock_timestamp(), state = jsonb_set(
            state, '{approvals,request_profile_completion,expires_at}', to_jsonb(clock_timestamp()))
        WHERE id = :id"""
    with transaction() as db:
        db.execute(text(over), {"id": execution_id})


@pytest.mark.usefixtures("worker")
class TestOnboarding:
    """From registering to booking."""

    def test_a_profile_opens_the_door_to_booking(self, api: httpx.Client) -> None:
        ana = Newcomer(api, locale="en")
        ana.waits()
        assert not ana.may_book()
        (asked,) = ana.told()
        assert (asked["kind"], asked["title"]) == ("profile_wanted", "Complete your profile to start booking")
        saved = ana.save()
        assert saved.json() == {
            "profile": PROFILE,
            "can_book": True,
            "onboarding_execution_id": str(ana.onboarding),
        }
        ends_as(ana.onboarding, "completed")
        assert [each["kind"] for each in ana.told()] == ["welcome", "profile_wanted"]

    def test_its_steps_and_values_are_those_of_the_contract(self, api: httpx.Client) -> None:
        ana = Newcomer(api)
        ana.save()
        ends_as(ana.onboarding, "completed")
        view = client.get_execution_status(ana.onboarding)
        assert [step.step_name for step in view.steps] == STEPS
        assert view.inputs == {"user_id": str(ana.user_id), "email": ana.email}
        assert (view.subject, view.started_by) == (f"user:{ana.user_id}", f"user:{ana.user_id}")
        duration = view.output.pop("duration_seconds")
        assert 0 < duration < 30
        assert view.output == {
            "user_id": str(ana.user_id),
            "email": ana.email,
            "registration_valid": True,
            "request_profile_completion": {**PROFILE, "injury_history": "[personal]"},
            "can_book": True,
            "onboarding_completed": True,
        }

    def test_a_profile_that_is_incomplete_is_refused_and_changes_nothing(self, api: httpx.Client) -> None:
        ana = Newcomer(api)
        ana.waits()
        refused = ana.save(objectives=[])
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "objectives")
        assert status(ana.onboarding) == "waiting_for_approval"

    def test_the_answer_can_come_as_an_approval_and_is_kept_as_the_profile(self, api: httpx.Client) -> None:
        ana = Newcomer(api)
        ana.waits()
        (asked,) = api.get("/api/approvals", headers=ana.headers).json()["items"]
        path = f"/api/approvals/{asked['approval_id']}/approve"
        answered = api.post(path, headers=ana.headers, json={"data": PROFILE})
        assert (answered.status_code, answered.json()["status"]) == (200, "approved")
        ends_as(ana.onboarding, "completed")
        assert api.get(f"/api/athletes/{ana.user_id}/profile", headers=ana.headers).json() == PROFILE

    def test_no_event_and_no_row_of_the_engine_holds_what_is_personal(self, api: httpx.Client) -> None:
        ana = Newcomer(api)
        ana.save()
        ends_as(ana.onboarding, "completed")
        with transaction() as db:
            for table in ("workflow_events", "workflow_executions", "workflow_approvals"):
                everything = db.execute(text(f"SELECT string_agg({table}::text, ' ') FROM {table}")).scalar()
                assert "meniscus" not in str(everything)

    def test_a_profile_that_is_saved_later_only_replaces_the_first(self, api: httpx.Client) -> None:
        ana = Newcomer(api)
        ana.save()
        ends_as(ana.onboarding, "completed")
        again = ana.save(sport="Pádel")
        assert again.json() == {
            "profile": PROFILE | {"sport": "Pádel"},
            "can_book": True,
            "onboarding_execution_id": None,
        }

    def test_a_profile_that_comes_in_time_by_seconds_or_not_at_all_has_one_outcome(self, api: httpx.Client) -> None:
        ana = Newcomer(api)
        ana.waits()
        run_out(ana.onboarding)
        saved = ana.save()
        assert (saved.status_code, saved.json()["can_book"]) == (200, False)
        assert sweep.fire(registry) == 1
        ends_as(ana.onboarding, "failed")


@pytest.mark.usefixtures("worker")
def test_what_fails_after_booking_was_enabled_takes_it_back(api: httpx.Client) -> None:
    ana = Newcomer(api)
    ana.waits()
    with no_notifications_table():
        assert ana.save().status_code == 200
        ends_as(ana.onboarding, "failed")
    view = client.get_execution_status(ana.onboarding)
    statuses = {step.step_name: step.status for step in view.steps}
    assert (statuses["enable_booking_capability"], statuses["send_welcome_email"]) == ("compensated", "failed")
    with transaction() as db:
        user = db.execute(text("SELECT can_book, profile_completed_at FROM users")).one()
    assert tuple(user) == (False, None)
    assert ana.begin_anew().status_code == 201


class TestLate:
    """Never completed: it fails for good after a week, and the athlete may begin anew."""

    @pytest.mark.usefixtures("worker")
    def test_it_fails_and_can_be_begun_anew(self, api: httpx.Client) -> None:
        ana = Newcomer(api)
        ana.waits()
        assert ana.begin_anew().status_code == 409
        run_out(ana.onboarding)
        assert sweep.fire(registry) == 1
        ends_as(ana.onboarding, "failed")
        view = client.get_execution_status(ana.onboarding)
        assert view.error is not None
        assert (view.error.kind, view.resumable) == ("profile_not_completed", False)
        assert not ana.may_book()
        key = {"Idempotency-Key": "once-more"}
        anew = ana.begin_anew(**key)
        assert anew.status_code == 201
        assert ana.begin_anew(**key).json() == anew.json()
        assert ana.begin_anew().status_code == 409
        ana.onboarding = UUID(anew.json()["onboarding_execution_id"])
        assert ana.save().json()["can_book"] is True
        ends_as(ana.onboarding, "completed")
        done = ana.begin_anew()
        assert (done.status_code, done.json()["type"]) == (409, "urn:zea:problem:conflict")

    @pytest.mark.usefixtures("worker")
    def test_it_is_rejected_by_an_admin(self, api: httpx.Client, admin: Person) -> None:
        ana = Newcomer(api)
        ana.waits()
        (asked,) = client.list_approvals().items
        path = f"/api/approvals/{asked.approval_id}/reject"
        assert api.post(path, headers=ana.headers, json={"reason": "no"}).status_code == 403
        assert api.post(path, headers=admin.headers, json={"reason": "a test account"}).status_code == 200
        ends_as(ana.onboarding, "failed")

    def test_begun_twice_at_once_is_one(self, api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
        with working(monkeypatch):
            ana = Newcomer(api)
            ana.waits()
            run_out(ana.onboarding)
            sweep.fire(registry)
            ends_as(ana.onboarding, "failed")
            with ThreadPoolExecutor(4) as pool:
                answers = list(pool.map(lambda _: ana.begin_anew().status_code, range(4)))
            assert sorted(answers) == [201, 409, 409, 409]


class TestProfileFirst:
    """A profile saved before it is asked for is the answer as soon as it is."""

    def test_it_is_found_when_it_is_asked_for(self, api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
        published: list[Any] = []
        monkeypatch.setattr("workflows.engine.dispatch._publish", lambda signature, _: published.append(signature))
        ana = Newcomer(api)
        saved = ana.save(wait=0)
        assert saved.json()["can_book"] is False
        with working(monkeypatch):
            from workflows.engine import dispatch

            for signature in published:
                dispatch._publish(signature, None)  # type: ignore[arg-type]  # the delay is not looked at
            ends_as(ana.onboarding, "completed")
        assert ana.may_book()
        assert [each["kind"] for each in ana.told()] == ["welcome"]

    @pytest.mark.usefixtures("worker")
    def test_whichever_comes_first_it_is_completed(self, api: httpx.Client) -> None:
        """Saved in the same moment in which it is asked for, again and again."""
        for number in range(20):
            ana = Newcomer(api, f"ana-{number}@example.com")
            assert ana.save().json()["can_book"] is True
            ends_as(ana.onboarding, "completed")


class TestReaders:
    """The athlete, coaches with a live booking, and admins."""

    @pytest.mark.usefixtures("worker")
    def test_of_a_profile(self, api: httpx.Client, make_person: Callable[[Role], Person]) -> None:
        ana = Newcomer(api)
        ana.save()
        path = f"/api/athletes/{ana.user_id}/profile"
        for role, expected in ((Role.ATHLETE, 404), (Role.COACH, 404), (Role.ADMIN, 200)):
            assert api.get(path, headers=make_person(role).headers).status_code == expected
        coach = make_person(Role.COACH)
        booking = """
            WITH slot AS (INSERT INTO slots (id, coach_id, starts_at, ends_at, status)
                VALUES (gen_random_uuid(), :coach, now() + interval '1 day', now() + interval '25 hours', 'booked')
                RETURNING id, coach_id, starts_at, ends_at)
            INSERT INTO bookings (id, athlete_id, coach_id, slot_id, starts_at, ends_at, status, execution_id)
            SELECT gen_random_uuid(), :athlete, coach_id, id, starts_at, ends_at, 'PENDING', gen_random_uuid()
            FROM slot"""
        with transaction() as db:
            db.execute(text(booking), {"coach": coach.user_id, "athlete": ana.user_id})
        assert api.get(path, headers=coach.headers).json() == PROFILE
        with transaction() as db:
            db.execute(text("UPDATE bookings SET status = 'CANCELLED', cancelled_at = now(), cancelled_by = 'test'"))
        assert api.get(path, headers=coach.headers).status_code == 404
