"""`zea demo`: a walk through the workflows over HTTP, as any client would take it.

Only deadlines of seconds are nothing that HTTP offers: what has them is started from here.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from time import perf_counter
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from workflows.engine.status import ExecutionView
from workflows.session_completion import CompletedSession, session_completion
from zea import clock
from zea.cli import report, timeline
from zea.cli.app import REFUSED
from zea.cli.executions import client
from zea.cli.interventions import actor
from zea.cli.people import (
    ADMIN,
    PASSWORD,
    Caller,
    Person,
    WalkFailed,
    check,
    new_athlete,
    register,
    seed,
    signed_in,
    stand_in,
)
from zea.config import connected_api, settings
from zea.reports.periods import last_day, month_of
from zea.reports.schemas import ReportView

app = typer.Typer()

CREDITS: Final = 10
HOUR: Final = timedelta(hours=1)
# A training session may begin a day before its slot: one that was held two hours ago fits all of these.
HOURS_AHEAD: Final = range(2, 22)
LONGEST_SLOT: Final = timedelta(hours=12)
PROFILE: Final = {
    "sport": "tenis",
    "position": "singles",
    "objectives": ["mejorar el saque", "llegar mejor a la red"],
    "experience_level": "intermediate",
}
NOTES: Final = "Trabajemos la salida de tacos."
FEEDBACK: Final = {"rating": 5, "objectives_met": True, "comments": "¡Gran sesión! La próxima semana, otra."}
EVALUATION: Final = {
    "performance_rating": 4,
    "areas_worked": ["saque", "salida de tacos"],
    "areas_to_improve": ["volea"],
    "notes_for_next_session": "Empezar por la volea.",
}
# For one execution only; everybody else has the days that the workflow gives them.
SHORT_DEADLINES: Final = {
    "request_athlete_feedback": timedelta(seconds=3),
    "request_coach_evaluation": timedelta(seconds=4),
}


@app.command(epilog="Example: zea demo")
def demo() -> None:
    """Walk through every workflow on a running system."""
    if not walk(connected_api(), Console(highlight=False)):
        raise typer.Exit(REFUSED)


def walk(base_url: str, console: Console) -> bool:
    """Let a new athlete be onboarded, book and be trained, and the coach be paid; whether all went as it should."""
    try:
        with ExitStack() as callers:
            Walk(base_url, console, callers).take()
    except (WalkFailed, httpx.HTTPError) as error:
        console.print(f"[red]The walk stopped: {escape(str(error))}[/]", soft_wrap=True)
        return False
    return True


@dataclass(frozen=True)
class Booked:
    """An hour that is booked."""

    booking_id: str
    execution_id: str
    starts_at: str


@dataclass(frozen=True)
class Walk:
    """One athlete's way through the workflows; its callers are signed in for as long as ``callers`` is open."""

    base_url: str
    console: Console
    callers: ExitStack

    def take(self) -> None:
        seed(ADMIN, stand_in(0))
        admin = self._enter(ADMIN)
        athlete = self._onboard(admin, new_athlete())
        coach, hours = self._coach_with_room()
        self._introduce(admin, coach, athlete)
        admin.post("/api/admin/credits", athlete_id=athlete.user_id, amount=CREDITS, reason="demonstration")
        self._say(f"\n{admin.name} gave {athlete.name} {CREDITS} credits to begin with.")
        first, second = [self._book(athlete, coach, starts_at) for starts_at in hours]
        self._follow(admin, first.execution_id)
        unanswered = self._complete_unanswered(athlete, coach, second)
        self._complete(admin, athlete, coach, first)
        self._say("\nNobody answered about the other one; their time passed, and the session is closed all the same.")
        view = self._follow(admin, unanswered)
        check(not view.output["has_athlete_feedback"], "feedback was received that nobody gave")
        self._check_finalized(athlete, second)
        self._report(admin, coach)

    def _enter(self, person: Person) -> Caller:
        return self.callers.enter_context(signed_in(self.base_url, person))

    def _say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)

    def _follow(self, admin: Caller, execution_id: str) -> ExecutionView:
        return timeline.follow(self.console, admin, execution_id)

    def _introduce(self, *callers: Caller) -> None:
        people = Table("Role", "Sign in as", "Password", box=None, pad_edge=False)
        for caller in callers:
            people.add_row(caller.person.role.value, caller.person.email, PASSWORD)
        self._say("\nYou can sign in as each of them:")
        self.console.print(people)

    # Onboarding

    def _onboard(self, admin: Caller, person: Person) -> Caller:
        """Register, and complete the profile that this asks for."""
        onboarding_id = register(self.base_url, person)["onboarding_execution_id"]
        (asked,) = timeline.wait(admin, onboarding_id, lambda view: bool(view.approvals)).approvals
        self._say(
            f"\n{person.name} registered. He has until {asked.expires_at:%Y-%m-%d %H:%M} UTC to tell about himself,"
            " and does so now."
        )
        athlete = self._enter(person)
        began = perf_counter()
        saved = athlete.put("/api/athletes/me/profile", **PROFILE)
        check(saved["can_book"], f"{person.name} may not book: {saved}")
        self._say(f"He may book [green]{_milliseconds_since(began)} ms[/] later.")
        self._follow(admin, onboarding_id)
        return athlete

    # Booking

    def _coach_with_room(self) -> tuple[Caller, list[str]]:
        """The coach and two hours of hers; on a day with many walks, somebody who stands in for her."""
        for number in count():
            seed(stand_in(number))
            coach = self._enter(stand_in(number))
            if len(free := _free_hours(coach)) >= 2:
                slots = [{"starts_at": each.isoformat(), "ends_at": (each + HOUR).isoformat()} for each in free[:2]]
                return coach, [each["starts_at"] for each in coach.post("/api/coaches/me/slots", slots=slots)["items"]]
        raise AssertionError("numbers do not end")

    def _book(self, athlete: Caller, coach: Caller, starts_at: str) -> Booked:
        before = _credits(athlete)
        began = perf_counter()
        booked = athlete.post("/api/bookings", coach_id=coach.user_id, slot_datetime=starts_at, notes=NOTES)
        took = _milliseconds_since(began)
        check(booked.get("status") == "CONFIRMED", f"the booking is not confirmed: {booked}")
        after = _credits(athlete)
        self._say(
            f"{athlete.name} booked {coach.name} for {starts_at}: [green]CONFIRMED[/] in {took} ms,"
            f" credits {before} → {after}"
        )
        check(after == before - 1, "the booking did not cost exactly one credit")
        return Booked(booked["booking_id"], booked["execution_id"], starts_at)

    # Training

    def _complete_unanswered(self, athlete: Caller, coach: Caller, booked: Booked) -> str:
        """Complete a training session about which nobody says anything; answers its execution's id."""
        ended_at = clock.now() - HOUR / 2
        session = CompletedSession(
            UUID(booked.booking_id), UUID(athlete.user_id), UUID(coach.user_id), ended_at - HOUR, ended_at
        )
        started = client.start(session_completion, session, actor=actor(), timeouts=SHORT_DEADLINES)
        allowed = " and ".join(f"{each.seconds} s" for each in SHORT_DEADLINES.values())
        self._say(
            "\nBoth hours were trained, and both are asked how it was. For one of them nobody will answer:"
            f" that execution, and no other, waits {allowed} instead of days."
        )
        return str(started.execution_id)

    def _complete(self, admin: Caller, athlete: Caller, coach: Caller, booked: Booked) -> None:
        """Complete a training session about which both say how it was."""
        now = clock.now()
        times = {"actual_start_time": (now - 2 * HOUR).isoformat(), "actual_end_time": (now - HOUR / 2).isoformat()}
        completed = coach.post(f"/api/bookings/{booked.booking_id}/complete", **times)
        check(completed.get("billable_minutes") == 90, f"the session is not recorded: {completed}")
        execution_id = completed["execution_id"]
        timeline.wait(admin, execution_id, lambda view: len(view.approvals) == 2)
        for caller, answer in ((athlete, FEEDBACK), (coach, EVALUATION)):
            caller.post("/api/feedback/submit", execution_id=execution_id, **answer)
        self._say(f"About the other, {athlete.name} and {coach.name} answered at once: 90 minutes for her to be paid.")
        view = self._follow(admin, execution_id)
        check(view.output["has_complete_feedback"], "not all of the feedback was received")
        self._check_finalized(athlete, booked)

    # Paying

    def _report(self, admin: Caller, coach: Caller) -> None:
        """What is paid for the month in which both sessions were held."""
        zone, now = ZoneInfo(settings().timezone), clock.now()
        # One month, unless it has just turned.
        period = {"start_date": str(month_of(now - 2 * HOUR, zone)), "end_date": str(last_day(month_of(now, zone)))}
        began = perf_counter()
        made = admin.post("/api/admin/reports/payment", **period)
        check("revision" in made, f"the report is not made: {made}")
        self._say(f"\n{admin.name} asked for the month's payment report: made in {_milliseconds_since(began)} ms.")
        place, query = f"/api/admin/reports/{made['report_id']}", {"revision": made["revision"]}
        shown = ReportView.model_validate(admin.get(place, **query))
        report.show(shown, report.keep(shown.csv_name, [admin.get_file(f"{place}.csv", **query)]))
        paid = {str(each.coach_id): each.total_minutes for each in shown.coaches}
        check(paid.get(coach.user_id, 0) >= 150, f"the sessions of 90 and 60 minutes are not paid for: {paid}")
        self._follow(admin, made["execution_id"])

    def _check_finalized(self, athlete: Caller, booked: Booked) -> None:
        status = athlete.get(f"/api/bookings/{booked.booking_id}")["status"]
        check(status == "FINALIZED", f"the booking is {status}")
        self._say(f"The booking of {booked.starts_at} is [green]FINALIZED[/].")


def _free_hours(coach: Caller) -> list[datetime]:
    """When an hour can begin that the coach does not offer yet, and that can be completed today."""
    this_hour = clock.now().replace(minute=0, second=0, microsecond=0)
    starts = [this_hour + hours * HOUR for hours in HOURS_AHEAD]
    window = {"from": (this_hour - LONGEST_SLOT).isoformat(), "to": (starts[-1] + HOUR).isoformat(), "limit": 200}
    offered = [_period(slot) for slot in coach.get(f"/api/coaches/{coach.user_id}/slots", **window)["items"]]
    return [start for start in starts if all(end <= start or start + HOUR <= begin for begin, end in offered)]


def _period(slot: dict[str, Any]) -> tuple[datetime, datetime]:
    return datetime.fromisoformat(slot["starts_at"]), datetime.fromisoformat(slot["ends_at"])


def _credits(athlete: Caller) -> int:
    return int(athlete.get("/api/me/credits")["balance"])


def _milliseconds_since(began: float) -> int:
    return round((perf_counter() - began) * 1000)
