"""`zea demo`: demonstration people, and a walk through the workflows over HTTP, as any client would take it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic, perf_counter
from typing import Any

import httpx
import typer
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from workflows.engine.models import ENDED
from zea import clock
from zea.accounts import service as accounts
from zea.accounts.models import Role
from zea.accounts.schemas import NewUser
from zea.cli.app import REFUSED
from zea.config import connected_api, settings
from zea.db import transaction
from zea.errors import ConfigurationError, EmailTaken, ZeaError

app = typer.Typer()

PASSWORD = "demonstration-only"  # noqa: S105 refused outside local
CREDITS = 10
FINISHED_WITHIN_SECONDS = 30


@dataclass(frozen=True)
class Person:
    """A demonstration person."""

    email: str
    name: str
    role: Role


ADMIN = Person("admin@demo.example", "Antonia Soto", Role.ADMIN)
COACH = Person("coach@demo.example", "Camila Rojas", Role.COACH)
ATHLETE = Person("athlete@demo.example", "Matías Pérez", Role.ATHLETE)
PEOPLE = (ADMIN, COACH, ATHLETE)


class WalkFailed(ZeaError):
    """The demonstration met an answer that it did not expect."""

    kind = "demonstration_failed"


@app.command()
def demo() -> None:
    """Walk through every workflow on a running system."""
    if not walk(connected_api(), Console(highlight=False)):
        raise typer.Exit(REFUSED)


def walk(base_url: str, console: Console) -> bool:
    """Seed the demonstration people once and book an hour; whether all went as it should."""
    try:
        seed()
        _introduce(console)
        with ExitStack() as clients:
            _book(console, *(clients.enter_context(_client(base_url, person)) for person in (ATHLETE, COACH, ADMIN)))
    except (WalkFailed, httpx.HTTPError) as error:
        console.print(f"[red]The walk stopped: {escape(str(error))}[/]", soft_wrap=True)
        return False
    return True


def seed() -> None:
    """Make the demonstration people who are not there yet.

    Raises:
        ConfigurationError: outside local, where people with a published password must not exist.
    """
    if settings().environment != "local":
        raise ConfigurationError("The demonstration's passwords are public: it runs with ZEA_ENVIRONMENT=local only.")
    for person in PEOPLE:
        _make(person)


def _make(person: Person) -> None:
    try:
        with transaction() as db:
            new = NewUser(email=person.email, name=person.name, role=person.role, password=PASSWORD)
            accounts.create_user(db, new)
    except EmailTaken:
        pass  # a walk before this one made them


@contextmanager
def _client(base_url: str, person: Person) -> Iterator[httpx.Client]:
    """A client that is signed in as this person."""
    with httpx.Client(base_url=base_url, timeout=30) as client:
        credentials = {"username": person.email, "password": PASSWORD}
        tokens = _checked(client.post("/api/auth/login", data=credentials))
        client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        yield client


def _introduce(console: Console) -> None:
    people = Table("Role", "Sign in as", "Password", box=None, pad_edge=False)
    for person in PEOPLE:
        people.add_row(person.role.value, person.email, PASSWORD)
    console.print(people)


def _book(console: Console, athlete: httpx.Client, coach: httpx.Client, admin: httpx.Client) -> None:
    athlete_id = _checked(athlete.get("/api/me"))["user_id"]
    coach_id = _checked(coach.get("/api/me"))["user_id"]
    before = _credits(athlete, admin, athlete_id)
    slot = _new_slot(coach, coach_id)
    request = {"coach_id": coach_id, "slot_datetime": slot, "notes": "Trabajemos la salida de tacos."}
    began = perf_counter()
    booked = _checked(athlete.post("/api/bookings", json=request, headers={"Prefer": "wait=30"}))
    milliseconds = (perf_counter() - began) * 1000
    _check(booked.get("status") == "CONFIRMED", f"the booking is not confirmed: {booked}")
    console.print(
        f"\n{ATHLETE.name} booked {COACH.name} for {slot}: [green]CONFIRMED[/] in {milliseconds:.0f} ms,"
        f" credits {before} → {_checked(athlete.get('/api/me/credits'))['balance']}",
        soft_wrap=True,
    )
    view = _watch(console, admin, booked["execution_id"])
    console.print()
    _check(view["status"] == "completed", f"the execution is {view['status']}: {view['error']}")
    _check(
        _checked(athlete.get("/api/me/credits"))["balance"] == before - 1, "the booking did not cost exactly one credit"
    )


def _credits(athlete: httpx.Client, admin: httpx.Client, athlete_id: str) -> int:
    """The athlete's balance, filled up when it is empty."""
    balance = _checked(athlete.get("/api/me/credits"))["balance"]
    if balance == 0:
        grant = {"athlete_id": athlete_id, "amount": CREDITS, "reason": "demonstration"}
        balance = _checked(admin.post("/api/admin/credits", json=grant))["balance"]
    return int(balance)


def _new_slot(coach: httpx.Client, coach_id: str) -> str:
    """An hour that the coach offers from now on, after all that they offered before."""
    offered = _checked(coach.get(f"/api/coaches/{coach_id}/slots", params={"limit": 200}))
    while offered["next_cursor"]:
        offered = _checked(
            coach.get(f"/api/coaches/{coach_id}/slots", params={"limit": 200, "cursor": offered["next_cursor"]})
        )
    ends = [datetime.fromisoformat(slot["ends_at"]) for slot in offered["items"]]
    tomorrow = clock.now().replace(minute=0, second=0, microsecond=0) + timedelta(days=1)
    starts_at = max([tomorrow, *ends])
    slot = {"starts_at": starts_at.isoformat(), "ends_at": (starts_at + timedelta(hours=1)).isoformat()}
    made = _checked(coach.post("/api/coaches/me/slots", json={"slots": [slot]}))
    return str(made["items"][0]["starts_at"])


def _watch(console: Console, admin: httpx.Client, execution_id: str) -> dict[str, Any]:
    """Show the execution's steps as they happen, until it ends."""
    deadline = monotonic() + FINISHED_WITHIN_SECONDS
    with Live(console=console, auto_refresh=False) as live:
        while True:
            view = _checked(admin.get(f"/api/executions/{execution_id}"))
            live.update(_timeline(view), refresh=True)
            if view["status"] in ENDED:
                return view
            _check(monotonic() < deadline, f"execution {execution_id} did not end in {FINISHED_WITHIN_SECONDS} s")


def _timeline(view: dict[str, Any]) -> Table:
    table = Table("Step", "Status", "Began", "Took", title=f"{view['workflow_name']}  {view['execution_id']}")
    for column in table.columns[2:]:
        column.justify = "right"
    started_at = datetime.fromisoformat(view["started_at"])
    for step in view["steps"]:
        began = step["started_at"] and datetime.fromisoformat(step["started_at"]) - started_at
        table.add_row(
            step["step_name"],
            step["status"],
            f"+{began.total_seconds() * 1000:.1f} ms" if began else "",
            f"{step['duration_seconds'] * 1000:.1f} ms" if began else "",
        )
    return table


def _checked(response: httpx.Response) -> dict[str, Any]:
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


def _check(holds: bool, complaint: str) -> None:
    if not holds:
        raise WalkFailed(complaint)
