"""Every error is a problem, with the status that its place in the tree of errors gives it."""

from collections.abc import AsyncIterator
from datetime import datetime
from http import HTTPStatus
from typing import Any

import anyio
import httpx
import psycopg
import pytest
import sqlalchemy.exc
from fastapi import FastAPI
from psycopg import errors as postgres

from zea import errors
from zea.api.errors import add_handlers, status_of
from zea.api.limits import LARGEST_BODY, BodyLimit
from zea.api.schemas import AwareDatetime, Request
from zea.logs import ReadableLines

STATUSES = {
    errors.ConfigurationError("x"): 500,
    errors.Unreachable("x"): 503,
    errors.InvalidInput("x"): 422,
    errors.Unauthenticated(): 401,
    errors.Forbidden(): 403,
    errors.NotFound(): 404,
    errors.TooManyRequests(7.2): 429,
    errors.Conflict(): 409,
    errors.EmailTaken(): 409,
    errors.IdempotencyKeyReused(): 422,
    errors.NotPossible(): 409,
    errors.Cancelled(): 409,
    errors.Busy(): 503,
    errors.SlotUnavailable(): 409,
    errors.OverlappingBooking(): 409,
    errors.DefinitionError("x"): 500,
}


class Echo(Request):
    """A body with a moment."""

    at: AwareDatetime
    password: str = ""


def failing_app(error: Exception | None = None) -> FastAPI:
    app = FastAPI()
    add_handlers(app)
    app.add_middleware(BodyLimit)

    @app.get("/fails")
    def fails() -> None:
        if error is not None:
            raise error

    @app.post("/echo")
    def echo(body: Echo) -> datetime:
        return body.at

    return app


def call(app: FastAPI, method: str, path: str, **request: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://zea") as client:
            return await client.request(method, path, **request)

    return anyio.run(send)


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    content: dict[str, Any] = response.json()
    assert content["status"] == status
    assert content["instance"] == response.request.url.path
    assert content["title"]
    assert content["detail"]
    assert content["type"].startswith("urn:zea:problem:")
    return content


@pytest.mark.parametrize(("error", "status"), STATUSES.items(), ids=lambda value: type(value).__name__)
def test_an_error_has_the_status_of_its_place_in_the_tree(error: errors.ZeaError, status: int) -> None:
    assert status_of(type(error)) == status
    problem(call(failing_app(error), "GET", "/fails"), status)


def test_no_row_that_the_database_quotes_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    quoting = psycopg.errors.CheckViolation("it violates a check\nDETAIL:  Failing row contains (left knee).")
    problem(call(failing_app(sqlalchemy.exc.IntegrityError("UPDATE bookings", {}, quoting)), "GET", "/fails"), 500)
    [record] = caplog.records
    said = ReadableLines().format(record)
    assert "it violates a check" in said
    assert "knee" not in said
    assert "test_problems.py" in said, "where it came from"


def test_a_new_refusal_is_a_conflict_without_being_listed() -> None:
    class CourtClosed(errors.Refusal):
        """The court is closed."""

        kind = "court_closed"

    content = problem(call(failing_app(CourtClosed()), "GET", "/fails"), 409)
    assert content == {
        "type": "urn:zea:problem:court-closed",
        "title": "Court closed",
        "status": 409,
        "detail": "The court is closed.",
        "instance": "/fails",
    }


def test_a_throttled_caller_is_told_when_to_come_back() -> None:
    assert call(failing_app(errors.TooManyRequests(7.2)), "GET", "/fails").headers["retry-after"] == "7"


def test_a_caller_who_comes_while_others_are_at_it_is_told_when_to_come_back() -> None:
    assert int(call(failing_app(errors.Busy()), "GET", "/fails").headers["retry-after"]) >= 1


def test_a_caller_without_a_token_is_told_what_kind_is_wanted() -> None:
    assert call(failing_app(errors.Unauthenticated()), "GET", "/fails").headers["www-authenticate"] == "Bearer"


def database_error(kind: type[sqlalchemy.exc.DBAPIError], cause: psycopg.Error) -> sqlalchemy.exc.DBAPIError:
    return kind("SELECT secret", {"password": "hunter22"}, cause)


@pytest.mark.parametrize(
    "error",
    [
        sqlalchemy.exc.TimeoutError("QueuePool limit"),
        database_error(sqlalchemy.exc.OperationalError, psycopg.OperationalError("connection refused")),
        database_error(sqlalchemy.exc.OperationalError, postgres.DeadlockDetected("deadlock")),
        database_error(sqlalchemy.exc.OperationalError, postgres.SerializationFailure("could not serialize")),
        database_error(sqlalchemy.exc.InterfaceError, psycopg.InterfaceError("closed")),
        database_error(sqlalchemy.exc.DBAPIError, postgres.SerializationFailure("could not serialize")),
        psycopg.OperationalError("server closed the connection unexpectedly"),
        psycopg.InterfaceError("the connection is closed"),
    ],
    ids=lambda error: f"{type(error).__name__} {getattr(error, 'orig', '')}",
)
def test_a_busy_or_absent_database_is_a_503_to_try_again(error: Exception) -> None:
    response = call(failing_app(error), "GET", "/fails")
    problem(response, 503)
    assert response.headers["retry-after"] == "1"
    assert "hunter22" not in response.text


def test_of_a_lost_connection_it_is_not_said_that_nothing_was_changed() -> None:
    lost = database_error(sqlalchemy.exc.OperationalError, psycopg.OperationalError("server closed the connection"))
    lost.connection_invalidated = True
    assert "not known" in problem(call(failing_app(lost), "GET", "/fails"), 503)["detail"]


@pytest.mark.parametrize(
    "error",
    [database_error(sqlalchemy.exc.DataError, psycopg.DataError("NUL")), postgres.UntranslatableCharacter("NUL")],
    ids=lambda error: type(error).__name__,
)
def test_a_value_that_the_database_cannot_hold_is_the_callers_mistake(error: Exception) -> None:
    problem(call(failing_app(error), "GET", "/fails"), 422)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("the inside"),
        errors.DefinitionError("the inside"),
        database_error(sqlalchemy.exc.IntegrityError, postgres.UniqueViolation("the inside")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_unexpected_error_is_logged_and_not_told(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    response = call(failing_app(error), "GET", "/fails")
    assert problem(response, 500)["type"] == "urn:zea:problem:internal-error"
    assert "the inside" not in response.text
    assert "the inside" in caplog.text


def test_a_path_that_does_not_exist_is_a_problem() -> None:
    problem(call(failing_app(), "GET", "/nowhere"), 404)


def test_a_wrong_method_is_told_the_right_one() -> None:
    response = call(failing_app(), "DELETE", "/echo")
    problem(response, 405)
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("body", [b'{"at": ', b"\xff\xfe", b"[" * 100_000, b""], ids=["cut", "bytes", "deep", "empty"])
def test_a_body_that_cannot_be_read_is_a_422(body: bytes) -> None:
    headers = {"content-type": "application/json"}
    problem(call(failing_app(), "POST", "/echo", content=body, headers=headers), 422)


def test_each_wrong_field_is_named_and_nothing_sent_is_repeated() -> None:
    body = {"at": "hunter22", "password": ["hunter22"], "extra": "hunter22"}
    response = call(failing_app(), "POST", "/echo", json=body)
    assert {found["field"] for found in problem(response, 422)["errors"]} == {"at", "password", "extra"}
    assert "hunter22" not in response.text


@pytest.mark.parametrize("at", ["2026-03-02T09:00:00", "2026-03-02 09:00", "2026-03-02"])
def test_a_time_without_an_offset_is_told_to_add_one(at: str) -> None:
    (found,) = problem(call(failing_app(), "POST", "/echo", json={"at": at}), 422)["errors"]
    assert found["field"] == "at"
    assert "offset" in found["message"]


@pytest.mark.parametrize("at", [1772452800, "1772452800", True, None, "tomorrow", "2026-02-30T09:00:00Z"], ids=str)
def test_what_is_no_date_and_time_is_refused(at: object) -> None:
    problem(call(failing_app(), "POST", "/echo", json={"at": at}), 422)


def test_a_time_with_an_offset_is_that_moment() -> None:
    response = call(failing_app(), "POST", "/echo", json={"at": "2026-03-02T09:00:00-03:00"})
    assert datetime.fromisoformat(response.json()) == datetime.fromisoformat("2026-03-02T12:00:00+00:00")


@pytest.mark.parametrize("path", ["/echo", "/nowhere"])
def test_a_body_that_declares_too_much_is_refused(path: str) -> None:
    assert problem(call(failing_app(), "POST", path, content=b"x" * (LARGEST_BODY + 1)), 413)


def test_a_body_that_does_not_say_its_length_is_counted() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(LARGEST_BODY // 1024 + 1):
            yield b"x" * 1024

    content = problem(call(failing_app(), "POST", "/echo", content=chunks()), 413)
    assert content["type"] == "urn:zea:problem:content-too-large"


def test_the_largest_body_allowed_is_read() -> None:
    start = b'{"at": "2026-03-02T12:00:00Z", "password": "'
    body = start + b"x" * (LARGEST_BODY - len(start) - 2) + b'"}'
    response = call(failing_app(), "POST", "/echo", content=body, headers={"content-type": "application/json"})
    assert response.status_code == HTTPStatus.OK
