"""Authorization, walked: every route of the table of access, with every role, and with other people's objects.

A new route takes a line in TABLE (zea/api/access.py). One whose path or body names an object, or that lists only some
people's, takes a line in EXAMPLES too, which makes a real object for it.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from importlib import import_module
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel
from sqlalchemy import select, text
from starlette.requests import Request
from starlette.routing import Route

from tests.held_sessions import report
from tests.integration.conftest import Person
from tests.integration.test_accounts_api import close_account
from tests.requested_booking import RequestedBooking, completed_booking, confirmed_booking, failed_booking
from workflows.catalog import registry
from workflows.engine.client import ExecutionClient
from workflows.engine.runner import Delivery, Runner
from workflows.session_completion import CompletedSession, session_completion
from zea import clock, config
from zea.accounts import service as accounts
from zea.accounts import tokens
from zea.accounts.models import Role
from zea.accounts.schemas import ExperienceLevel, Profile
from zea.api import access, gate
from zea.api.access import ADMINS, ANYONE, EVERY_ROLE, EVERYBODYS, SIGNED_IN, TABLE, THEIR_OWN, Access
from zea.api.app import ROUTES, create_app
from zea.api.gate import behind_the_gate
from zea.api.routing import RepeatedRoute, router
from zea.availability import service as availability
from zea.availability.periods import Period
from zea.bookings.models import Booking
from zea.credits.models import LedgerEntry
from zea.db import transaction
from zea.errors import ConfigurationError, NotFound
from zea.notifications.models import Notification
from zea.reports.periods import report_id_of

client = ExecutionClient(registry)
Headers = Mapping[str, str]
NOWHERE = UUID("01890000-0000-7000-8000-000000000001")
PLACEHOLDER = re.compile(r"\{\w+\}")
# In an example's body: the id of its object.
ANOTHER_TIME = (clock.now() + timedelta(days=30)).replace(microsecond=0)
THE_OBJECT = "{object_id}"
REASON = {"reason": "the coach asked for it"}


@dataclass(frozen=True)
class Owned:
    """A real object: the id that paths and lists name it by, and the headers of the calls of those whose it is."""

    object_id: UUID | str
    owners: Mapping[Role, Headers]


@dataclass(frozen=True)
class Example:
    """A call that succeeds for the right people: what makes its object, and its body."""

    make: Callable[[], Owned] | None = None
    body: Mapping[str, Any] | None = None


def owned_by(booking: RequestedBooking, object_id: UUID, *roles: Role) -> Owned:
    """An object of both parties to a booking, or of the one that is named."""
    return Owned(object_id, {role: booking.parties[role] for role in roles or booking.parties})


def an_athlete() -> Owned:
    booking = confirmed_booking()
    return owned_by(booking, booking.athlete_id, Role.ATHLETE)


def a_coach_with_a_slot() -> Owned:
    booking = confirmed_booking()
    return owned_by(booking, booking.coach_id, Role.COACH)


def a_slot() -> Owned:
    """Open, of the coach of a booking."""
    booking = confirmed_booking()
    with transaction() as db:
        (slot,) = availability.add_slots(
            db, booking.coach_id, [Period(ANOTHER_TIME, ANOTHER_TIME + timedelta(hours=1))]
        )
        return owned_by(booking, slot.id, Role.COACH)


def a_booking() -> Owned:
    booking = confirmed_booking()
    with transaction() as db:
        booking_id = db.scalars(select(Booking.id).where(Booking.execution_id == booking.execution_id)).one()
    return owned_by(booking, booking_id)


def a_ledger_entry() -> Owned:
    booking = confirmed_booking()
    with transaction() as db:
        entry_id = db.scalars(select(LedgerEntry.id).where(LedgerEntry.athlete_id == booking.athlete_id)).first()
    return owned_by(booking, entry_id, Role.ATHLETE)


def a_notification() -> Owned:
    booking = completed_booking()
    with transaction() as db:
        sent = select(Notification.id).where(Notification.recipient_id == booking.athlete_id)
        return owned_by(booking, db.scalars(sent).one(), Role.ATHLETE)


def an_execution(make: Callable[[], RequestedBooking]) -> Callable[[], Owned]:
    def made() -> Owned:
        booking = make()
        return owned_by(booking, booking.execution_id)

    return made


def an_athlete_with_a_profile() -> Owned:
    """Read by the athlete, and by the coach of their booking."""
    booking = confirmed_booking()
    profile = Profile(
        sport="Tenis", position="Singles", objectives=["saque"], experience_level=ExperienceLevel.BEGINNER
    )
    with transaction() as db:
        accounts.save_profile(db, booking.athlete_id, profile)
    return owned_by(booking, booking.athlete_id)


def a_booking_with_room_beside_it() -> Owned:
    """Its coach offers another hour, too."""
    booking = a_booking()
    with transaction() as db:
        coach_id = db.scalars(select(Booking.coach_id).where(Booking.id == booking.object_id)).one()
        availability.add_slots(db, coach_id, [Period(ANOTHER_TIME, ANOTHER_TIME + timedelta(hours=1))])
    return booking


def a_booking_of_today() -> Owned:
    """One that can be completed, by its coach."""
    booking = confirmed_booking()
    today = "UPDATE bookings SET starts_at = now(), ends_at = now() + interval '1 hour' WHERE execution_id = :id"
    with transaction() as db:
        booking_id = db.execute(text(f"{today} RETURNING id"), {"id": booking.execution_id}).scalar_one()
    return owned_by(booking, booking_id, Role.COACH)


def a_session_asked_about() -> Owned:
    """Completed, and the athlete is asked how it was."""
    booking = confirmed_booking()
    with transaction() as db:
        booking_id = db.scalars(select(Booking.id).where(Booking.execution_id == booking.execution_id)).one()
    completed = CompletedSession(booking_id, booking.athlete_id, booking.coach_id, *SESSION)
    execution_id = client.start(session_completion, completed, actor="test").execution_id
    for unit in ("record_time", "request_athlete_feedback"):
        Runner(registry, "worker:test").run(Delivery(session_completion.name, unit, execution_id, 1))
    return owned_by(booking, execution_id, Role.ATHLETE)


def a_report() -> Owned:
    """For admins alone."""
    january = date(2026, 1, 1), date(2026, 1, 31)
    report(*january)
    return Owned(report_id_of(*january, coach_id=None), {})


def an_approval() -> Owned:
    session = a_session_asked_about()
    (asked,) = client.approvals_of(session.object_id)
    return replace(session, object_id=asked.approval_id)


SESSION = (clock.now() - timedelta(hours=2), clock.now() - timedelta(hours=1))
MOVED = {"slot_datetime": ANOTHER_TIME.isoformat()}
TIMES = dict(zip(("actual_start_time", "actual_end_time"), (each.isoformat() for each in SESSION), strict=True))
ANSWER = {"data": {"rating": 5, "objectives_met": True}}
EXAMPLES = {
    "GET /api/me": Example(an_athlete),
    "GET /api/coaches/{coach_id}/slots": Example(a_coach_with_a_slot),
    "DELETE /api/coaches/me/slots/{slot_id}": Example(a_slot),
    "POST /api/bookings": Example(body={"coach_id": str(NOWHERE), "slot_datetime": "2030-01-01T09:00:00Z"}),
    "GET /api/bookings": Example(a_booking),
    "GET /api/bookings/{booking_id}": Example(a_booking),
    "GET /api/athletes/{athlete_id}/profile": Example(an_athlete_with_a_profile),
    "POST /api/bookings/{booking_id}/complete": Example(a_booking_of_today, TIMES),
    "POST /api/bookings/{booking_id}/cancel": Example(a_booking, {}),
    "POST /api/bookings/{booking_id}/reschedule": Example(a_booking_with_room_beside_it, MOVED),
    "POST /api/bookings/{booking_id}/no-show": Example(a_booking_of_today),
    "POST /api/feedback/submit": Example(a_session_asked_about, {"execution_id": THE_OBJECT, **ANSWER["data"]}),
    "GET /api/bookings/{booking_id}/feedback": Example(a_booking),
    "GET /api/approvals": Example(an_approval),
    "GET /api/approvals/{approval_id}": Example(an_approval),
    "POST /api/approvals/{approval_id}/approve": Example(an_approval, ANSWER),
    "POST /api/approvals/{approval_id}/reject": Example(an_approval, REASON),
    "GET /api/me/credits": Example(a_ledger_entry),
    "GET /api/me/notifications": Example(a_notification),
    "POST /api/me/notifications/{notification_id}/read": Example(a_notification),
    "PATCH /api/admin/users/{user_id}": Example(an_athlete, {"is_active": True}),
    "POST /api/admin/reports/payment": Example(body={"start_date": "2026-01-01", "end_date": "2026-01-31"}),
    "GET /api/admin/reports/{report_id}": Example(a_report),
    "GET /api/admin/reports/{report_id}.csv": Example(a_report),
    "GET /api/executions/{execution_id}": Example(an_execution(completed_booking)),
    "GET /api/executions/{execution_id}/events": Example(an_execution(completed_booking)),
    "GET /api/executions/{execution_id}/watch": Example(an_execution(completed_booking)),
    "POST /api/executions/{execution_id}/resume": Example(an_execution(failed_booking)),
    "POST /api/executions/{execution_id}/cancel": Example(an_execution(confirmed_booking), REASON),
    "POST /api/executions/{execution_id}/rerun": Example(an_execution(completed_booking), REASON),
}


def names_an_object(entry: Access) -> bool:
    example = EXAMPLES.get(entry.call, Example())
    return bool(PLACEHOLDER.search(entry.path)) or THE_OBJECT in (example.body or {}).values()


OF_OBJECTS = [entry for entry in TABLE if names_an_object(entry)]
LISTS = [entry for entry in TABLE if entry.method == "GET" and entry.restricted and entry not in OF_OBJECTS]


def made_for(entry: Access) -> Owned:
    example = EXAMPLES.get(entry.call)
    assert example is not None, f'add a line to EXAMPLES: "{entry.call}": Example(<what makes an object for it>)'
    assert example.make is not None, f"say in EXAMPLES what makes an object for {entry.call}"
    return example.make()


def call(api: httpx.Client, entry: Access, headers: Headers, object_id: UUID = NOWHERE) -> httpx.Response:
    """The entry's call, about this object, with the body of its example."""
    body = EXAMPLES.get(entry.call, Example()).body
    if body is not None:
        body = {field: str(object_id) if value == THE_OBJECT else value for field, value in body.items()}
    return api.request(entry.method, url(entry, object_id), headers=headers, json=body)


def senseless_call(api: httpx.Client, entry: Access, headers: Headers) -> httpx.Response:
    """A call of which nothing is right: who calls is to be looked at before any of it is read."""
    headers = {**headers, "Content-Type": "application/json"}
    content = None if entry.method == "GET" else b"{"
    return api.request(entry.method, url(entry, "no-id"), headers=headers, content=content)


def url(entry: Access, object_id: object) -> str:
    return PLACEHOLDER.sub(str(object_id), entry.path)


def judged(answer: httpx.Response) -> str:
    """Whether the gate let the call through, whatever became of it; a route that breaks shows as its status."""
    refused = answer.status_code in (401, 403, 405) or answer.status_code >= 500
    return str(answer.status_code) if refused else "let in"


def misjudged(api: httpx.Client, headers: Headers, verdict: Callable[[Access], str]) -> list[str]:
    """The senseless calls that are answered otherwise than the table says."""
    return [
        f"{entry.call}: {found} instead of {wanted}"
        for entry in TABLE
        if (wanted := verdict(entry)) != (found := judged(senseless_call(api, entry, headers)))
    ]


@pytest.fixture(autouse=True)
def nobody_waits(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no worker."""
    monkeypatch.setenv("ZEA_BOOKING_WAIT", "0")
    config.settings.cache_clear()


@pytest.fixture(autouse=True)
def sweeps(sweeps_run: None) -> None:
    """Executions move, as far as anybody can tell."""


@pytest.fixture
def strangers(make_person: Callable[[Role], Person]) -> Mapping[Role, Headers]:
    """A person of each role, to whom nothing belongs."""
    return {role: make_person(role).headers for role in Role}


# The table and the routes


def served(app: FastAPI) -> list[tuple[str, str]]:
    """What the application answers to. Its own list holds the routers as wholes, so each is opened."""
    routers = [import_module(f"zea.api.routes.{name}").router for name in ROUTES]
    outside = [route for route in app.routes if isinstance(route, Route)]
    assert len(app.routes) == len(routers) + len(outside), "the application serves more than ROUTES and plain routes"
    gated = [route for each in routers for route in each.routes]
    assert [route for route in gated if not isinstance(route, RepeatedRoute)] == [], "make routers by routing.router"
    # HEAD is GET without what was asked for.
    return [(method, route.path) for route in (*gated, *outside) for method in (route.methods or {"?"}) - {"HEAD"}]


def test_every_route_has_an_entry_and_every_entry_a_route(app: FastAPI) -> None:
    routes = served(app)
    assert [route for route in routes if route not in access.ENTRIES] == [], "add to TABLE in zea/api/access.py"
    assert [entry.call for entry in TABLE if (entry.method, entry.path) not in routes] == [], "there is no such route"
    assert len(TABLE) == len(access.ENTRIES) == len(set(routes)) == len(routes)


def test_what_is_described_is_what_is_served(app: FastAPI) -> None:
    """Every route is described by the path at which it is served, and it is said whether it wants a token."""
    operations = {
        (method.upper(), path): "security" in operation
        for path, described in app.openapi()["paths"].items()
        for method, operation in described.items()
    }
    outside = [(entry.method, entry.path) for entry in TABLE if not entry.path.startswith(("/api/", "/health/"))]
    assert {*operations, *outside} == set(served(app))
    assert len(operations) > 25
    # Prometheus has no account: it has a token that is nobody's.
    assert {route for route, secured in operations.items() if secured is (access.ENTRIES[route].who is ANYONE)} == {
        ("GET", "/metrics")
    }


def test_a_route_without_an_entry_is_not_made(app: FastAPI) -> None:
    for anywhere in (router("/test", "test"), app):
        with pytest.raises(ConfigurationError, match=r"GET (/test)?/secret is not in the table .* add to TABLE in"):
            anywhere.get("/secret")(lambda: None)


def test_a_route_that_is_not_behind_the_gate_is_not_served() -> None:
    plain = APIRouter(prefix="/test")
    plain.get("/secret")(lambda: None)
    within = router("/api", "test")
    within.include_router(plain)
    for each in (plain, within):
        with pytest.raises(ConfigurationError, match=r"does not stand behind the gate.* make its router with"):
            behind_the_gate(each)


def test_an_application_with_such_a_route_is_not_made(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = APIRouter()
    plain.get("/api/me")(lambda: None)
    monkeypatch.setattr("zea.api.routes.me.router", plain)
    with pytest.raises(ConfigurationError, match="/api/me does not stand behind the gate"):
        create_app()


def test_a_route_has_one_method(app: FastAPI) -> None:
    with pytest.raises(ConfigurationError, match="make one for each"):
        app.api_route("/secret", methods=["GET", "POST"])(lambda: None)


def test_every_example_is_of_an_entry() -> None:
    assert EXAMPLES.keys() <= {entry.call for entry in TABLE}


def fields_of_body(described: Mapping[str, Any], entry: Access) -> list[str]:
    """The fields that the entry's route takes, by the API's description."""
    operation = described["paths"].get(entry.path, {}).get(entry.method.lower(), {})
    bodies = re.findall(r"#/components/schemas/(\w+)", str(operation.get("requestBody")))
    return [field for body in bodies for field in described["components"]["schemas"][body]["properties"]]


def unwalked_bodies(described: Mapping[str, Any]) -> list[str]:
    return [
        f'add a line to EXAMPLES: "{entry.call}": Example(<what makes an object for it>, {{"{field}": THE_OBJECT}})'
        for entry in access.ENTRIES.values()
        for field in fields_of_body(described, entry)
        if field.endswith("_id") and entry.restricted and entry.call not in EXAMPLES
    ]


def test_a_body_that_names_an_object_is_walked(app: FastAPI) -> None:
    assert "athlete_id" in fields_of_body(app.openapi(), access.ENTRIES["POST", "/api/admin/credits"])
    assert unwalked_bodies(app.openapi()) == []


# What the table may say at all. The gate follows the table, and so does the walk: neither sees a line that is wrong.


def test_without_signing_in_there_is_nothing_but_signing_in() -> None:
    opened = [entry.path for entry in TABLE if entry.who is ANYONE and entry.path.startswith("/api/")]
    assert [path for path in opened if not path.startswith("/api/auth/")] == []


def test_only_admins_may_what_stands_under_admin() -> None:
    under_admin = [entry for entry in TABLE if entry.path.startswith("/api/admin/")]
    assert under_admin
    assert [entry.call for entry in under_admin if entry.who is not ADMINS] == []


def test_only_admins_find_everybodys_but_for_coaches_and_their_hours() -> None:
    others = EVERY_ROLE - {Role.ADMIN}
    found = {entry.call for entry in TABLE if others & entry.who.roles & entry.objects.unrestricted}
    assert found == {"GET /api/coaches", "GET /api/coaches/{coach_id}/slots"}


# Who may call


def test_without_a_token_only_what_is_for_anyone_is_let_in(api: httpx.Client) -> None:
    assert misjudged(api, {}, lambda entry: "let in" if entry.who is ANYONE else "401") == []


def verdict_on(role: Role, claimed: Role | None = None) -> Callable[[Access], str]:
    """What the table says of a person with this role, whose token may claim another one."""

    def verdict(entry: Access) -> str:
        looked_at = claimed if claimed and entry.route_checks_account else role
        return "let in" if entry.who is ANYONE or looked_at in entry.who.roles else "403"

    return verdict


@pytest.mark.parametrize("role", Role)
def test_each_role_is_let_in_where_the_table_says_so(
    api: httpx.Client, strangers: Mapping[Role, Headers], role: Role
) -> None:
    assert misjudged(api, strangers[role], verdict_on(role)) == []


@pytest.mark.parametrize("role", Role)
def test_the_role_is_the_accounts_and_not_the_tokens(
    api: httpx.Client, make_person: Callable[[Role], Person], role: Role
) -> None:
    """But for the routes of which the table says otherwise."""
    person = make_person(role)
    for claimed in EVERY_ROLE - {role}:
        headers = {"Authorization": f"Bearer {tokens.access_token(person.user_id, claimed)}"}
        assert misjudged(api, headers, verdict_on(role, claimed)) == []


def test_who_has_closed_their_account_is_nobody(api: httpx.Client, make_person: Callable[[Role], Person]) -> None:
    closed = {role: make_person(role) for role in Role}
    for person in closed.values():
        close_account(person.user_id)
    for entry in TABLE:
        assert not entry.route_checks_account or entry.call in EXAMPLES, f"give {entry.call} a body in EXAMPLES"
        for role in entry.who.roles:
            assert judged(call(api, entry, closed[role].headers)) == "401", (entry.call, role)


def test_an_account_that_its_route_checks_costs_the_gate_nothing(
    api: httpx.Client, strangers: Mapping[Role, Headers], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(gate, "_with_open_account")
    entries = [entry for entry in TABLE if entry.route_checks_account]
    assert entries
    for entry in entries:
        for role in Role:
            assert judged(senseless_call(api, entry, strangers[role])) == verdict_on(role)(entry)


# Whose objects they find


def check_objects(api: httpx.Client, entry: Access, strangers: Mapping[Role, Headers]) -> None:
    """Everybody who may call, and everybody who may not, asks for the same object of somebody else's."""
    found_by_owners = [role for role in entry.who.roles if is_found_as_it_should(api, entry, role, strangers[role])]
    assert found_by_owners or not entry.restricted, f"the example of {entry.call} belongs to nobody who may call it"
    for role in EVERY_ROLE - entry.who.roles:
        owned = made_for(entry)
        for headers in (strangers[role], owned.owners.get(role, strangers[role])):
            assert call(api, entry, headers, owned.object_id).status_code == 403, (entry.call, role)


def is_found_as_it_should(api: httpx.Client, entry: Access, role: Role, stranger: Headers) -> bool:
    """Whether the object has an owner of this role, who finds it at the URL at which a stranger does, or does not."""
    owned = made_for(entry)
    missing = call(api, entry, stranger, NOWHERE)
    assert missing.status_code == 404, f"{entry.call} of nothing, by {role}, with the example's body: {missing.text}"
    answer = call(api, entry, stranger, owned.object_id)
    if role not in entry.restricted:
        assert answer.is_success, f"{entry.call} of another's, by {role}: {answer.text}"
        return False
    assert answer.status_code == 404, f"{entry.call} lets {role} find another's: {answer.text}"
    # Not even that it exists is told.
    assert answer.json()["detail"] == missing.json()["detail"]
    if role not in owned.owners:
        return False
    answer = call(api, entry, owned.owners[role], owned.object_id)
    assert answer.is_success, f"{entry.call} of their own, by {role}: {answer.text}"
    return True


@pytest.mark.parametrize("entry", OF_OBJECTS, ids=lambda entry: entry.call)
def test_an_object_is_found_by_whom_the_table_names(
    api: httpx.Client, strangers: Mapping[Role, Headers], entry: Access
) -> None:
    check_objects(api, entry, strangers)


@pytest.mark.parametrize("entry", LISTS, ids=lambda entry: entry.call)
def test_a_list_holds_what_the_table_says(api: httpx.Client, strangers: Mapping[Role, Headers], entry: Access) -> None:
    owned = made_for(entry)

    def lists_it(headers: Headers) -> bool:
        answer = call(api, entry, headers)
        assert answer.is_success, answer.text
        return str(owned.object_id) in answer.text

    assert {role for role in entry.who.roles if lists_it(strangers[role])} == entry.who.roles - entry.restricted
    owners: Collection[Role] = owned.owners.keys() & entry.restricted
    assert owners
    assert {role for role in owners if lists_it(owned.owners[role])} == owners


# That the walk sees what it is there for


def test_a_gate_that_asks_for_no_role_is_seen(
    api: httpx.Client, strangers: Mapping[Role, Headers], monkeypatch: pytest.MonkeyPatch
) -> None:
    admit = gate.admit

    async def admit_every_role(request: Request, entry: Access) -> None:
        await admit(request, entry if entry.who is ANYONE else replace(entry, who=SIGNED_IN))

    monkeypatch.setattr(gate, "admit", admit_every_role)
    for role in Role:
        closed = [entry.call for entry in TABLE if verdict_on(role)(entry) == "403"]
        assert closed
        assert misjudged(api, strangers[role], verdict_on(role)) == [
            f"{each}: let in instead of 403" for each in closed
        ]


class Thing(BaseModel):
    """The body of a call that names its object there."""

    thing_id: UUID


def show(thing_id: UUID) -> UUID:
    if thing_id == NOWHERE:
        raise NotFound
    return thing_id


def show_named(thing: Thing) -> UUID:
    return show(thing.thing_id)


def with_route(app: FastAPI, monkeypatch: pytest.MonkeyPatch, entry: Access, endpoint: Callable[..., UUID]) -> Access:
    monkeypatch.setitem(access.ENTRIES, (entry.method, entry.path), entry)
    things = router("", "test")
    things.add_api_route(entry.path, endpoint, methods=[entry.method])
    app.include_router(things)
    return entry


@pytest.fixture
def own_thing(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Access:
    """A route that shows everything there is to everybody, and an entry that says otherwise."""
    return with_route(app, monkeypatch, Access("GET", "/test/things/{thing_id}", SIGNED_IN, THEIR_OWN), show)


@pytest.fixture
def own_named_thing(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Access:
    """Another one, which is told in the body what to show."""
    return with_route(app, monkeypatch, Access("POST", "/test/things", SIGNED_IN, THEIR_OWN), show_named)


def test_an_entry_that_says_more_than_its_route_enforces_is_seen(
    own_thing: Access, api: httpx.Client, strangers: Mapping[Role, Headers], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EXAMPLES, own_thing.call, Example(a_booking))
    with pytest.raises(AssertionError, match=r"lets (athlete|coach|admin) find another's"):
        check_objects(api, own_thing, strangers)


def test_an_entry_that_says_less_than_its_route_enforces_is_seen(
    api: httpx.Client, strangers: Mapping[Role, Headers]
) -> None:
    booking = access.ENTRIES["GET", "/api/bookings/{booking_id}"]
    with pytest.raises(AssertionError, match=r"of another's, by (athlete|coach)"):
        check_objects(api, replace(booking, objects=EVERYBODYS), strangers)


def test_an_entry_without_an_example_says_what_to_add(
    own_thing: Access, api: httpx.Client, strangers: Mapping[Role, Headers]
) -> None:
    with pytest.raises(AssertionError, match=r'add a line to EXAMPLES: "GET /test/things/{thing_id}": Example'):
        check_objects(api, own_thing, strangers)


def test_an_object_that_is_named_in_the_body_is_walked_like_one_in_the_path(
    own_named_thing: Access, api: httpx.Client, strangers: Mapping[Role, Headers], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EXAMPLES, own_named_thing.call, Example(a_booking, {"thing_id": THE_OBJECT}))
    assert names_an_object(own_named_thing)
    with pytest.raises(AssertionError, match=r"lets (athlete|coach|admin) find another's"):
        check_objects(api, own_named_thing, strangers)


def test_a_body_without_an_example_says_what_to_add(own_named_thing: Access, app: FastAPI) -> None:
    (missing,) = unwalked_bodies(app.openapi())
    assert missing.startswith(f'add a line to EXAMPLES: "{own_named_thing.call}": Example(')
    assert missing.endswith('{"thing_id": THE_OBJECT})')
