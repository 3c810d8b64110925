"""Accounts over HTTP: registering, signing in and staying so, profiles, people made by admins, and health."""

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from typer.testing import CliRunner, Result

from tests.integration.conftest import PASSWORD, Person, served, wait_for_a_lock_to_be_wanted
from zea import config
from zea.accounts import onboarding, sign_ins
from zea.accounts.models import RefreshToken, Role, User
from zea.api import deps
from zea.api.app import create_app
from zea.cli import users
from zea.credits.models import CreditAccount
from zea.db import engine, transaction
from zea.errors import Conflict, EmailTaken, InvalidInput
from zea.stack.servers import EmbeddedServers

PROFILE = {
    "sport": "tennis",
    "position": "single",
    "objectives": ["serve", "footwork"],
    "experience_level": "intermediate",
    "injury_history": "left knee, 2024",
}


def register(api: httpx.Client, email: str = "ana@example.com", **more: Any) -> httpx.Response:
    return api.post("/api/auth/register", json={"email": email, "password": PASSWORD, **more})


def login(api: httpx.Client, email: str = "ana@example.com", password: str = PASSWORD) -> httpx.Response:
    return api.post("/api/auth/login", data={"username": email, "password": password})


def refresh(api: httpx.Client, token: str) -> httpx.Response:
    return api.post("/api/auth/refresh", json={"refresh_token": token})


def bearer(response: httpx.Response) -> dict[str, str]:
    return {"Authorization": f"Bearer {response.json()['access_token']}"}


def kind(response: httpx.Response) -> str:
    assert response.headers["content-type"] == "application/problem+json"
    return str(response.json()["type"]).removeprefix("urn:zea:problem:")


def count_of(what: type[User] | type[CreditAccount]) -> int:
    with transaction() as db:
        return db.scalars(select(func.count()).select_from(what)).one()


def close_account(user_id: UUID) -> None:
    with transaction() as db:
        db.execute(update(User).where(User.id == user_id).values(is_active=False))


def use_setting(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    config.settings.cache_clear()


# Registering


def test_a_registered_athlete_has_an_account_without_credits_and_may_not_book_yet(api: httpx.Client) -> None:
    registered = register(api, "Ana@Example.com")
    assert registered.status_code == 201
    assert registered.json().keys() == {"user_id", "onboarding_execution_id", "message"}
    me = api.get("/api/me", headers=bearer(login(api))).json()
    assert me == {
        "user_id": registered.json()["user_id"],
        "email": "Ana@example.com",
        "name": "Ana",
        "roles": ["athlete"],
        "can_book": False,
        "locale": "es",
        "timezone": "America/Santiago",
    }
    with transaction() as db:
        assert db.scalars(select(CreditAccount.balance)).one() == 0


def test_a_new_athlete_is_greeted_in_their_language(api: httpx.Client) -> None:
    spanish = register(api, "es@example.com").json()["message"]
    english = register(api, "en@example.com", locale="en").json()["message"]
    assert "cuenta" in spanish
    assert "account" in english


def test_an_email_is_taken_in_any_spelling(api: httpx.Client) -> None:
    register(api)
    second = register(api, "ANA@EXAMPLE.COM")
    assert (second.status_code, kind(second)) == (409, "email-taken")
    assert count_of(User) == count_of(CreditAccount) == 1


def test_of_many_who_register_one_address_at_once_one_succeeds(api: httpx.Client) -> None:
    spellings = ["ana@example.com", "ANA@example.com"] * 8
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda email: register(api, email), spellings))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 15


def test_a_refused_registration_repeats_nothing_that_was_sent(api: httpx.Client) -> None:
    answer = api.post("/api/auth/register", json={"email": "nobody", "password": "hunter2", "role": "admin"})
    assert answer.status_code == 422
    assert {found["field"] for found in answer.json()["errors"]} == {"email", "password", "role"}
    assert "hunter2" not in answer.text


def test_a_name_that_cannot_be_stored_is_a_422(api: httpx.Client) -> None:
    assert register(api, name="Ana\u0000").status_code == 422


def test_a_commit_that_fails_is_never_answered_with_success(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Session) -> None:
        raise OperationalError("COMMIT", None, psycopg.OperationalError("connection lost"))

    with monkeypatch.context() as broken:
        broken.setattr(Session, "commit", fail)
        answer = register(api)
    assert (answer.status_code, kind(answer)) == (503, "unreachable")
    assert count_of(User) == 0


# Signing in


def test_a_sign_in_gives_a_pair_of_tokens_that_nobody_caches(api: httpx.Client) -> None:
    register(api)
    answer = login(api, " ANA@example.com")
    assert answer.status_code == 200
    assert answer.json().keys() == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert (answer.json()["token_type"], answer.json()["expires_in"]) == ("bearer", 900)
    assert answer.headers["cache-control"] == "no-store"


def test_nothing_tells_why_a_sign_in_was_refused(api: httpx.Client, athlete: Person) -> None:
    register(api)
    close_account(athlete.user_id)
    answers = [login(api, password="wrong password"), login(api, "nobody@example.com"), login(api, athlete.email)]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1


def test_failed_sign_ins_are_slowed_before_the_password_is_looked_at(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_setting(monkeypatch, "ZEA_AUTH_RATE", "3")
    register(api)
    failed = [login(api, password="wrong password").status_code for _ in range(4)]
    assert failed == [401, 401, 401, 429]
    refused = login(api)
    assert (refused.status_code, kind(refused)) == (429, "too-many-requests")
    assert 1 <= int(refused.headers["retry-after"]) <= 60


def test_one_persons_failures_do_not_slow_their_neighbours(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    use_setting(monkeypatch, "ZEA_AUTH_RATE", "3")
    register(api)
    for _ in range(4):
        login(api, "bob@example.com")
    assert login(api, "bob@example.com").status_code == 429
    assert login(api).status_code == 200


def test_trying_many_addresses_is_slowed_as_well(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    use_setting(monkeypatch, "ZEA_AUTH_RATE", "1")
    answers = [login(api, f"person-{number}@example.com").status_code for number in range(11)]
    assert answers == [401] * 10 + [429]


def test_successful_sign_ins_are_never_slowed(api: httpx.Client) -> None:
    register(api)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: login(api).status_code, range(130)))
    assert set(answers) == {200}


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that accepts connections and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        return int(listening.getsockname()[1])


@pytest.fixture(params=["silent_port", "closed_port"])
def port_without_broker(request: pytest.FixtureRequest) -> int:
    return int(request.getfixturevalue(request.param))


def test_people_sign_in_quickly_while_the_broker_is_away(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch, port_without_broker: int
) -> None:
    register(api)
    use_setting(monkeypatch, "REDIS_URL", f"redis://127.0.0.1:{port_without_broker}/0")
    begun = time.monotonic()
    assert login(api).status_code == 200
    assert login(api, password="wrong password").status_code == 401
    assert time.monotonic() - begun < 2


# Staying signed in


def test_a_refresh_token_gives_a_new_pair(api: httpx.Client) -> None:
    register(api)
    first = login(api)
    second = refresh(api, first.json()["refresh_token"])
    assert second.status_code == 200
    assert second.json()["refresh_token"] != first.json()["refresh_token"]
    assert api.get("/api/me", headers=bearer(second)).status_code == 200


def test_a_refresh_token_used_twice_ends_its_whole_family(api: httpx.Client) -> None:
    register(api)
    stolen = login(api).json()["refresh_token"]
    newest = refresh(api, stolen).json()["refresh_token"]
    assert refresh(api, stolen).status_code == 401
    assert refresh(api, newest).status_code == 401


def test_another_sign_in_outlives_the_family_that_ended(api: httpx.Client) -> None:
    register(api)
    stolen, other = (login(api).json()["refresh_token"] for _ in range(2))
    for _ in range(2):
        refresh(api, stolen)
    assert refresh(api, other).status_code == 200


def test_of_many_who_refresh_at_once_one_succeeds_and_the_family_ends(api: httpx.Client) -> None:
    register(api)
    token = login(api).json()["refresh_token"]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: refresh(api, token), range(8)))
    (winner,) = [answer for answer in answers if answer.status_code == 200]
    assert refresh(api, winner.json()["refresh_token"]).status_code == 401


def test_a_family_that_ends_while_it_is_refreshed_takes_the_new_token_along(api: httpx.Client, database: str) -> None:
    register(api)
    token = login(api).json()["refresh_token"]
    with ThreadPoolExecutor(1) as threads:
        with transaction() as db:
            newest = sign_ins.rotate(db, token)
            signed_out = threads.submit(api.post, "/api/auth/logout", json={"refresh_token": token})
            wait_for_a_lock_to_be_wanted(database)
        assert signed_out.result(10).status_code == 204
    assert newest is not None
    assert refresh(api, newest.refresh_token).status_code == 401


def test_only_hashes_of_refresh_tokens_are_kept(api: httpx.Client) -> None:
    register(api)
    token = login(api).json()["refresh_token"]
    with transaction() as db:
        kept = db.scalars(select(RefreshToken)).one()
    assert token not in str(vars(kept))


def test_an_expired_refresh_token_is_refused(api: httpx.Client) -> None:
    register(api)
    token = login(api).json()["refresh_token"]
    with transaction() as db:
        db.execute(update(RefreshToken).values(expires_at=func.clock_timestamp()))
    assert refresh(api, token).status_code == 401


def test_signing_out_ends_the_family_and_may_be_repeated(api: httpx.Client) -> None:
    register(api)
    old = login(api).json()["refresh_token"]
    newest = refresh(api, old).json()["refresh_token"]
    for _ in range(2):
        assert api.post("/api/auth/logout", json={"refresh_token": old}).status_code == 204
    assert refresh(api, newest).status_code == 401


def test_a_refresh_token_that_was_never_given_out_is_refused(api: httpx.Client) -> None:
    assert refresh(api, "made up").status_code == 401
    assert api.post("/api/auth/logout", json={"refresh_token": "made up"}).status_code == 204


def test_a_closed_account_is_signed_out_everywhere(api: httpx.Client) -> None:
    registered = register(api)
    signed_in = login(api)
    close_account(UUID(registered.json()["user_id"]))
    assert api.get("/api/me", headers=bearer(signed_in)).status_code == 401
    assert refresh(api, signed_in.json()["refresh_token"]).status_code == 401


# Me


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer x"}, {"Authorization": "Basic eDp5"}], ids=str)
def test_me_without_a_valid_token_is_a_401(api: httpx.Client, headers: dict[str, str]) -> None:
    answer = api.get("/api/me", headers=headers)
    assert (answer.status_code, kind(answer)) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_people_change_what_they_send_and_nothing_else(api: httpx.Client, athlete: Person) -> None:
    before = api.get("/api/me", headers=athlete.headers).json()
    changed = api.patch("/api/me", headers=athlete.headers, json={"locale": "en", "name": None})
    assert changed.json() == before | {"locale": "en"}
    assert api.patch("/api/me", headers=athlete.headers, json={}).json() == before | {"locale": "en"}
    assert api.get("/api/me", headers=athlete.headers).json() == before | {"locale": "en"}


@pytest.mark.parametrize("change", [{"locale": "fr"}, {"timezone": "Mars/Olympus"}, {"can_book": True}], ids=str)
def test_people_may_not_change_themselves_against_the_rules(
    api: httpx.Client, athlete: Person, change: dict[str, Any]
) -> None:
    answer = api.patch("/api/me", headers=athlete.headers, json=change)
    assert answer.status_code == 422
    assert [found["field"] for found in answer.json()["errors"]] == list(change)


# Profiles


def test_only_athletes_have_a_profile(api: httpx.Client, coach: Person) -> None:
    answer = api.put("/api/athletes/me/profile", headers=coach.headers, json=PROFILE)
    assert (answer.status_code, kind(answer)) == (403, "forbidden")


# People made by admins


def make(api: httpx.Client, admin: Person, role: str, email: str = "new@example.com") -> httpx.Response:
    person = {"email": email, "password": PASSWORD, "name": "Nueva", "role": role}
    return api.post("/api/admin/users", headers=admin.headers, json=person)


@pytest.mark.parametrize("role", list(Role))
def test_people_made_by_an_admin_sign_in_and_athletes_book_at_once(
    api: httpx.Client, admin: Person, role: Role
) -> None:
    made = make(api, admin, role)
    assert made.status_code == 201
    me = api.get("/api/me", headers=bearer(login(api, "new@example.com"))).json()
    assert (me["user_id"], me["roles"]) == (made.json()["user_id"], [role])
    assert me["can_book"] is (role is Role.ATHLETE)
    assert count_of(CreditAccount) == (1 if role is Role.ATHLETE else 0)


def test_an_admin_is_told_that_an_email_is_taken(api: httpx.Client, admin: Person) -> None:
    make(api, admin, "coach")
    assert kind(make(api, admin, "athlete", "NEW@example.com")) == "email-taken"


@pytest.mark.parametrize("role", [Role.ATHLETE, Role.COACH])
def test_only_admins_make_and_see_people(api: httpx.Client, make_person: Callable[[Role], Person], role: Role) -> None:
    person = make_person(role)
    assert make(api, person, "coach").status_code == 403
    assert api.get("/api/admin/users", headers=person.headers).status_code == 403


def test_an_admin_who_is_one_no_longer_is_refused_at_once(api: httpx.Client, admin: Person) -> None:
    with transaction() as db:
        db.execute(update(User).values(role=Role.COACH.value))
    assert api.get("/api/admin/users", headers=admin.headers).status_code == 403


def change(api: httpx.Client, admin: Person, user_id: object, **changes: Any) -> httpx.Response:
    return api.patch(f"/api/admin/users/{user_id}", headers=admin.headers, json=changes)


def test_an_account_that_an_admin_closes_is_signed_out_for_good(api: httpx.Client, admin: Person) -> None:
    user_id = register(api).json()["user_id"]
    before = login(api)
    assert change(api, admin, user_id, is_active=False).json()["is_active"] is False
    booking = {"coach_id": user_id, "slot_datetime": "2030-01-01T09:00:00Z"}
    assert api.post("/api/bookings", headers=bearer(before), json=booking).status_code == 401
    assert api.get("/api/me", headers=bearer(before)).status_code == 401
    assert login(api).status_code == 401
    assert change(api, admin, user_id, is_active=True).json()["is_active"] is True
    assert refresh(api, before.json()["refresh_token"]).status_code == 401
    assert login(api).status_code == 200


def test_a_sign_in_that_meets_the_closing_of_its_account_ends_with_it(api: httpx.Client, admin: Person) -> None:
    """The password was looked at before."""
    user_id = UUID(register(api).json()["user_id"])
    change(api, admin, user_id, is_active=False)
    with transaction() as db:
        assert sign_ins.start_session(db, user_id, Role.ATHLETE) is None


@pytest.mark.parametrize("role", list(Role))
def test_what_an_admin_makes_of_people_they_are(api: httpx.Client, admin: Person, role: Role) -> None:
    user_id = register(api).json()["user_id"]
    for become in (Role.COACH, role):
        changed = change(api, admin, user_id, role=become).json()
        assert (changed["roles"], changed["can_book"]) == ([become], become is Role.ATHLETE)
    assert api.get("/api/me", headers=bearer(login(api))).json()["roles"] == [role]
    assert count_of(CreditAccount) == 1


def test_a_coach_who_becomes_an_athlete_may_be_given_credits_and_book(
    api: httpx.Client, admin: Person, coach: Person
) -> None:
    assert change(api, admin, coach.user_id, role="athlete").json()["can_book"] is True
    given = {"athlete_id": str(coach.user_id), "amount": 3, "reason": "welcome"}
    assert api.post("/api/admin/credits", headers=admin.headers, json=given).json() == {"balance": 3}


def test_nothing_given_changes_nothing(api: httpx.Client, admin: Person, athlete: Person) -> None:
    before = next(
        each
        for each in api.get("/api/admin/users", headers=admin.headers).json()["items"]
        if each["user_id"] == str(athlete.user_id)
    )
    assert change(api, admin, athlete.user_id).json() == before
    assert change(api, admin, athlete.user_id, role=None, is_active=None).json() == before


@pytest.mark.parametrize("changes", [{"is_active": False}, {"role": "coach"}, {"is_active": False, "role": "admin"}])
def test_the_last_admin_stays(api: httpx.Client, admin: Person, changes: dict[str, Any]) -> None:
    answer = change(api, admin, admin.user_id, **changes)
    assert (answer.status_code, kind(answer)) == (409, "conflict")
    assert api.get("/api/admin/users", headers=admin.headers).status_code == 200


def test_of_two_admins_who_close_each_other_at_once_one_stays(
    api: httpx.Client, admin: Person, make_person: Callable[[Role], Person]
) -> None:
    for _ in range(10):
        other = make_person(Role.ADMIN)
        with ThreadPoolExecutor(2) as pool:
            answers = list(
                pool.map(
                    lambda pair: change(api, *pair, is_active=False), [(admin, other.user_id), (other, admin.user_id)]
                )
            )
        with transaction() as db:
            open_admins = db.scalars(select(User.id).where(User.role == Role.ADMIN.value, User.is_active)).all()
        assert len(open_admins) == 1
        assert sorted(answer.status_code for answer in answers) in ([200, 401], [200, 409])
        admin = next(each for each in (admin, other) if each.user_id == open_admins[0])


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"role": "owner"}, "role"), ({"is_active": "maybe"}, "is_active"), ({"email": "x"}, "email")],
)
def test_other_changes_are_a_422(
    api: httpx.Client, admin: Person, athlete: Person, changes: dict[str, Any], field: str
) -> None:
    answer = change(api, admin, athlete.user_id, **changes)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


def test_a_stranger_cannot_be_changed(api: httpx.Client, admin: Person) -> None:
    assert change(api, admin, UUID(int=1), is_active=False).status_code == 404


def test_onboarding_ends_for_whoever_is_no_athlete_any_more(handle: Session, coach: Person) -> None:
    with pytest.raises(Conflict, match="none any more"):
        onboarding.enable_booking_capability(handle, user_id=coach.user_id)


def test_failures_are_counted_for_all_processes_together(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    use_setting(monkeypatch, "ZEA_AUTH_RATE", "4")
    with served(create_app()) as other:
        assert [login(each, password="wrong password").status_code for each in (api, other, api, other)] == [401] * 4
        assert [login(each).status_code for each in (api, other)] == [429, 429]


def test_pages_neither_skip_nor_repeat_while_others_register(
    api: httpx.Client, admin: Person, make_person: Callable[[Role], Person]
) -> None:
    expected = [str(admin.user_id), *(str(make_person(Role.COACH).user_id) for _ in range(6))][::-1]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        wanted = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        answer = api.get("/api/admin/users", headers=admin.headers, params=wanted).json()
        seen += [person["user_id"] for person in answer["items"]]
        cursor = answer["next_cursor"]
        if cursor is None:
            break
        make_person(Role.ATHLETE)
    assert seen == expected


def test_a_list_ends_without_an_empty_page(api: httpx.Client, admin: Person, coach: Person) -> None:
    answer = api.get("/api/admin/users", headers=admin.headers, params={"limit": 2}).json()
    assert (len(answer["items"]), answer["next_cursor"]) == (2, None)


@pytest.mark.parametrize(
    "wanted",
    [
        {"cursor": "x"},
        {"cursor": "bm8"},
        {"cursor": "é"},
        {"cursor": "WyIyMDI2LTAxLTAxIiwgIngiXQ"},
        {"limit": 0},
        {"limit": 201},
        {"limit": "many"},
    ],
    ids=str,
)
def test_a_wrong_page_is_a_422_that_names_the_field(api: httpx.Client, admin: Person, wanted: dict[str, Any]) -> None:
    answer = api.get("/api/admin/users", headers=admin.headers, params=wanted)
    assert answer.status_code == 422
    assert [found["field"] for found in answer.json()["errors"]] == list(wanted)


# People made from the command line


def run(*arguments: str, **how: Any) -> Result:
    return CliRunner().invoke(users.app, ["create", "--email", "cli@example.com", *arguments], **how)


def test_the_command_line_makes_a_person_and_prints_their_id(api: httpx.Client) -> None:
    made = run("--role", "coach", "--name", "Carla", "--password", PASSWORD)
    assert made.exit_code == 0, made.output
    me = api.get("/api/me", headers=bearer(login(api, "cli@example.com"))).json()
    assert (me["user_id"], me["name"], me["roles"]) == (made.stdout.strip(), "Carla", ["coach"])


def test_the_command_line_reads_the_password_from_standard_input(api: httpx.Client) -> None:
    made = run("--role", "athlete", "--json", input=f"{PASSWORD}\n")
    me = api.get("/api/me", headers=bearer(login(api, "cli@example.com"))).json()
    assert (me["user_id"], me["can_book"]) == (json.loads(made.stdout)["user_id"], True)


def test_the_command_line_refuses_with_the_domains_errors(database: str) -> None:
    refused = run("--role", "admin", "--password", "hunter2").exception
    assert isinstance(refused, InvalidInput)
    assert "hunter2" not in str(refused)
    run("--role", "admin", "--password", PASSWORD)
    assert isinstance(run("--role", "admin", "--password", PASSWORD).exception, EmailTaken)


# Under load


def test_more_callers_of_one_row_than_threads_and_connections_are_all_answered(
    api: httpx.Client, athlete: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without turns, the request that holds the row waits for a thread, and every thread for the row or for a
    # connection, until the pool gives up. On a slow machine a turn may take its time.
    monkeypatch.setattr(deps, "TURN_PATIENCE", 30)

    def change(number: int) -> int:
        return api.patch("/api/me", headers=athlete.headers, json={"name": f"Ana {number}"}).status_code

    with ThreadPoolExecutor(80) as threads:
        assert set(threads.map(change, range(240))) == {200}


def test_a_request_whose_turn_does_not_come_is_told_to_come_back(
    api: httpx.Client, app: FastAPI, athlete: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.state, "turns", asyncio.Semaphore(0))
    monkeypatch.setattr(deps, "TURN_PATIENCE", 0.05)
    answer = api.patch("/api/me", headers=athlete.headers, json={"locale": "en"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_a_request_that_finds_no_free_connection_is_told_to_come_back(api: httpx.Client, athlete: Person) -> None:
    held = [engine().connect() for _ in range(engine().pool.size())]
    try:
        begun = time.monotonic()
        answer = api.get("/api/me", headers=athlete.headers)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert time.monotonic() - begun < 5
    finally:
        for connection in held:
            connection.close()
    assert api.get("/api/me", headers=athlete.headers).status_code == 200


# Health


def test_a_process_that_can_work_is_ready(api: httpx.Client) -> None:
    assert api.get("/health/live").json() == {"status": "alive"}
    ready = api.get("/health/ready")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})


def test_a_database_that_is_not_migrated_is_told(
    api: httpx.Client, servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_setting(monkeypatch, "DATABASE_URL", servers.create_database(f"empty_{uuid4().hex}"))
    answer = api.get("/health/ready")
    assert answer.status_code == 503
    assert "zea db upgrade" in answer.json()["detail"]


def test_a_process_is_ready_while_a_newer_release_is_rolled_out(api: httpx.Client) -> None:
    with transaction() as db:
        db.execute(text("UPDATE alembic_version SET version_num = 'of_tomorrow'"))
    assert api.get("/health/ready").status_code == 200


@pytest.mark.parametrize(("variable", "scheme"), [("DATABASE_URL", "postgresql"), ("REDIS_URL", "redis")])
def test_a_server_that_is_away_or_silent_is_told_in_bounded_time(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch, port_without_broker: int, variable: str, scheme: str
) -> None:
    use_setting(monkeypatch, variable, f"{scheme}://127.0.0.1:{port_without_broker}/0")
    begun = time.monotonic()
    answer = api.get("/health/ready")
    assert (answer.status_code, kind(answer)) == (503, "unreachable")
    assert time.monotonic() - begun < 2
    assert api.get("/health/live").status_code == 200
