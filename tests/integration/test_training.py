"""Completing a session over HTTP: its time at once, what is said of it within days, and its end in any case."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from threading import Event
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from tests.integration.conftest import Person
from tests.integration.test_approvals import assert_events_give_the_rows
from tests.racing import Deadline
from tests.waiting import wait_until
from tests.worker_here import working
from workflows.catalog import registry
from workflows.engine import sweep
from workflows.engine.client import ExecutionClient
from workflows.engine.status import ExecutionView
from workflows.session_completion import CompletedSession, session_completion
from zea import clock
from zea.db import new_id, transaction
from zea.training.service import rounded_minutes

client = ExecutionClient(registry)
HOUR = timedelta(hours=1)
SAID = {"rating": 5, "objectives_met": True, "comments": "my left knee held"}
JUDGED = {
    "performance_rating": 4,
    "areas_worked": ["saque"],
    "areas_to_improve": ["volea"],
    "notes_for_next_session": "watch the left knee",
}


@dataclass
class Session:
    """A confirmed booking, its parties, and its completion once it is there."""

    api: httpx.Client
    booking_id: UUID
    starts_at: datetime
    athlete: Person
    coach: Person
    admin: Person
    execution_id: UUID | None = None

    def complete(
        self, by: Person | None = None, start: timedelta = -2 * HOUR, end: timedelta = -HOUR, **more: Any
    ) -> httpx.Response:
        """``start`` and ``end`` count from now."""
        now, headers = clock.now(), {**(by or self.coach).headers, "Prefer": "wait=10", **more.pop("headers", {})}
        times = {"actual_start_time": (now + start).isoformat(), "actual_end_time": (now + end).isoformat()}
        answer = self.api.post(f"/api/bookings/{self.booking_id}/complete", headers=headers, json={**times, **more})
        if answer.status_code == 200:
            self.execution_id = UUID(answer.json()["execution_id"])
            wait_until(lambda: len(client.list_approvals(pending=True).items) == 2, what="both to be asked")
        return answer

    def say(self, by: Person, **said: Any) -> httpx.Response:
        body = {"execution_id": str(self.execution_id), **said}
        return self.api.post("/api/feedback/submit", headers=by.headers, json=body)

    def feedback(self, by: Person) -> dict[str, Any]:
        answer = self.api.get(f"/api/bookings/{self.booking_id}/feedback", headers=by.headers)
        assert answer.status_code == 200
        return dict(answer.json())

    def booking(self) -> dict[str, Any]:
        return dict(self.api.get(f"/api/bookings/{self.booking_id}", headers=self.coach.headers).json())

    def told(self, person: Person) -> list[str]:
        listed = self.api.get("/api/me/notifications", headers=person.headers).json()["items"]
        return [each["kind"] for each in listed]

    def view(self) -> ExecutionView:
        assert self.execution_id is not None
        return client.get_execution_status(self.execution_id)

    def ends(self) -> ExecutionView:
        wait_until(lambda: self.view().status == "completed", what="the completion to end")
        assert_events_give_the_rows(self.view().execution_id)
        return self.view()

    def run_out(self, name: str, field: str = "expires_at") -> None:
        """The time of this approval, or until its reminder, is over."""
        over = """
            UPDATE workflow_executions SET wakes_at = clock_timestamp(),
                state = jsonb_set(state, :path, to_jsonb(clock_timestamp())) WHERE id = :id"""
        with transaction() as db:
            db.execute(text(over), {"id": self.execution_id, "path": ["approvals", name, field]})
        assert sweep.fire(registry) == 1


def confirmed(athlete: Person, coach: Person, starts_at: datetime) -> UUID:
    """A confirmed booking."""
    slot, booking = new_id(), new_id()
    with transaction() as db:
        db.execute(
            text("""
                INSERT INTO slots (id, coach_id, starts_at, ends_at, status)
                VALUES (:slot, :coach, :starts_at, :ends_at, 'booked')"""),
            {"slot": slot, "coach": coach.user_id, "starts_at": starts_at, "ends_at": starts_at + HOUR},
        )
        db.execute(
            text("""
                INSERT INTO bookings (id, athlete_id, coach_id, slot_id, starts_at, ends_at, status, confirmed_at,
                    execution_id)
                VALUES (:booking, :athlete, :coach, :slot, :starts_at, :ends_at, 'CONFIRMED', now(), :execution)"""),
            {
                "booking": booking,
                "athlete": athlete.user_id,
                "coach": coach.user_id,
                "slot": slot,
                "starts_at": starts_at,
                "ends_at": starts_at + HOUR,
                "execution": new_id(),
            },
        )
    return booking


@pytest.fixture
def session(
    api: httpx.Client, athlete: Person, coach: Person, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Session]:
    starts_at = clock.now() + 3 * HOUR
    with working(monkeypatch):
        yield Session(api, confirmed(athlete, coach, starts_at), starts_at, athlete, coach, admin)


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("urn:zea:problem:")


class TestCompletion:
    """What the coach is paid for is kept at once."""

    def test_keeps_the_time_and_asks_both(self, session: Session) -> None:
        answer = session.complete(start=-2 * HOUR, end=-timedelta(minutes=30), athlete_id=str(session.athlete.user_id))
        assert (answer.status_code, answer.json()["billable_minutes"]) == (200, 90)
        assert answer.json()["message"] == "La sesión quedó registrada. Pedimos su opinión al atleta y al coach."
        booking = session.booking()
        assert (booking["status"], booking["actual_duration_minutes"]) == ("COMPLETED", 90)
        assert session.view().status == "waiting_for_approval"
        assert_events_give_the_rows(session.view().execution_id)
        assert (session.told(session.athlete), session.told(session.coach)) == (
            ["feedback_wanted"],
            ["evaluation_wanted"],
        )
        asked = {each.approval_type: each for each in session.view().approvals}
        feedback, evaluation = asked["athlete_session_feedback"], asked["coach_athlete_evaluation"]
        assert feedback.assignee == f"user:{session.athlete.user_id}"
        assert evaluation.assignee == f"user:{session.coach.user_id}"
        assert feedback.expires_at - feedback.requested_at == pytest.approx(48 * HOUR, abs=timedelta(seconds=5))
        assert evaluation.expires_at - evaluation.requested_at == pytest.approx(7 * 24 * HOUR, abs=timedelta(seconds=5))

    @pytest.mark.parametrize(
        ("times", "field"),
        [
            ({"start": -HOUR, "end": -HOUR}, "actual_end_time"),
            ({"start": -HOUR, "end": -2 * HOUR}, "actual_end_time"),
            ({"start": -13 * HOUR, "end": -HOUR + timedelta(seconds=1)}, "actual_end_time"),
            ({"start": -HOUR, "end": timedelta(minutes=1)}, "actual_end_time"),
            ({"start": -22 * HOUR, "end": -21 * HOUR}, "actual_start_time"),
        ],
        ids=str,
    )
    def test_with_times_that_cannot_be_is_a_422(self, session: Session, times: dict[str, Any], field: str) -> None:
        answer = session.complete(**times)
        assert problem(answer) == (422, "invalid-input")
        assert answer.json()["errors"][0]["field"] == field
        assert session.booking()["status"] == "CONFIRMED"

    def test_before_the_slot_is_fine(self, session: Session) -> None:
        assert session.complete(start=-20 * HOUR, end=-19 * HOUR).status_code == 200

    def test_for_another_athlete_is_a_422(self, session: Session) -> None:
        answer = session.complete(athlete_id=str(session.coach.user_id))
        assert (problem(answer)[0], answer.json()["errors"][0]["field"]) == (422, "athlete_id")

    def test_is_done_once(self, session: Session) -> None:
        assert session.complete().status_code == 200
        assert problem(session.complete()) == (409, "booking-not-confirmed")
        assert len(client.list_executions().items) == 1

    def test_of_a_booking_that_was_moved_meanwhile_is_refused(self, session: Session) -> None:
        """It was looked at before it was moved to a day on which this cannot have been."""
        now = clock.now()
        people = session.athlete.user_id, session.coach.user_id
        inputs = CompletedSession(session.booking_id, *people, now - 2 * HOUR, now - HOUR)
        with transaction() as db:
            days = "interval '9 days'"
            db.execute(text(f"UPDATE bookings SET starts_at = starts_at + {days}, ends_at = ends_at + {days}"))
        execution_id = client.start(session_completion, inputs, actor="test").execution_id
        wait_until(lambda: client.get_execution_status(execution_id).completed_at, what="it to end")
        error = client.get_execution_status(execution_id).error
        assert error is not None
        assert error.kind == "booking_not_confirmed"
        assert session.booking()["status"] == "CONFIRMED"

    def test_that_lost_a_race_is_told_so(self, session: Session) -> None:
        """Both have seen the booking confirmed before either has completed it."""
        assert session.complete().status_code == 200
        now = clock.now()
        people = session.athlete.user_id, session.coach.user_id
        late = CompletedSession(session.booking_id, *people, now - 3 * HOUR, now - HOUR)
        second = client.start(session_completion, late, actor="test").execution_id
        view = client.wait(second, timedelta(seconds=10))
        assert view.error is not None
        assert (view.status, view.error.kind, view.resumable) == ("failed", "booking_not_confirmed", False)
        assert session.booking()["actual_duration_minutes"] == 60

    def test_under_one_key_is_one(self, session: Session) -> None:
        key = {"headers": {"Idempotency-Key": "the-first"}}
        now = clock.now()
        body = {
            "actual_start_time": (now - 2 * HOUR).isoformat(),
            "actual_end_time": (now - HOUR).isoformat(),
        }
        path = f"/api/bookings/{session.booking_id}/complete"
        answers = [
            session.api.post(path, headers={**session.coach.headers, **key["headers"]}, json=body) for _ in range(2)
        ]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].json() == answers[1].json()

    def test_by_an_admin_is_fine_by_others_it_is_not(self, session: Session, make_person: Any) -> None:
        from zea.accounts.models import Role

        assert problem(session.complete(by=session.athlete)) == (403, "forbidden")
        assert problem(session.complete(by=make_person(Role.COACH))) == (404, "not-found")
        assert session.complete(by=session.admin).status_code == 200

    def test_that_is_not_decided_in_time_is_accepted(self, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("workflows.engine.dispatch._publish", lambda *_: None)
        answer = session.complete(headers={"Prefer": "wait=0"})
        assert answer.status_code == 202
        assert answer.headers["Location"] == f"/api/executions/{answer.json()['execution_id']}"


@pytest.mark.parametrize(
    ("seconds", "minutes"), [(29, 0), (30, 1), (89, 1), (90, 2), (5400, 90), (5429.999, 90), (5430, 91)]
)
def test_minutes_are_rounded_half_up(seconds: float, minutes: int) -> None:
    assert rounded_minutes(timedelta(seconds=seconds)) == minutes


class TestFeedback:
    """Each is asked, answers once, and sees the other's answer once the session is closed."""

    def test_of_both_closes_the_session(self, session: Session) -> None:
        session.complete()
        thanks = session.say(session.athlete, **SAID)
        assert (thanks.status_code, thanks.json()) == (200, {"message": "¡Gracias! Tu respuesta quedó registrada."})
        assert session.say(session.coach, **JUDGED).status_code == 200
        view = session.ends()
        assert [step.step_name for step in view.steps] == [
            "record_time",
            "request_athlete_feedback",
            "request_coach_evaluation",
            "finalize_session",
        ]
        assert view.output == {
            "billable_minutes": 60,
            "request_athlete_feedback": {**SAID, "comments": "[personal]"},
            "athlete_feedback_received": True,
            "request_coach_evaluation": {**JUDGED, "notes_for_next_session": "[personal]"},
            "coach_evaluation_received": True,
            "session_finalized": True,
            "has_athlete_feedback": True,
            "has_coach_evaluation": True,
            "has_complete_feedback": True,
        }
        assert session.booking()["status"] == "FINALIZED"

    def test_is_seen_by_the_other_once_the_session_is_closed(self, session: Session) -> None:
        session.complete()
        session.say(session.athlete, **SAID)
        mine, theirs = session.feedback(session.athlete), session.feedback(session.coach)
        assert mine["athlete_feedback"]["comments"] == SAID["comments"]
        assert theirs == {"booking_id": str(session.booking_id), "athlete_feedback": None, "coach_evaluation": None}
        assert session.feedback(session.admin)["athlete_feedback"]["rating"] == 5
        session.say(session.coach, **JUDGED)
        session.ends()
        assert session.feedback(session.coach)["athlete_feedback"]["rating"] == 5
        assert session.feedback(session.athlete)["coach_evaluation"]["areas_worked"] == ["saque"]

    def test_that_does_not_come_closes_the_session_all_the_same(self, session: Session) -> None:
        session.complete()
        session.run_out("request_athlete_feedback")
        assert problem(session.say(session.athlete, **SAID)) == (410, "deadline-passed")
        session.run_out("request_coach_evaluation")
        view = session.ends()
        said = {name: value for name, value in view.output.items() if name.startswith(("has_", "athlete_", "coach_"))}
        assert set(said.values()) == {False}
        found = session.feedback(session.admin)
        assert found["athlete_feedback"]["status"] == "no_response_timeout"
        assert found["coach_evaluation"]["status"] == "no_evaluation_timeout"

    def test_is_reminded_of_once(self, session: Session) -> None:
        session.complete()
        session.run_out("request_athlete_feedback", "remind_at")
        session.run_out("request_coach_evaluation", "remind_at")
        assert session.told(session.athlete) == ["feedback_reminder", "feedback_wanted"]
        assert session.told(session.coach) == ["evaluation_reminder", "evaluation_wanted"]
        assert sweep.fire(registry) == 0

    def test_can_be_declined_by_an_admin(self, session: Session) -> None:
        session.complete()
        for approval in client.list_approvals(pending=True).items:
            path = f"/api/approvals/{approval.approval_id}/reject"
            assert session.api.post(path, headers=session.admin.headers, json={"reason": "moved"}).status_code == 200
        session.ends()
        assert session.feedback(session.admin)["athlete_feedback"]["status"] == "declined"

    def test_is_given_once(self, session: Session) -> None:
        session.complete()
        assert session.say(session.athlete, **SAID).status_code == 200
        again = session.say(session.athlete, rating=1, objectives_met=False)
        assert problem(again) == (409, "already-decided")
        assert session.feedback(session.athlete)["athlete_feedback"]["rating"] == 5

    def test_of_the_other_party_is_not_ones_own_to_give(self, session: Session, make_person: Any) -> None:
        from zea.accounts.models import Role

        session.complete()
        assert problem(session.say(session.coach, **SAID)) == (403, "forbidden")
        assert problem(session.say(session.athlete, **JUDGED)) == (403, "forbidden")
        assert problem(session.say(make_person(Role.ATHLETE), **SAID)) == (404, "not-found")
        assert session.say(session.admin, **SAID).status_code == 200
        assert session.view().approvals[0].decided_by in {f"user:{session.admin.user_id}", None}

    @pytest.mark.parametrize(
        ("changes", "field"),
        [({"rating": 6}, "rating"), ({"rating": None}, "rating"), ({"colour": "red"}, "colour")],
        ids=str,
    )
    def test_that_is_none_is_a_422(self, session: Session, changes: dict[str, Any], field: str) -> None:
        session.complete()
        answer = session.say(session.athlete, **{**SAID, **changes})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
        missing = session.say(session.athlete, rating=5)
        assert (missing.status_code, missing.json()["errors"][0]["field"]) == (422, "objectives_met")

    def test_on_nothing_is_a_404(self, session: Session) -> None:
        session.execution_id = new_id()
        assert problem(session.say(session.athlete, **SAID)) == (404, "not-found")

    def test_is_personal(self, session: Session) -> None:
        session.complete()
        session.say(session.athlete, **SAID)
        session.say(session.coach, **JUDGED)
        session.ends()
        with transaction() as db:
            for table in ("workflow_events", "workflow_executions", "workflow_approvals"):
                everything = db.execute(text(f"SELECT string_agg({table}::text, ' ') FROM {table}")).scalar()
                assert "knee" not in str(everything)


class TestApprovals:
    """The same by the approvals' own door."""

    def test_are_listed_for_whoever_is_asked(self, session: Session) -> None:
        session.complete()
        for person in (session.athlete, session.coach):
            (mine,) = session.api.get("/api/approvals", headers=person.headers).json()["items"]
            assert mine["assignee"] == f"user:{person.user_id}"
            path = f"/api/approvals/{mine['approval_id']}"
            assert session.api.get(path, headers=person.headers).json()["status"] == "pending"
            other = session.coach if person is session.athlete else session.athlete
            assert problem(session.api.get(path, headers=other.headers)) == (404, "not-found")
            answer = session.api.post(f"{path}/approve", headers=other.headers, json={"data": SAID})
            assert problem(answer) == (404, "not-found")
        assert len(session.api.get("/api/approvals", headers=session.admin.headers).json()["items"]) == 2

    def test_are_part_of_the_execution_each_sees_their_own(self, session: Session) -> None:
        session.complete()
        for person, count in ((session.athlete, 1), (session.coach, 1), (session.admin, 2)):
            view = session.api.get(f"/api/executions/{session.execution_id}", headers=person.headers).json()
            assert len(view["approvals"]) == count
            assert view["approvals"][0]["remaining_seconds"] > 3600

    def test_name_the_field_of_a_wrong_answer(self, session: Session) -> None:
        session.complete()
        (mine,) = session.api.get("/api/approvals", headers=session.athlete.headers).json()["items"]
        path = f"/api/approvals/{mine['approval_id']}/approve"
        answer = session.api.post(path, headers=session.athlete.headers, json={"data": {**SAID, "rating": 9}})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "data.rating")
        assert session.api.post(path, headers=session.athlete.headers, json={"data": SAID}).json()["data"] == {
            **SAID,
            "comments": "[personal]",
        }


def read_stream(session: Session, person: Person, **options: Any) -> list[tuple[str, str]]:
    """The names and ids of what the stream tells until it ends."""
    path = f"/api/executions/{session.execution_id}/watch"
    with session.api.stream("GET", path, headers={**person.headers, **options.pop("headers", {})}, **options) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        blocks = "".join(stream.iter_text()).split("\n\n")
    told = [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks if block.startswith("id")]
    # As everywhere else in JSON, moments are ISO 8601.
    assert all("T" in json.loads(each["data"])["at"] for each in told)
    end = [block for block in blocks if block.startswith("event: end")]
    assert len(end) == 1
    return [(each["event"], each["id"]) for each in told]


class TestWatching:
    """Every event once, from any position, until the execution ends."""

    def test_tells_what_happens_until_the_end(self, session: Session) -> None:
        session.complete()
        with ThreadPoolExecutor() as pool:
            reading = pool.submit(read_stream, session, session.athlete)
            session.say(session.athlete, **SAID)
            session.say(session.coach, **JUDGED)
            told = reading.result(20)
        events = client.events(session.view().execution_id)
        assert told == [(event.type, str(event.position)) for event in events]
        assert told[-1][0] == "execution.completed"

    def test_goes_on_where_it_was(self, session: Session) -> None:
        session.complete()
        session.say(session.athlete, **SAID)
        session.say(session.coach, **JUDGED)
        session.ends()
        everything = read_stream(session, session.admin)
        assert read_stream(session, session.admin, params={"after": 3}) == everything[3:]
        assert read_stream(session, session.admin, headers={"Last-Event-ID": "5"}) == everything[5:]
        assert read_stream(session, session.admin, params={"after": 10_000}) == []

    def test_by_too_many_is_told_to_come_back(self, session: Session, app: FastAPI) -> None:
        session.complete()
        app.state.watchers = asyncio.Semaphore(0)
        path = f"/api/executions/{session.execution_id}/watch"
        answer = session.api.get(path, headers=session.athlete.headers)
        assert problem(answer) == (503, "unreachable")
        assert answer.headers["Retry-After"]

    def test_is_for_those_who_may_see_it(self, session: Session, make_person: Any) -> None:
        from zea.accounts.models import Role

        session.complete()
        path = f"/api/executions/{session.execution_id}/watch"
        assert problem(session.api.get(path)) == (401, "unauthenticated")
        assert problem(session.api.get(path, headers=make_person(Role.COACH).headers)) == (404, "not-found")


TIMES = 200


@pytest.mark.timeout(180)
def test_feedback_in_the_moment_of_its_deadline_has_one_outcome(session: Session) -> None:
    """The same for whoever sends it, the events and the feedback's row, and there are both."""
    outcomes: Counter[tuple[int, str]] = Counter()
    deadline = Deadline(0.06)
    for number in range(TIMES):
        begins = session.starts_at + (number + 1) * HOUR
        booking = confirmed(session.athlete, session.coach, begins)
        people = session.athlete.user_id, session.coach.user_id
        completed = CompletedSession(booking, *people, begins, begins + HOUR)
        own = {"request_athlete_feedback": timedelta(seconds=deadline.seconds)}
        execution = client.start(session_completion, completed, actor="test", timeouts=own).execution_id
        wait_until(partial(asked_athlete, execution), what="the athlete to be asked")
        status = submit_and_sweep(session, execution, pause=(number % 8) / 100)
        with transaction() as db:
            said = "SELECT status FROM athlete_feedback WHERE booking_id = :id"
            row = db.execute(text(said), {"id": booking}).scalar_one()
        (fact,) = [
            event.type for event in client.events(execution) if event.type in ("approval.approved", "approval.expired")
        ]
        assert (status, row, fact) in (
            (200, "received", "approval.approved"),
            (410, "no_response_timeout", "approval.expired"),
        )
        deadline.learn(status == 200)
        outcomes[status, row] += 1
    assert len(outcomes) == 2, outcomes


def asked_athlete(execution_id: UUID, *statuses: str) -> bool:
    asked = (each for each in client.approvals_of(execution_id) if each.approval_type == "athlete_session_feedback")
    return any(not statuses or each.status in statuses for each in asked)


def submit_and_sweep(session: Session, execution_id: UUID, pause: float) -> int:
    """Submit after a pause while a sweep comes by again and again; how the submission is answered."""
    done = Event()

    def sweep_until_done() -> None:
        while not done.is_set() or asked_athlete(execution_id, "pending"):
            sweep.fire(registry)

    with ThreadPoolExecutor() as pool:
        sweeping = pool.submit(sweep_until_done)
        time.sleep(pause)
        body = {"execution_id": str(execution_id), "rating": 3, "objectives_met": False}
        answer = session.api.post("/api/feedback/submit", headers=session.athlete.headers, json=body)
        done.set()
        sweeping.result(20)
    return answer.status_code
