"""A repeated POST with the same key joins the first one's work."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, select, update

from tests.integration.conftest import PASSWORD, Person, wait_for_a_lock_to_be_wanted
from zea.accounts.models import Role, User
from zea.api.idempotency import KeyedRequest, claim
from zea.api.models import IdempotencyKey
from zea.api.schemas import Request
from zea.db import new_id, transaction
from zea.errors import IdempotencyKeyReused

KEY = "b0d5e7f0-first"


class Abandoned(Exception):
    """The first request fails."""


class Order(Request):
    """A request of the tests' own."""

    what: str
    how_many: int = 1


def request(what: str = "hour", key: str | None = KEY, caller: str = "user:1", route: str = "orders") -> KeyedRequest:
    return KeyedRequest(key, caller, route, Order(what=what))


def claimed(keyed: KeyedRequest) -> tuple[UUID, UUID]:
    """The execution offered, and the one that the key stands for."""
    offered = new_id()
    with transaction() as db:
        return offered, claim(db, keyed, offered)


def register(api: httpx.Client, key: str | None = KEY, **changes: str) -> httpx.Response:
    body = {"email": "ana@example.com", "password": PASSWORD} | changes
    return api.post("/api/auth/register", json=body, headers={"Idempotency-Key": key} if key else {})


def make_coach(api: httpx.Client, admin: Person, email: str, key: str = KEY) -> httpx.Response:
    body = {"email": email, "password": PASSWORD, "name": "Coach", "role": "coach"}
    return api.post("/api/admin/users", json=body, headers=admin.headers | {"Idempotency-Key": key})


def age_keys(by: timedelta) -> None:
    with transaction() as db:
        db.execute(update(IdempotencyKey).values(created_at=IdempotencyKey.created_at - by))


# Over HTTP


def test_the_same_request_again_is_given_the_first_answer(api: httpx.Client) -> None:
    first, second = register(api), register(api)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()


def test_without_a_key_a_second_registration_is_a_conflict(api: httpx.Client) -> None:
    assert [register(api, key=None).status_code for _ in range(2)] == [201, 409]


def test_defaults_that_are_written_out_are_the_same_request(api: httpx.Client) -> None:
    assert register(api).json() == register(api, locale="es", timezone="America/Santiago").json()


@pytest.mark.parametrize("changes", [{"password": "another password"}, {"name": "Ana"}], ids=str)
def test_another_request_under_the_same_key_is_refused(api: httpx.Client, changes: dict[str, str]) -> None:
    register(api)
    other = register(api, **changes)
    assert other.status_code == 422
    assert other.json()["type"] == "urn:zea:problem:idempotency-key-reused"


def test_strangers_who_chose_the_same_key_do_not_meet(api: httpx.Client) -> None:
    register(api)
    assert register(api, email="bob@example.com").status_code == 201


def test_admins_who_chose_the_same_key_do_not_meet(api: httpx.Client, make_person: Callable[[Role], Person]) -> None:
    one, other = make_person(Role.ADMIN), make_person(Role.ADMIN)
    assert make_coach(api, one, "one@example.com").status_code == 201
    assert make_coach(api, other, "two@example.com").status_code == 201
    assert make_coach(api, one, "three@example.com").status_code == 422


def test_an_error_is_not_stored(api: httpx.Client, admin: Person) -> None:
    register(api, key=None)
    assert make_coach(api, admin, "ana@example.com").status_code == 409
    assert make_coach(api, admin, "other@example.com").status_code == 201


def test_of_many_at_once_all_are_given_the_same_answer(api: httpx.Client) -> None:
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: register(api), range(16)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    with transaction() as db:
        assert db.scalars(select(func.count()).select_from(User)).one() == 1


def test_a_key_is_forgotten_after_a_day(api: httpx.Client) -> None:
    register(api)
    age_keys(by=timedelta(hours=23, minutes=59))
    assert register(api).status_code == 201
    age_keys(by=timedelta(minutes=2))
    assert register(api).status_code == 409
    assert register(api, password="another password").status_code == 409


@pytest.mark.parametrize(
    "key", ["", "two words", "x" * 256, "ñandú".encode()], ids=["empty", "space", "long", "letters"]
)
def test_a_key_of_other_characters_is_refused(api: httpx.Client, key: str | bytes) -> None:
    body = {"email": "ana@example.com", "password": PASSWORD}
    answer = api.post("/api/auth/register", json=body, headers=[("Idempotency-Key", key)])
    assert answer.status_code == 422


def test_passwords_cannot_be_guessed_from_what_is_kept(api: httpx.Client) -> None:
    register(api)
    with transaction() as db:
        kept = db.scalars(select(IdempotencyKey)).one()
    assert PASSWORD not in str(vars(kept))


# The execution that a key stands for


def test_a_new_key_stands_for_the_execution_that_is_offered(database: str) -> None:
    offered, stands_for = claimed(request())
    assert stands_for == offered


def test_a_known_key_stands_for_the_first_execution(database: str) -> None:
    first, _ = claimed(request())
    assert claimed(request())[1] == first


@pytest.mark.parametrize(
    "other", [request(key="another"), request(key=None), request(caller="user:2"), request(route="returns")], ids=str
)
def test_another_key_caller_or_route_is_other_work(database: str, other: KeyedRequest) -> None:
    claimed(request())
    offered, stands_for = claimed(other)
    assert stands_for == offered


def test_a_known_key_with_another_request_is_refused(database: str) -> None:
    claimed(request())
    with pytest.raises(IdempotencyKeyReused):
        claimed(request("two hours"))


def test_a_key_of_yesterday_stands_for_new_work(database: str) -> None:
    claimed(request())
    age_keys(by=timedelta(hours=24))
    offered, stands_for = claimed(request("two hours"))
    assert stands_for == offered
    assert claimed(request("two hours"))[1] == offered


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_a_second_request_waits_for_the_first_and_joins_it(database: str, threads: ThreadPoolExecutor) -> None:
    first = new_id()
    with transaction() as db:
        claim(db, request(), first)
        second = threads.submit(claimed, request())
        wait_for_a_lock_to_be_wanted(database)
    assert second.result(10)[1] == first


def test_a_second_request_does_the_work_when_the_first_is_rolled_back(
    database: str, threads: ThreadPoolExecutor
) -> None:
    with suppress(Abandoned), transaction() as db:
        claim(db, request(), new_id())
        second = threads.submit(claimed, request())
        wait_for_a_lock_to_be_wanted(database)
        raise Abandoned
    offered, stands_for = second.result(10)
    assert stands_for == offered
