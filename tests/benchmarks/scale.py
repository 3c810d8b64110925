"""`make bench-scale`: what lists, statuses, searches and health take among a million executions, on one machine."""

import http.client
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from uuid import UUID

import psycopg
from rich.console import Console
from rich.table import Table

from tests.benchmarks.booking import headers_of, p95, running_system, use
from tests.benchmarks.filling import WEEK, YEAR, Lot, fill

if TYPE_CHECKING:
    from workflows.engine.client import ExecutionClient
    from workflows.engine.search import Filter

EXECUTIONS = 1_000_000
ROUNDS = 40
LIMIT = 100.0  # milliseconds that nothing may take longer than, 19 times of 20
RARE, COMMON = "compensation_failed", "slot_not_available"
BOOKING, ONBOARDING, SESSION, REPORT = (
    f"zea_sport.{name}" for name in ("BookingRequest", "AthleteOnboarding", "SessionCompletion", "PaymentReport")
)
ENDED = """
    SELECT workflow, status, array_agg(id ORDER BY id) FROM workflow_executions
    WHERE id = ANY (%(wanted)s::uuid[]) OR status = 'completed' GROUP BY workflow, status"""
COUNTS = """
    SELECT (SELECT count(*) FROM workflow_executions), (SELECT count(*) FROM workflow_events),
           (SELECT count(*) FROM workflow_approvals)"""
NEWEST = """
    SELECT id, subject FROM workflow_executions WHERE workflow = %s AND status = %s
    ORDER BY created_at DESC OFFSET 100 LIMIT 1"""


def prototypes(connection: Mapping[str, str]) -> dict[tuple[str, str], list[UUID]]:
    """Executions that the running system made, by workflow and status."""
    from zea.cli.demo import walk

    with redirect_stdout(StringIO()) as told:
        walked = walk(connection["api_url"], Console())
    if not walked:
        raise SystemExit(told.getvalue())
    wanted = [waiting(connection), ended(connection, "reject"), ended(connection, "cancel"), refused(connection)]
    with psycopg.connect(connection["database_url"]) as database:
        rows = database.execute(ENDED, {"wanted": wanted}).fetchall()
    return {(workflow, status): ids for workflow, status, ids in rows}


def waiting(connection: Mapping[str, str]) -> str:
    """An onboarding that waits for a profile."""
    from zea.cli.people import new_athlete, register, signed_in

    person = new_athlete()
    execution_id: str = register(connection["api_url"], person)["onboarding_execution_id"]
    with signed_in(connection["api_url"], person) as athlete:
        _until(lambda: bool(athlete.get(f"/api/executions/{execution_id}")["approvals"]))
    return execution_id


def ended(connection: Mapping[str, str], how: str) -> str:
    """An onboarding that an admin has ended: ``reject`` makes it fail, ``cancel`` is what it says."""
    from zea.cli.people import ADMIN, signed_in

    execution_id = waiting(connection)
    place = f"/api/executions/{execution_id}"
    with signed_in(connection["api_url"], ADMIN) as admin:
        (asked,) = admin.get(place)["approvals"]
        about = {"reject": f"/api/approvals/{asked['approval_id']}", "cancel": place}[how]
        admin.post(f"{about}/{how}", reason="a measurement")
        _until(lambda: admin.get(place)["completed_at"] is not None)
    return execution_id


def refused(connection: Mapping[str, str]) -> str:
    """A booking that failed: its hour was taken."""
    from tests.benchmarks.seeding import customer

    who = customer(1)
    request = json.dumps(next(who.requests))
    for expected in (201, 409):
        api = _to(connection)
        api.request("POST", "/api/bookings", request, headers_of(who))
        answer = api.getresponse()
        if answer.status != expected:
            raise SystemExit(f"a booking was answered with {answer.status}: {answer.read()!r}")
    with psycopg.connect(connection["database_url"]) as database:
        found = "SELECT id::text FROM workflow_executions WHERE workflow = %s AND status = 'failed'"
        (execution_id,) = database.execute(found, (BOOKING,)).fetchone() or (None,)
    assert execution_id is not None, "the refused booking left no execution"
    return str(execution_id)


def _to(connection: Mapping[str, str]) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(connection["api_url"].removeprefix("http://"), timeout=60)


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit("an execution did not come to where it was expected within 30 s")
        time.sleep(0.05)


def lots(made: Mapping[tuple[str, str], Sequence[UUID]], executions: int) -> list[Lot]:
    """A year's executions: most are completed, one in a hundred failed, one in a thousand was cancelled."""
    (failed,), (unfinished,) = made[BOOKING, "failed"], made[ONBOARDING, "waiting_for_approval"]
    (rejected,), (cancelled,) = made[ONBOARDING, "failed"], made[ONBOARDING, "cancelled"]
    some = [
        Lot(unfinished, executions // 50, oldest=WEEK),
        Lot(made[BOOKING, "completed"][0], 50, begun=True, oldest=timedelta(minutes=1)),
        Lot(cancelled, executions // 1000, kind="cancelled"),
        Lot(failed, 5, kind=RARE, oldest=YEAR, newest=YEAR * 0.9),
        Lot(failed, executions // 200, kind=COMMON),
        Lot(failed, executions // 500, kind="insufficient_credits"),
        Lot(failed, executions // 1000, kind="worker_lost"),
        Lot(rejected, executions // 500, kind="profile_not_completed"),
    ]
    rest = executions - sum(lot.count for lot in some)
    shares = [(BOOKING, 0.55), (SESSION, 0.27), (ONBOARDING, 0.1)]
    for workflow, share in shares:
        completed = made[workflow, "completed"]
        some.extend(Lot(each, int(rest * share / len(completed))) for each in completed)
    some.append(Lot(made[REPORT, "completed"][0], executions - sum(lot.count for lot in some)))
    return some


@dataclass(frozen=True)
class Question:
    """Something that is asked over HTTP and of the client in Python."""

    name: str
    path: str
    of_client: "Callable[[ExecutionClient], object]"


def question(name: str, wanted: "Filter", cursor: str | None = None) -> Question:
    """A list of executions."""
    named = {"since": "from", "before": "to"}
    query: dict[str, Any] = {named.get(each, each): value for each, value in asdict(wanted).items() if value}
    active = query.pop("active", False)
    query |= {"cursor": cursor} if cursor else {}
    path = f"/api/executions{'/active' if active else ''}?{urlencode(query)}"
    return Question(name, path, lambda client: client.list_executions(wanted, cursor=cursor))


def questions(now: datetime, known: Mapping[str, tuple[UUID, str]]) -> list[Question]:
    """What is measured. ``known`` are the id and the subject of a completed and of a waiting execution."""
    from workflows.engine.search import Filter
    from zea.cursors import to_cursor

    day, (completed, subject), (unfinished, _) = timedelta(days=1), known["completed"], known["waiting"]
    deep, deeper = (to_cursor(now - share * YEAR, UUID(int=0)) for share in (0.5, 0.95))
    lately, long_ago = {"since": now - day, "before": now}, {"since": now - 300 * day, "before": now - 299 * day}
    lists = {
        "everything": question("everything", Filter()),
        "everything, a page deep within": question("everything, a page deep within", Filter(), deep),
    }
    filters = {
        "completed": Filter("completed"),
        "failed": Filter("failed"),
        "cancelled": Filter("cancelled"),
        "waiting": Filter("waiting_for_approval"),
        "compensating (none)": Filter("compensating"),
        "one workflow": Filter(workflow=REPORT),
        "a workflow that does not exist": Filter(workflow="zea_sport.Unknown"),
        "one subject": Filter(subject=subject),
        "a subject that does not exist": Filter(subject="booking:none"),
        "a common kind of error": Filter(error_kind=COMMON),
        "a rare kind of error (5, old)": Filter(error_kind=RARE),
        "a kind of error that never was": Filter(error_kind="unheard_of"),
        "the last day": Filter(**lately),
        "a day long ago": Filter(**long_ago),
        "before all": Filter(before=now - 2 * YEAR),
        "failed, of one workflow": Filter("failed", BOOKING),
        "failed, of a workflow that never failed": Filter("failed", REPORT),
        "cancelled, of a workflow that never was": Filter("cancelled", BOOKING),
        "waiting, of a workflow that never waits": Filter("waiting_for_approval", REPORT),
        "running, of a workflow of which none is": Filter("running", REPORT),
        "failed, the last day": Filter("failed", **lately),
        "failed, of one workflow, a day long ago": Filter("failed", BOOKING, **long_ago),
        "failed, by one kind of error, of one workflow": Filter("failed", BOOKING, error_kind=COMMON),
        "one kind of error, of a workflow without it": Filter(workflow=ONBOARDING, error_kind=COMMON),
        "a rare kind of error, the last day": Filter(error_kind=RARE, **lately),
        "completed, of one subject": Filter("completed", subject=subject),
        "failed, of one subject without failures": Filter("failed", subject=subject),
        "active": Filter(active=True),
    }
    paged = {
        "completed, a page deep within": question("completed, a page deep within", Filter("completed"), deeper),
        "failed, of one workflow, a page deep within": question(
            "failed, of one workflow, a page deep within", Filter("failed", BOOKING), deep
        ),
    }
    singles = [
        Question("status, completed", f"/api/executions/{completed}", lambda c: c.get_execution_status(completed)),
        Question("status, waiting", f"/api/executions/{unfinished}", lambda c: c.get_execution_status(unfinished)),
        Question("events of one", f"/api/executions/{completed}/events", lambda c: c.events(completed)),
        Question("approvals", "/api/approvals", lambda c: c.list_approvals()),
        Question("approvals, pending", "/api/approvals?pending=true", lambda c: c.list_approvals(pending=True)),
        Question("health", "/health/workflows", lambda c: c.pulse()),
        Question("metrics", "/metrics", lambda c: c.census()),
    ]
    return [*lists.values(), *(question(name, each) for name, each in filters.items()), *paged.values(), *singles]


def measure(asked: Sequence[Question], ask: Callable[[Question], object]) -> dict[str, list[float]]:
    """Milliseconds of each question, in turn: so all of them meet what a connection has prepared for the others."""
    took: dict[str, list[float]] = {each.name: [] for each in asked}
    for _ in range(ROUNDS):
        for each in asked:
            began = time.perf_counter()
            ask(each)
            took[each.name].append((time.perf_counter() - began) * 1000)
    return took


def over_http(connection: Mapping[str, str]) -> Callable[[Question], object]:
    """An admin's HTTP client, on one connection."""
    from zea.accounts import tokens
    from zea.accounts.models import Role

    with psycopg.connect(connection["database_url"]) as database:
        (admin,) = database.execute("SELECT id FROM users WHERE role = 'admin'").fetchone() or (None,)
    assert admin is not None, "the walk made no admin"
    api, headers = _to(connection), {"Authorization": f"Bearer {tokens.access_token(admin, Role.ADMIN)}"}

    def ask(wanted: Question) -> object:
        api.request("GET", wanted.path, headers=headers)
        answer = api.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{wanted.path} was answered with {answer.status}: {content!r}")
        return content

    return ask


def in_python() -> Callable[[Question], object]:
    from workflows.catalog import registry
    from workflows.engine.client import ExecutionClient

    client = ExecutionClient(registry)
    return lambda wanted: wanted.of_client(client)


def known_executions(database_url: str) -> tuple[datetime, dict[str, tuple[UUID, str]]]:
    """The moment, and the id and the subject of a completed and of a waiting execution."""
    with psycopg.connect(database_url) as database:
        (now,) = database.execute("SELECT now()").fetchone() or (None,)
        found = {
            "completed": database.execute(NEWEST, (BOOKING, "completed")).fetchone(),
            "waiting": database.execute(NEWEST, (ONBOARDING, "waiting_for_approval")).fetchone(),
        }
    assert now is not None
    return now, {name: (row[0], row[1]) for name, row in found.items() if row}


def measured(connection: Mapping[str, str], console: Console) -> float:
    """Ask everything, print what it took, and answer the largest p95."""
    asked = questions(*known_executions(connection["database_url"]))
    taken = measure(asked, over_http(connection)), measure(asked, in_python())
    table = Table("asked", "HTTP p50", "p95", "worst", "Python p50", "p95", "worst", box=None, pad_edge=False)
    for each in asked:
        cells = [f"{f(took[each.name]):.1f}" for took in taken for f in (median, p95, max)]
        table.add_row(each.name, *cells)
    console.print(table)
    return max(p95(values) for took in taken for values in took.values())


def main() -> int:
    console = Console(highlight=False, width=140)
    with tempfile.TemporaryDirectory() as folder, running_system(Path(folder) / "zea") as connection:
        use(connection, Path(folder) / "zea")
        began = time.perf_counter()
        fill(connection["database_url"], lots(prototypes(connection), EXECUTIONS))
        with psycopg.connect(connection["database_url"]) as database:
            executions, events, approvals = database.execute(COUNTS).fetchone() or (0, 0, 0)
        console.print(
            f"{executions:,} executions, {events:,} events, {approvals:,} approvals, written in"
            f" {time.perf_counter() - began:.0f} s. Milliseconds of {ROUNDS} rounds:"
        )
        worst = measured(connection, console)
    if worst > LIMIT:
        console.print(f"[red]A p95 of {worst:.0f} ms is over {LIMIT:.0f} ms.[/]")
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
