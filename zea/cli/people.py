"""Demonstration people, and HTTP clients that are signed in as them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from zea.accounts import service as accounts
from zea.accounts.models import Role
from zea.accounts.schemas import NewUser
from zea.config import settings
from zea.db import new_id, transaction
from zea.errors import ConfigurationError, EmailTaken, ZeaError

PASSWORD = "demonstration-only"  # noqa: S105 refused outside local
# What waits for its answer waits for this long; the walk has no second try.
PATIENCE_SECONDS = 30


class WalkFailed(ZeaError):
    """The demonstration met an answer that it did not expect."""

    kind = "demonstration_failed"


@dataclass(frozen=True)
class Person:
    """A demonstration person."""

    email: str
    name: str
    role: Role


ADMIN = Person("admin@demo.example", "Antonia Soto", Role.ADMIN)
COACH = Person("coach@demo.example", "Camila Rojas", Role.COACH)


def new_athlete() -> Person:
    """Somebody who has not been here before."""
    return Person(f"matias-{new_id().hex[-8:]}@demo.example", "Matías Pérez", Role.ATHLETE)


def stand_in(number: int) -> Person:
    """The coach, or somebody like her once her day is full; 0 is the coach."""
    return Person(f"coach-{number + 1}@demo.example", COACH.name, Role.COACH) if number else COACH


def seed(*people: Person) -> None:
    """Make the people who are not there yet.

    Raises:
        ConfigurationError: outside local, where people with a published password must not exist.
    """
    if settings().environment != "local":
        raise ConfigurationError("The demonstration's passwords are public: it runs with ZEA_ENVIRONMENT=local only.")
    for person in people:
        _make(person)


def _make(person: Person) -> None:
    try:
        with transaction() as db:
            new = NewUser(email=person.email, name=person.name, role=person.role, password=PASSWORD)
            accounts.create_user(db, new)
    except EmailTaken:
        pass  # a walk before this one made them


@dataclass(frozen=True)
class Caller:
    """A person at their HTTP client. Every call answers JSON.

    Raises:
        WalkFailed: the answer is an error.
    """

    person: Person
    user_id: str
    http: httpx.Client

    @property
    def name(self) -> str:
        return self.person.name

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        return checked(self.http.get(path, params=query))

    def get_file(self, path: str, **query: Any) -> bytes:
        response = self.http.get(path, params=query)
        check(response.is_success, f"{path}: {response.status_code}")
        return response.content

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        return checked(self.http.post(path, json=body))

    def put(self, path: str, **body: Any) -> dict[str, Any]:
        return checked(self.http.put(path, json=body))


@contextmanager
def signed_in(base_url: str, person: Person) -> Iterator[Caller]:
    with httpx.Client(base_url=base_url, timeout=PATIENCE_SECONDS + 10) as http:
        credentials = {"username": person.email, "password": PASSWORD}
        tokens = checked(http.post("/api/auth/login", data=credentials))
        http.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        http.headers["Prefer"] = f"wait={PATIENCE_SECONDS}"
        yield Caller(person, checked(http.get("/api/me"))["user_id"], http)


def register(base_url: str, person: Person) -> dict[str, Any]:
    """As a new athlete does; answers what they are told."""
    body = {"email": person.email, "password": PASSWORD, "name": person.name}
    return checked(httpx.post(f"{base_url}/api/auth/register", json=body, timeout=PATIENCE_SECONDS))


def checked(response: httpx.Response) -> dict[str, Any]:
    """The answer's JSON.

    Raises:
        WalkFailed: it is an error.
    """
    if response.is_error:
        raise WalkFailed(
            f"{response.request.method} {response.request.url.path}: {response.status_code} {response.text}"
        )
    answer: dict[str, Any] = response.json()
    return answer


def check(holds: bool, complaint: str) -> None:
    """Pass if it holds.

    Raises:
        WalkFailed: it does not.
    """
    if not holds:
        raise WalkFailed(complaint)
