"""What admins do to executions, over HTTP and on the command line, and who is told what of it."""

import json
import os
import pwd
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from tests.integration.conftest import Person
from tests.requested_booking import (
    BLOCK,
    NOTIFICATIONS,
    RequestedBooking,
    become_unknown,
    client,
    completed_booking,
    confirmed_booking,
    deliver,
    failed_booking,
    refused_booking,
    requested_booking,
    sleeping_booking,
)
from tests.waiting import wait_until
from workflows.catalog import registry
from workflows.engine import interventions, store
from workflows.engine.policy import Retry
from workflows.engine.status import ExecutionView
from zea import config, db
from zea.accounts.models import Role
from zea.cli.app import main
from zea.db import transaction
from zea.errors import Busy, StaleMessage

REASON = "the coach asked for it"
NOWHERE = UUID("01890000-0000-7000-8000-000000000001")
OPERATOR = f"cli:{pwd.getpwuid(os.getuid()).pw_name}"

MakePerson = Callable[[Role], Person]


class Ran(NamedTuple):
    """What a command came to."""

    exit_code: int
    output: str
    complaint: str


@pytest.fixture
def zea(database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """The command line, to its exit code."""

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["zea", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Ran(int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interventions, "STEP_PATIENCE", timedelta(milliseconds=50))


@pytest.fixture
def retried_in_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Retry, "delay_after", lambda *_: timedelta(hours=1))


def status(execution_id: UUID) -> ExecutionView:
    return client.get_execution_status(execution_id)


def happened(execution_id: UUID, type: str) -> tuple[str, dict[str, Any]]:
    """Who did it, and the data: of the only event of this type."""
    (event,) = [event for event in client.events(execution_id) if event.type == type]
    return event.actor, event.data


def told(execution_id: UUID) -> list[str]:
    """Which notifications the execution wrote."""
    with transaction() as handle:
        query = text("SELECT kind FROM notifications WHERE execution_id = :id ORDER BY kind")
        return list(handle.execute(query, {"id": execution_id}).scalars())


def problem(answer: httpx.Response, status: int, kind: str) -> str:
    """What the problem says."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:zea:problem:{kind}"
    return str(answer.json()["detail"])


def post(api: httpx.Client, person: Person, execution_id: object, what: str, **body: Any) -> httpx.Response:
    return api.post(f"/api/executions/{execution_id}/{what}", json=body, headers=person.headers)


def rerun(api: httpx.Client, admin: Person, execution_id: UUID, key: str, **body: Any) -> httpx.Response:
    headers = admin.headers | {"Idempotency-Key": key}
    return api.post(f"/api/executions/{execution_id}/rerun", json={"reason": REASON} | body, headers=headers)


# Resume


def test_what_has_failed_is_resumed_and_completes(api: httpx.Client, admin: Person) -> None:
    failed = failed_booking().execution_id
    assert (status(failed).status, told(failed)) == ("failed", [])
    answer = post(api, admin, failed, "resume", reason="the table is back")
    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["status"], shown["error"], shown["resumable"]) == ("running", None, False)
    assert shown["execution_id"] == str(failed)
    assert happened(failed, "execution.resumed") == (
        f"user:{admin.user_id}",
        {"steps": ["notify_athlete", "notify_coach"], "reason": "the table is back"},
    )
    with pytest.raises(StaleMessage):
        deliver(failed, "notify_coach", epoch=1)
    deliver(failed, *NOTIFICATIONS, epoch=2)
    assert status(failed).status == "completed"
    assert told(failed) == ["booking_confirmed", "booking_received"]


def test_a_resume_needs_neither_reason_nor_body(api: httpx.Client, admin: Person) -> None:
    failed = failed_booking().execution_id
    answer = api.post(f"/api/executions/{failed}/resume", headers=admin.headers)
    assert (answer.status_code, answer.json()["status"]) == (200, "running")
    assert happened(failed, "execution.resumed")[1]["reason"] is None


def test_a_refusal_is_not_resumed(api: httpx.Client, admin: Person) -> None:
    refused = refused_booking().execution_id
    assert "was refused" in problem(post(api, admin, refused, "resume"), 409, "not-possible")
    assert status(refused).error.kind == "insufficient_credits"  # type: ignore[union-attr]  # it has failed


@pytest.mark.parametrize("make", [requested_booking, completed_booking])
def test_only_what_has_failed_is_resumed(
    api: httpx.Client, admin: Person, make: Callable[[], RequestedBooking]
) -> None:
    execution = make().execution_id
    before = client.events(execution)
    detail = problem(post(api, admin, execution, "resume"), 409, "not-possible")
    assert "only what has failed can be resumed" in detail
    assert client.events(execution) == before


# Cancel


def test_a_booking_is_cancelled_between_its_confirmation_and_the_notifications(
    api: httpx.Client, admin: Person
) -> None:
    confirmed = confirmed_booking().execution_id
    answer = post(api, admin, confirmed, "cancel", reason=f"  {REASON} ")
    assert answer.status_code == 200
    shown = answer.json()
    assert shown["status"] == "cancelled"
    assert shown["cancellation"] == {"cancelled_by": f"user:{admin.user_id}", "reason": REASON}
    assert shown["error"] == {"kind": "cancelled", "message": REASON, "traceback": None}
    assert shown["completed_at"] is not None
    assert happened(confirmed, "execution.cancelled")[0] == f"user:{admin.user_id}"
    with pytest.raises(StaleMessage):
        deliver(confirmed, "notify_coach")
    assert told(confirmed) == []
    page = api.get("/api/executions", params={"status": "cancelled"}, headers=admin.headers).json()
    assert [item["execution_id"] for item in page["items"]] == [str(confirmed)]


@pytest.mark.usefixtures("retried_in_an_hour")
def test_what_sleeps_is_cancelled_and_waits_for_nothing_more(api: httpx.Client, admin: Person) -> None:
    sleeping = sleeping_booking().execution_id
    assert (status(sleeping).status, len(status(sleeping).timers)) == ("sleeping", 2)
    shown = post(api, admin, sleeping, "cancel", reason=REASON).json()
    assert (shown["status"], shown["timers"]) == ("cancelled", [])
    assert [event.type for event in client.events(sleeping)].count("timer.cancelled") == 2


@pytest.mark.parametrize("make", [completed_booking, failed_booking, refused_booking])
def test_what_has_ended_is_not_cancelled(
    api: httpx.Client, admin: Person, make: Callable[[], RequestedBooking]
) -> None:
    execution = make().execution_id
    before = client.events(execution)
    detail = problem(post(api, admin, execution, "cancel", reason=REASON), 409, "not-possible")
    assert f"{status(execution).status} already" in detail
    assert client.events(execution) == before


def test_what_was_cancelled_is_neither_cancelled_nor_resumed_again(api: httpx.Client, admin: Person) -> None:
    execution = requested_booking().execution_id
    assert post(api, admin, execution, "cancel", reason=REASON).status_code == 200
    assert "cancelled already" in problem(post(api, admin, execution, "cancel", reason=REASON), 409, "not-possible")
    assert "is cancelled" in problem(post(api, admin, execution, "resume"), 409, "not-possible")


# Rerun


def test_what_was_refused_is_run_anew_as_a_whole(api: httpx.Client, admin: Person) -> None:
    refused = refused_booking()
    with transaction() as handle:
        handle.execute(text("UPDATE credit_accounts SET balance = 1"))
    answer = post(api, admin, refused.execution_id, "rerun", reason=REASON)
    assert answer.status_code == 201
    new = UUID(answer.json()["execution_id"])
    assert new != refused.execution_id
    assert answer.json() == {"execution_id": str(new)}
    assert answer.headers["Location"] == f"/api/executions/{new}"
    deliver(new, BLOCK, *NOTIFICATIONS)
    shown = api.get(answer.headers["Location"], headers=admin.headers).json()
    assert (shown["status"], shown["rerun_of"]) == ("completed", str(refused.execution_id))
    actor, data = happened(new, "execution.started")
    assert (actor, data["reason"], data["from_step"]) == (f"user:{admin.user_id}", REASON, None)
    assert status(refused.execution_id).status == "failed"
    # The athlete, whose booking it is now, may see it; another one may not.
    assert api.get(answer.headers["Location"], headers=refused.parties[Role.ATHLETE]).status_code == 200


def test_from_a_step_on_only_what_follows_is_run_again(api: httpx.Client, admin: Person) -> None:
    old = completed_booking()
    answer = post(api, admin, old.execution_id, "rerun", from_step="notify_coach", reason=REASON)
    new = UUID(answer.json()["execution_id"])
    statuses = {step.step_name: step.status.value for step in status(new).steps}
    assert statuses.pop("notify_coach") == "pending"
    assert set(statuses.values()) == {"skipped"}
    deliver(new, "notify_coach")
    assert (status(new).status, told(new)) == ("completed", ["booking_received"])
    assert status(new).subject == status(old.execution_id).subject
    assert happened(new, "execution.started")[1]["from_step"] == "notify_coach"


def test_a_rerun_is_seen_by_the_parties_and_not_by_others(
    api: httpx.Client, admin: Person, make_person: MakePerson
) -> None:
    old = completed_booking()
    path = post(api, admin, old.execution_id, "rerun", from_step="notify_coach", reason=REASON).headers["Location"]
    for party in old.parties.values():
        shown = api.get(path, headers=party)
        assert (shown.status_code, shown.json()["rerun_of"]) == (200, str(old.execution_id))
        assert shown.json()["started_by"] == "user"
        assert REASON not in shown.text + api.get(f"{path}/events", headers=party).text
    assert api.get(path, headers=make_person(Role.ATHLETE).headers).status_code == 404


def test_what_runs_is_not_run_anew(api: httpx.Client, admin: Person) -> None:
    running = confirmed_booking().execution_id
    detail = problem(post(api, admin, running, "rerun", reason=REASON), 409, "not-possible")
    assert "once it has ended" in detail


def test_a_rerun_cannot_begin_at_a_step_whose_foundations_are_missing(api: httpx.Client, admin: Person) -> None:
    refused = refused_booking().execution_id
    answer = post(api, admin, refused, "rerun", from_step="notify_coach", reason=REASON)
    assert "from an earlier step" in problem(answer, 409, "not-possible")
    assert [item.execution_id for item in client.list_executions().items] == [refused]


def test_a_rerun_from_an_unknown_step_names_the_field(api: httpx.Client, admin: Person) -> None:
    completed = completed_booking().execution_id
    answer = post(api, admin, completed, "rerun", from_step="notify_nobody", reason=REASON)
    assert "no step notify_nobody" in problem(answer, 422, "invalid-input")
    assert [error["field"] for error in answer.json()["errors"]] == ["from_step"]
    assert [item.execution_id for item in client.list_executions().items] == [completed]


# The key of a rerun


def test_the_same_rerun_again_is_the_same_execution(api: httpx.Client, admin: Person) -> None:
    completed = completed_booking().execution_id
    answers = [
        rerun(api, admin, completed, "once", from_step="notify_coach", reason=reason)
        for reason in (REASON, f" {REASON} ")
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert answers[0].headers["Location"] == answers[1].headers["Location"]
    assert len(client.list_executions().items) == 2


def test_of_many_reruns_at_once_under_one_key_one_is_begun(api: httpx.Client, admin: Person) -> None:
    completed = completed_booking().execution_id
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: rerun(api, admin, completed, "once", from_step="notify_coach"), range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert len(client.list_executions().items) == 2


def test_another_rerun_under_the_same_key_is_refused(api: httpx.Client, admin: Person) -> None:
    completed, other = completed_booking().execution_id, completed_booking().execution_id
    assert rerun(api, admin, completed, "once", from_step="notify_coach").status_code == 201
    for execution_id, body in (
        (completed, {}),
        (completed, {"from_step": "notify_athlete"}),
        (completed, {"from_step": "notify_coach", "reason": "another one"}),
        (other, {"from_step": "notify_coach"}),
    ):
        problem(rerun(api, admin, execution_id, "once", **body), 422, "idempotency-key-reused")
    assert len(client.list_executions().items) == 3


def test_other_keys_and_no_keys_are_other_reruns(api: httpx.Client, admin: Person, make_person: MakePerson) -> None:
    completed = completed_booking().execution_id
    step = {"from_step": "notify_coach"}
    answers = [rerun(api, admin, completed, key, **step) for key in ("one", "two")]
    answers += [post(api, admin, completed, "rerun", reason=REASON, **step) for _ in range(2)]
    answers += [rerun(api, make_person(Role.ADMIN), completed, "one", **step)]
    assert len({answer.json()["execution_id"] for answer in answers}) == 5


def test_a_rerun_that_was_not_possible_leaves_its_key_free(api: httpx.Client, admin: Person) -> None:
    execution = confirmed_booking().execution_id
    problem(rerun(api, admin, execution, "once", from_step="notify_coach"), 409, "not-possible")
    deliver(execution, *NOTIFICATIONS)
    assert rerun(api, admin, execution, "once", from_step="notify_coach").status_code == 201


def test_a_rerun_and_its_key_are_kept_together_or_not_at_all(
    api: httpx.Client, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise Busy

    completed = completed_booking().execution_id
    with monkeypatch.context() as patched:
        # It fails when all is done, and nothing is committed.
        patched.setattr("zea.api.routes.interventions.RerunStarted", fail)
        problem(rerun(api, admin, completed, "once", from_step="notify_coach"), 503, "busy")
    assert [item.execution_id for item in client.list_executions().items] == [completed]
    assert rerun(api, admin, completed, "once", from_step="notify_coach").status_code == 201


# What is asked for, and by whom

CALLS = {"resume": {}, "cancel": {"reason": REASON}, "rerun": {"reason": REASON}}


@pytest.mark.parametrize(("what", "body"), CALLS.items())
def test_only_admins_intervene(api: httpx.Client, make_person: MakePerson, what: str, body: dict[str, str]) -> None:
    failed = failed_booking()
    strangers = [make_person(role).headers for role in (Role.ATHLETE, Role.COACH)]
    for caller in (*failed.parties.values(), *strangers):
        problem(api.post(f"{failed.path}/{what}", json=body, headers=caller), 403, "forbidden")
    problem(api.post(f"{failed.path}/{what}", json=body), 401, "unauthenticated")
    assert status(failed.execution_id).status == "failed"
    assert len(client.list_executions().items) == 1


@pytest.mark.parametrize(("what", "body"), CALLS.items())
def test_an_execution_that_is_not_there_is_not_found(
    api: httpx.Client, admin: Person, what: str, body: dict[str, str]
) -> None:
    assert str(NOWHERE) in problem(post(api, admin, NOWHERE, what, **body), 404, "not-found")
    problem(post(api, admin, "nothing", what, **body), 422, "invalid-input")


@pytest.mark.parametrize("what", CALLS)
def test_a_reason_is_of_1_to_500_characters(api: httpx.Client, admin: Person, what: str) -> None:
    failed = failed_booking().execution_id
    for reason in ("", "  \n", "x" * 501, "nu\0l", 7):
        answer = post(api, admin, failed, what, reason=reason)
        problem(answer, 422, "invalid-input")
        assert [error["field"] for error in answer.json()["errors"]] == ["reason"], reason
    assert status(failed).status == "failed"


def test_the_longest_reason_is_taken(api: httpx.Client, admin: Person) -> None:
    shown = post(api, admin, requested_booking().execution_id, "cancel", reason="ñ" * 500)
    assert shown.json()["cancellation"]["reason"] == "ñ" * 500


@pytest.mark.parametrize("what", ["cancel", "rerun"])
def test_a_cancel_and_a_rerun_say_why(api: httpx.Client, admin: Person, what: str) -> None:
    for body in ({}, {"reason": None}, {"reason": REASON, "by": "me"}):
        problem(post(api, admin, completed_booking().execution_id, what, **body), 422, "invalid-input")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("what", "body"), CALLS.items())
def test_while_a_step_runs_the_answer_is_to_try_again(
    api: httpx.Client, admin: Person, what: str, body: dict[str, str]
) -> None:
    execution = requested_booking().execution_id
    with transaction() as handle:
        store.lock(handle, execution)
        answer = post(api, admin, execution, what, **body)
    assert "try again" in problem(answer, 503, "busy")
    assert int(answer.headers["Retry-After"]) >= 1
    assert post(api, admin, execution, "cancel", reason=REASON).status_code == 200


@pytest.mark.parametrize(("what", "body"), CALLS.items())
def test_what_this_release_does_not_know_is_left_to_the_one_that_does(
    api: httpx.Client, admin: Person, what: str, body: dict[str, str]
) -> None:
    failed = failed_booking().execution_id
    become_unknown(failed)
    assert "version 7 is not known here" in problem(post(api, admin, failed, what, **body), 409, "not-possible")


def test_the_interventions_are_documented(api: httpx.Client) -> None:
    paths = api.get("/openapi.json").json()["paths"]
    for what in CALLS:
        documented = paths[f"/api/executions/{{execution_id}}/{what}"]["post"]
        assert {"401", "403", "404", "409", "422", "500", "503"} < set(documented["responses"])
        assert documented["description"]


# What others are told of a cancellation


def test_parties_see_that_it_was_cancelled_and_not_why(api: httpx.Client, admin: Person) -> None:
    confirmed = confirmed_booking()
    post(api, admin, confirmed.execution_id, "cancel", reason=REASON)
    for party in confirmed.parties.values():
        answer = api.get(confirmed.path, headers=party)
        shown = answer.json()
        assert (shown["status"], shown["error"]["kind"], shown["cancellation"]) == ("cancelled", "cancelled", None)
        told_of_events = api.get(f"{confirmed.path}/events", headers=party)
        assert told_of_events.json()["items"][-1]["type"] == "execution.cancelled"
        for text_shown in (answer.text, told_of_events.text):
            assert REASON not in text_shown
            assert str(admin.user_id) not in text_shown


def test_an_athlete_who_waits_for_a_booking_is_told_at_once_that_it_was_cancelled(
    api: httpx.Client, admin: Person
) -> None:
    asked = requested_booking()
    with transaction() as handle:
        slot = handle.execute(text("SELECT starts_at FROM slots")).scalar_one()
    request = {"coach_id": str(asked.coach_id), "slot_datetime": slot.isoformat()}
    headers = asked.parties[Role.ATHLETE] | {"Idempotency-Key": "mine", "Prefer": "wait=30"}
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(api.post, "/api/bookings", json=request, headers=headers)
        wait_until(lambda: len(client.list_executions().items) == 2, what="the second request is accepted")
        second = client.list_executions().items[0].execution_id
        client.cancel(second, actor="cli:ana", reason=REASON)
        answers = [waiting.result(10), api.post("/api/bookings", json=request, headers=headers)]
    for answer in answers:
        assert REASON not in problem(answer, 409, "cancelled")


def test_a_booking_stands_whatever_becomes_of_its_notifications(api: httpx.Client) -> None:
    asked = requested_booking()
    with transaction() as handle:
        slot = handle.execute(text("SELECT starts_at FROM slots")).scalar_one()
    request = {"coach_id": str(asked.coach_id), "slot_datetime": slot.isoformat()}
    headers = asked.parties[Role.ATHLETE] | {"Idempotency-Key": "mine", "Prefer": "wait=0"}
    accepted = api.post("/api/bookings", json=request, headers=headers)
    assert accepted.status_code == 202
    execution = UUID(accepted.json()["execution_id"])
    deliver(execution, BLOCK)
    client.cancel(execution, actor="cli:ana", reason=REASON)
    confirmed = api.post("/api/bookings", json=request, headers=headers)
    assert (confirmed.status_code, confirmed.json()["status"]) == (201, "CONFIRMED")


# The command line

Zea = Callable[..., Ran]


def test_the_command_line_resumes(zea: Zea) -> None:
    failed = failed_booking().execution_id
    ran = zea("resume", failed, "--reason", "the table is back")
    assert (ran.exit_code, ran.complaint) == (0, "")
    assert ran.output.startswith(f"Resumed {failed}")
    assert f"zea status {failed}" in ran.output
    assert ran.output.count("\n") == 1
    assert happened(failed, "execution.resumed") == (
        OPERATOR,
        {"steps": ["notify_athlete", "notify_coach"], "reason": "the table is back"},
    )
    again = zea("resume", failed)
    assert (again.exit_code, again.output) == (1, "")
    assert again.complaint.startswith(f"zea: {failed} is running")


def test_the_command_line_resumes_without_a_reason_and_tells_it_as_json(zea: Zea) -> None:
    failed = failed_booking().execution_id
    ran = zea("resume", failed, "--json")
    assert (ran.exit_code, json.loads(ran.output)["status"]) == (0, "running")


def test_the_command_line_resumes_all_that_failed_alike_once_it_was_shown(zea: Zea) -> None:
    failed = {failed_booking().execution_id for _ in range(3)}
    refused = refused_booking().execution_id
    shown = zea("resume", "--error-kind", "database_error")
    assert shown.exit_code == 0
    assert all(str(each) in shown.output for each in failed)
    assert str(refused) not in shown.output
    assert "3 failed like this; nothing was changed." in shown.output
    assert {client.get_execution_status(each).status for each in failed} == {"failed"}
    ran = zea("resume", "--error-kind", "database_error", "--reason", "the table is back", "--yes")
    assert (ran.exit_code, ran.output) == (0, "Resumed 3 of 3. Follow them: zea active\n")
    assert {client.get_execution_status(each).status for each in failed} == {"running"}
    assert json.loads(zea("resume", "--error-kind", "database_error", "--json").output)["items"] == []


def test_the_command_line_resumes_the_others_where_one_cannot_be(zea: Zea) -> None:
    for each in (refused_booking(), refused_booking()):
        assert client.get_execution_status(each.execution_id).status == "failed"
    ran = zea("resume", "--error-kind", "insufficient_credits", "--yes", "--json")
    items = json.loads(ran.output)["items"]
    assert (ran.exit_code, len(items)) == (1, 2)
    assert all("was refused" in each["error"] for each in items)


@pytest.mark.parametrize("arguments", [(), (UUID(int=1), "--error-kind", "timeout")])
def test_the_command_line_resumes_one_or_one_kind(zea: Zea, arguments: tuple[object, ...]) -> None:
    ran = zea("resume", *arguments)
    assert (ran.exit_code, "name one execution, or an --error-kind" in ran.complaint) == (2, True)


def test_the_command_line_cancels_and_shows_by_whom_and_why(zea: Zea) -> None:
    confirmed = confirmed_booking().execution_id
    ran = zea("cancel", confirmed, "--reason", "[red]two\x1b[2Jbookings[/x]")
    assert ran.exit_code == 0
    assert ran.output == f"Cancelled {confirmed}. Follow it: zea status {confirmed}\n"
    shown = zea("status", confirmed).output
    assert f"Cancelled by {OPERATOR}: [red]two\ufffd[2Jbookings[/x]" in shown
    assert f"It cannot be resumed. To run it anew: zea rerun {confirmed} --reason WHY" in shown
    assert "“[red]two\ufffd[2Jbookings[/x]”" in zea("events", confirmed).output
    again = zea("cancel", confirmed, "--reason", "once more")
    assert (again.exit_code, again.output) == (1, "")
    assert "cancelled already" in again.complaint


def test_the_command_line_cancels_and_tells_it_as_json(zea: Zea) -> None:
    ran = zea("cancel", requested_booking().execution_id, "--reason", REASON, "--json")
    shown = json.loads(ran.output)
    assert (shown["status"], shown["cancellation"]) == ("cancelled", {"cancelled_by": OPERATOR, "reason": REASON})


def test_the_command_line_reruns_from_a_step_and_shows_what_it_repeats(zea: Zea) -> None:
    old = completed_booking().execution_id
    ran = zea("rerun", old, "--from", "notify_coach", "--reason", REASON)
    new = client.list_executions().items[0].execution_id
    assert ran == Ran(0, f"Reruns {old} from notify_coach as {new}. Follow it: zea status {new}\n", "")
    shown = zea("status", new).output
    assert f"Reruns {old}: zea status {old}" in shown
    assert shown.count("skipped") == 7
    assert f"reruns {old}, from notify_coach, “{REASON}”" in zea("events", new).output
    assert status(new).started_by == OPERATOR


def test_the_command_line_reruns_as_a_whole_and_tells_it_as_json(zea: Zea) -> None:
    old = completed_booking().execution_id
    ran = zea("rerun", old, "--reason", REASON, "--json")
    assert ran.exit_code == 0
    new = client.list_executions().items[0].execution_id
    assert json.loads(ran.output) == {"execution_id": str(new)}
    assert status(new).rerun_of == old


def test_the_command_line_shows_a_refusal_without_a_way_to_resume_it(zea: Zea) -> None:
    refused = refused_booking().execution_id
    shown = zea("status", refused).output
    assert "insufficient_credits: " in shown
    assert "zea resume" not in shown
    assert f"zea rerun {refused}" in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ("resume", NOWHERE),
        ("cancel", NOWHERE, "--reason", REASON),
        ("rerun", NOWHERE, "--reason", REASON),
    ],
    ids=lambda arguments: arguments[0],
)
def test_the_command_line_ends_with_1_when_it_is_not_there(zea: Zea, arguments: tuple[object, ...]) -> None:
    ran = zea(*arguments)
    assert ran == Ran(1, "", f"zea: There is no execution {NOWHERE}.\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("resume",),
        ("resume", "no-id"),
        ("cancel",),
        ("rerun",),
        ("cancel", "--reason", " "),
        ("cancel", "--reason", "x" * 501),
        ("cancel", "--reason", "cancel\udcf3"),
        ("resume", "--reason", ""),
        ("rerun", "--reason", ""),
        ("rerun", "--reason", REASON, "--from", "notify_nobody"),
    ],
    ids=lambda arguments: " ".join(arguments)[:30],
)
def test_the_command_line_ends_with_2_when_it_is_used_wrongly(zea: Zea, arguments: tuple[str, ...]) -> None:
    failed = failed_booking().execution_id
    command, *options = arguments
    given = options if "no-id" in options or arguments == ("resume",) else [str(failed), *options]
    ran = zea(command, *given)
    assert (ran.exit_code, ran.output) == (2, "")
    assert "Usage: zea" in ran.complaint
    assert status(failed).status == "failed"
    assert len(client.list_executions().items) == 1


@pytest.mark.usefixtures("impatient")
def test_the_command_line_ends_with_1_while_a_step_runs(zea: Zea) -> None:
    execution = requested_booking().execution_id
    with transaction() as handle:
        store.lock(handle, execution)
        ran = zea("cancel", execution, "--reason", REASON)
    assert (ran.exit_code, ran.output) == (1, "")
    assert "try again" in ran.complaint


def test_the_command_line_ends_with_3_when_the_database_does_not_answer(
    zea: Zea, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    db.close_connections()
    config.settings.cache_clear()
    ran = zea("cancel", NOWHERE, "--reason", REASON)
    assert (ran.exit_code, ran.output) == (3, "")
    assert "zea up" in ran.complaint


def test_the_command_line_does_not_intervene_with_other_definitions(zea: Zea) -> None:
    execution = requested_booking().execution_id
    with transaction() as handle:
        registry.register(handle)
        # What a process with another shape under the same version would have registered.
        shape = """UPDATE workflow_definitions SET fingerprint = 'other', shape = shape || '{"subject": "other"}'"""
        handle.execute(text(shape))
    ran = zea("cancel", execution, "--reason", REASON)
    assert ran.exit_code == 1
    assert "is not the one that is registered" in ran.complaint
    assert status(execution).status == "running"


@pytest.mark.parametrize("command", ["resume", "cancel", "rerun"])
def test_the_help_of_an_intervention_has_an_example(zea: Zea, command: str) -> None:
    ran = zea(command, "--help")
    assert ran.exit_code == 0
    assert f"Example: zea {command} ID" in ran.output
