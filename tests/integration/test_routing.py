"""A deadlock is between transactions, and no caller's concern: the request is run again."""

from collections.abc import Iterator
from importlib import import_module

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from tests.integration.conftest import served
from zea.api import access
from zea.api.app import ROUTES
from zea.api.deps import Db
from zea.api.routing import ATTEMPTS, RepeatedRoute, router
from zea.db import transaction

RAISE = "DO $$ BEGIN RAISE EXCEPTION 'for another' USING ERRCODE = '{code}'; END $$"


@pytest.fixture
def attempts() -> list[str]:
    """What each attempt found when it began."""
    return []


@pytest.fixture
def client(database: str, app: FastAPI, attempts: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    entry = access.Access("POST", "/test/{code}/{failures}", access.ANYONE, access.NOBODYS)
    monkeypatch.setitem(access.ENTRIES, (entry.method, entry.path), entry)
    with transaction() as db:
        db.execute(text("CREATE TABLE marks (mark text PRIMARY KEY)"))
    routes = router("/test", "test")

    @routes.post("/{code}/{failures}")
    def write_and_fail(code: str, failures: int, db: Db) -> int:
        attempts.append(code)
        db.execute(text("INSERT INTO marks VALUES ('once')"))
        if len(attempts) <= failures:
            db.execute(text(RAISE.format(code=code)))
        return len(attempts)

    app.include_router(routes)
    with served(app) as client:
        yield client


def marks() -> int:
    with transaction() as db:
        return int(db.execute(text("SELECT count(*) FROM marks")).scalar_one())


@pytest.mark.parametrize("code", ["40P01", "40001"])
def test_a_request_that_was_ended_for_another_is_run_again(client: httpx.Client, code: str) -> None:
    """Each attempt writes the same row: the next one would wait for it, or collide, if the last had not ended."""
    answer = client.post(f"/test/{code}/{ATTEMPTS - 1}", timeout=10)
    assert (answer.status_code, answer.json()) == (200, ATTEMPTS)
    assert marks() == 1


def test_in_the_end_the_caller_is_asked_to_try_again(client: httpx.Client, attempts: list[str]) -> None:
    answer = client.post(f"/test/40P01/{ATTEMPTS}", timeout=10)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert len(attempts) == ATTEMPTS
    assert marks() == 0


def test_other_errors_are_not_repeated(client: httpx.Client, attempts: list[str]) -> None:
    assert client.post("/test/23505/1", timeout=10).status_code == 500
    assert len(attempts) == 1


def test_every_route_of_the_api_is_repeated() -> None:
    routes = [route for name in ROUTES for route in import_module(f"zea.api.routes.{name}").router.routes]
    assert len(routes) > 20
    assert [route.path for route in routes if not isinstance(route, RepeatedRoute)] == []
