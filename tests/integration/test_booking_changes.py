"""Cancelling, moving and missing a booking: who may, until when, what it costs, and who is told."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.booking_desk import at, at_once, book, booked, context, grant, offer
from tests.integration.conftest import Person, wait_for_a_lock_to_be_wanted
from zea import clock, config
from zea.accounts import service as accounts
from zea.accounts.models import Role
from zea.bookings import changes
from zea.credits import service as credits
from zea.db import transaction
from zea.errors import BookingNotConfirmed, OverlappingBooking, SlotUnavailable
from zea.notifications import service as notifications

DAY, SECOND = timedelta(days=1), timedelta(seconds=1)


@dataclass(frozen=True)
class Desk:
    """A confirmed booking of the coach's first hour, and two more hours that are open."""

    api: httpx.Client
    booking_id: UUID
    athlete: Person
    coach: Person
    admin: Person

    def post(self, deed: str, by: Person, **body: Any) -> httpx.Response:
        return self.api.post(f"/api/bookings/{self.booking_id}/{deed}", json=body, headers=by.headers)

    def booking(self) -> dict[str, Any]:
        return dict(self.api.get(f"/api/bookings/{self.booking_id}", headers=self.coach.headers).json())

    def balance(self) -> int:
        return int(self.api.get("/api/me/credits", headers=self.athlete.headers).json()["balance"])

    def slots(self) -> list[str]:
        found = self.api.get(f"/api/coaches/{self.coach.user_id}/slots", headers=self.coach.headers)
        return [each["status"] for each in found.json()["items"]]

    def told(self, person: Person) -> list[dict[str, Any]]:
        return list(self.api.get("/api/me/notifications", headers=person.headers).json()["items"])

    def kinds(self) -> tuple[list[str], list[str]]:
        """What athlete and coach were told."""
        return ([each["kind"] for each in self.told(self.athlete)], [each["kind"] for each in self.told(self.coach)])

    def begins(self, after: timedelta) -> None:
        """As if the booking began so long after now."""
        with transaction() as db:
            db.execute(
                text("""
                    UPDATE bookings SET starts_at = clock_timestamp() + :after, ends_at = clock_timestamp() + :after
                        + interval '1 hour' WHERE id = :id"""),
                {"after": after, "id": self.booking_id},
            )


@pytest.fixture
def desk(api: httpx.Client, athlete: Person, coach: Person, admin: Person) -> Desk:
    offer(coach.user_id, 1, 2, 3)
    grant(athlete.user_id, 2)
    return Desk(api, booked(athlete.user_id, coach.user_id, 1), athlete, coach, admin)


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("urn:zea:problem:")


class TestCancelling:
    """POST /api/bookings/{id}/cancel"""

    @pytest.mark.parametrize(
        ("who", "before", "refunded"),
        [
            ("athlete", DAY + SECOND, True),
            ("athlete", DAY - SECOND, False),
            ("athlete", 30 * SECOND, False),
            ("coach", 30 * SECOND, True),
            ("admin", 30 * SECOND, True),
        ],
    )
    def test_gives_the_credit_back_or_says_that_it_does_not(
        self, desk: Desk, who: str, before: timedelta, refunded: bool
    ) -> None:
        desk.begins(before)
        answer = desk.post("cancel", getattr(desk, who), reason="lesión de rodilla")
        assert (answer.status_code, answer.json()["status"], answer.json()["refunded"]) == (200, "CANCELLED", refunded)
        assert desk.balance() == 1 + refunded
        assert desk.slots() == ["open", "open", "open"]
        assert_ledgers_agree()

    def test_a_day_is_what_the_settings_say(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ZEA_CANCELLATION_REFUND_WINDOW", "PT2H")
        config.settings.cache_clear()
        assert changes.is_refunded(timedelta(hours=2), by_athlete=True)
        desk.begins(timedelta(hours=3))
        assert desk.post("cancel", desk.athlete).json()["refunded"] is True

    @pytest.mark.parametrize(
        ("who", "athlete_is_told", "coach_is_told"),
        [
            ("athlete", [], ["booking_cancelled"]),
            ("coach", ["booking_cancelled"], []),
            ("admin", *[["booking_cancelled"]] * 2),
        ],
    )
    def test_tells_the_other_party(
        self, desk: Desk, who: str, athlete_is_told: list[str], coach_is_told: list[str]
    ) -> None:
        desk.api.patch("/api/me", json={"locale": "en"}, headers=desk.coach.headers)
        desk.post("cancel", getattr(desk, who), reason="lesión de rodilla")
        assert desk.kinds() == (athlete_is_told, coach_is_told)
        for told in desk.told(desk.athlete):
            assert told["title"] == "Se canceló tu hora con Coach Pérez"
            assert "Motivo:\nlesión de rodilla" in told["body"]
            assert "Te devolvimos 1 crédito." in told["body"]
        for told in desk.told(desk.coach):
            assert told["title"] == "Your session with Athlete Pérez was cancelled"
            assert "Reason:\nlesión de rodilla" in told["body"]
            assert "The slot is open again." in told["body"]

    @pytest.mark.parametrize("who", ["athlete", "coach", "admin"])
    def test_is_signed_by_who_did_it(self, desk: Desk, who: str) -> None:
        desk.begins(2 * DAY)
        desk.post("cancel", getattr(desk, who))
        with transaction() as db:
            signed = text("""
                SELECT cancelled_by, actor FROM bookings JOIN credit_ledger ON booking_id = bookings.id
                WHERE kind = 'refund'""")
            assert set(db.execute(signed).one()) == {f"user:{getattr(desk, who).user_id}"}

    def test_before_people_were_told_of_it_leaves_nothing_to_tell(self, desk: Desk) -> None:
        """What was confirmed is told a moment later, or a while, and may not be true any more."""
        with transaction() as db:
            found = db.execute(text("SELECT starts_at, execution_id FROM bookings")).one()
        desk.post("cancel", desk.coach)
        told = {
            "booking_id": desk.booking_id,
            "coach_id": desk.coach.user_id,
            "athlete_id": desk.athlete.user_id,
            "starts_at": found.starts_at,
        }
        ctx = context("notify", found.execution_id)
        with transaction() as db:
            notifications.notify_coach(db, ctx=ctx, athlete_notes=None, **told)
            notifications.notify_athlete(db, ctx=ctx, credits_left=1, **told)
        assert desk.kinds() == (["booking_cancelled"], [])

    def test_needs_no_body(self, desk: Desk) -> None:
        answer = desk.api.post(f"/api/bookings/{desk.booking_id}/cancel", headers=desk.athlete.headers)
        assert answer.status_code == 200
        assert "Motivo" not in desk.told(desk.coach)[0]["body"]

    def test_twice_is_done_once(self, desk: Desk) -> None:
        assert desk.post("cancel", desk.coach).status_code == 200
        assert problem(desk.post("cancel", desk.athlete)) == (409, "booking-not-confirmed")
        assert desk.balance() == 2
        assert desk.kinds() == (["booking_cancelled"], [])

    @pytest.mark.parametrize("deed", ["cancel", "reschedule"])
    def test_or_moving_it_once_it_has_begun_is_a_conflict(self, desk: Desk, deed: str) -> None:
        desk.begins(-SECOND)
        body = {"slot_datetime": at(2).isoformat()} if deed == "reschedule" else {}
        assert problem(desk.post(deed, desk.admin, **body)) == (409, "booking-begun")
        assert (desk.booking()["status"], desk.balance()) == ("CONFIRMED", 1)

    @pytest.mark.parametrize(
        ("deed", "who"), [("cancel", Role.ATHLETE), ("reschedule", Role.COACH), ("no-show", Role.COACH)]
    )
    def test_or_changing_what_is_somebody_elses_is_a_404(
        self, desk: Desk, make_person: Callable[[Role], Person], deed: str, who: Role
    ) -> None:
        body = {"slot_datetime": at(2).isoformat()} if deed == "reschedule" else {}
        assert problem(desk.post(deed, make_person(who), **body)) == (404, "not-found")

    def test_leaves_the_slot_to_be_booked_again(self, desk: Desk) -> None:
        desk.post("cancel", desk.coach)
        again = booked(desk.athlete.user_id, desk.coach.user_id, 1)
        assert again != desk.booking_id
        assert desk.slots() == ["booked", "open", "open"]


class TestMoving:
    """POST /api/bookings/{id}/reschedule"""

    @pytest.mark.parametrize("who", ["athlete", "coach", "admin"])
    def test_takes_the_other_slot_and_leaves_the_first(self, desk: Desk, who: str) -> None:
        answer = desk.post("reschedule", getattr(desk, who), slot_datetime=at(3).isoformat())
        moved = answer.json()
        assert (answer.status_code, moved["status"], moved["booking_id"]) == (200, "CONFIRMED", str(desk.booking_id))
        assert moved["starts_at"].replace("Z", "+00:00") == at(3).isoformat()
        assert desk.slots() == ["open", "open", "booked"]
        assert desk.balance() == 1
        told = {"athlete": ([], 1), "coach": (1, []), "admin": (1, 1)}[who]
        assert desk.kinds() == tuple(["booking_rescheduled"] * count if count else [] for count in told)

    def test_to_and_fro_is_told_each_time(self, desk: Desk) -> None:
        for hour in (2, 1, 2):
            assert desk.post("reschedule", desk.coach, slot_datetime=at(hour).isoformat()).status_code == 200
        bodies = {each["body"] for each in desk.told(desk.athlete)}
        assert len(desk.told(desk.athlete)) == 3
        assert len(bodies) == 2
        assert all("se movió al" in body for body in bodies)

    def test_within_its_own_time_is_fine(self, desk: Desk) -> None:
        """A slot that begins while the old one still runs: only other bookings are in the way."""
        with transaction() as db:
            db.execute(text("UPDATE bookings SET ends_at = ends_at + interval '90 minutes'"))
        assert desk.post("reschedule", desk.athlete, slot_datetime=at(2).isoformat()).status_code == 200

    def test_to_where_it_is_is_a_conflict(self, desk: Desk) -> None:
        assert problem(desk.post("reschedule", desk.athlete, slot_datetime=at(1).isoformat())) == (409, "conflict")

    @pytest.mark.parametrize("hour", [2, 7])
    def test_to_what_is_taken_or_not_offered_is_a_conflict(
        self, desk: Desk, make_person: Callable[[Role], Person], hour: int
    ) -> None:
        other = make_person(Role.ATHLETE)
        grant(other.user_id, 1)
        booked(other.user_id, desk.coach.user_id, 2)
        answer = desk.post("reschedule", desk.athlete, slot_datetime=at(hour).isoformat())
        assert problem(answer) == (409, "slot-unavailable")
        assert desk.booking()["starts_at"].replace("Z", "+00:00") == at(1).isoformat()

    def test_into_another_booking_of_the_athlete_is_a_conflict(
        self, desk: Desk, make_person: Callable[[Role], Person]
    ) -> None:
        other = make_person(Role.COACH)
        offer(other.user_id, 2.5)
        booked(desk.athlete.user_id, other.user_id, 2.5)
        answer = desk.post("reschedule", desk.coach, slot_datetime=at(2).isoformat())
        assert problem(answer) == (409, "overlapping-booking")
        assert desk.slots() == ["booked", "open", "open"]

    def test_to_another_coachs_hour_is_a_conflict(self, desk: Desk, make_person: Callable[[Role], Person]) -> None:
        offer(make_person(Role.COACH).user_id, 9)
        answer = desk.post("reschedule", desk.athlete, slot_datetime=at(9).isoformat())
        assert problem(answer) == (409, "slot-unavailable")

    def test_to_an_hour_that_has_begun_is_a_conflict(self, desk: Desk) -> None:
        with transaction() as db:
            db.execute(
                text(
                    "UPDATE slots SET starts_at = starts_at - interval '3 days', ends_at = ends_at - interval '3 days'"
                )
            )
        moment = (at(3) - 3 * DAY).isoformat()
        assert problem(desk.post("reschedule", desk.athlete, slot_datetime=moment)) == (409, "slot-unavailable")

    def test_to_a_time_without_offset_is_a_422(self, desk: Desk) -> None:
        answer = desk.post("reschedule", desk.athlete, slot_datetime="2030-01-01T09:00:00")
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "slot_datetime")


class TestMissing:
    """POST /api/bookings/{id}/no-show"""

    @pytest.mark.parametrize("who", ["coach", "admin"])
    def test_gives_nothing_back_and_tells_who_was_missed(self, desk: Desk, who: str) -> None:
        desk.begins(-SECOND)
        answer = desk.post("no-show", getattr(desk, who))
        assert (answer.status_code, answer.json()["status"]) == (200, "NO_SHOW")
        assert desk.balance() == 1
        assert desk.kinds() == (["booking_missed"], ["booking_missed"] if who == "admin" else [])
        assert "El crédito no se devuelve." in desk.told(desk.athlete)[0]["body"]
        assert problem(desk.post("cancel", desk.coach)) == (409, "booking-not-confirmed")

    def test_is_not_for_who_is_no_longer_the_athlete_that_they_were(self, desk: Desk) -> None:
        """Somebody who has become a coach is a party to the booking that they made as an athlete."""
        desk.begins(-SECOND)
        changed = {"role": "coach"}
        desk.api.patch(f"/api/admin/users/{desk.athlete.user_id}", json=changed, headers=desk.admin.headers)
        assert problem(desk.post("no-show", desk.athlete)) == (403, "forbidden")
        now = clock.now()
        times = {
            "actual_start_time": (now - timedelta(minutes=2)).isoformat(),
            "actual_end_time": (now - timedelta(minutes=1)).isoformat(),
        }
        assert problem(desk.post("complete", desk.athlete, **times)) == (403, "forbidden")
        assert desk.booking()["status"] == "CONFIRMED"

    def test_is_not_for_athletes(self, desk: Desk) -> None:
        desk.begins(-SECOND)
        assert problem(desk.post("no-show", desk.athlete)) == (403, "forbidden")

    def test_before_the_start_is_a_conflict(self, desk: Desk) -> None:
        desk.begins(5 * SECOND)
        assert problem(desk.post("no-show", desk.coach)) == (409, "booking-not-begun")


@pytest.mark.parametrize(
    ("before", "refunded"),
    [(DAY + timedelta.resolution, True), (DAY, True), (DAY - timedelta.resolution, False), (timedelta(), False)],
)
def test_up_to_exactly_a_day_before_an_athletes_cancellation_is_refunded(before: timedelta, refunded: bool) -> None:
    assert changes.is_refunded(before, by_athlete=True) is refunded
    assert changes.is_refunded(before, by_athlete=False) is True


# Races

Call = Callable[[Session], object]


def cancelling(booking_id: UUID, by: Person) -> Call:
    return lambda db: changes.cancel(db, booking_id, accounts.find_user(db, by.user_id)).refunded


def moving(booking_id: UUID, by: Person, hour: float) -> Call:
    return lambda db: changes.reschedule(db, booking_id, accounts.find_user(db, by.user_id), at(hour)).starts_at


def booking(athlete: Person, coach: Person, hour: float) -> Call:
    return lambda db: book(db, athlete.user_id, coach.user_id, hour)


def assert_ledgers_agree() -> None:
    unequal = """
        SELECT count(*) FROM credit_accounts WHERE balance <> (
            SELECT coalesce(sum(amount), 0) FROM credit_ledger
            WHERE credit_ledger.athlete_id = credit_accounts.athlete_id)"""
    with transaction() as db:
        assert db.execute(text(unequal)).scalar_one() == 0


def assert_slots_are_what_bookings_say() -> None:
    """A slot is booked exactly while it has one live booking, at its own time."""
    wrong = """
        SELECT count(*) FROM slots WHERE (status = 'booked') <> (
            (SELECT count(*) FROM bookings WHERE slot_id = slots.id AND status <> 'CANCELLED'
                AND bookings.starts_at = slots.starts_at) = 1)"""
    with transaction() as db:
        assert db.execute(text(wrong)).scalar_one() == 0


def test_cancelled_by_everybody_at_once_it_is_refunded_once(
    athlete: Person, coach: Person, admin: Person, database: str
) -> None:
    grant(athlete.user_id, 1)
    offer(coach.user_id, 30)
    for _ in range(20):
        booking_id = booked(athlete.user_id, coach.user_id, 30)
        outcomes = at_once([cancelling(booking_id, each) for each in (athlete, athlete, coach, admin)])
        assert Counter(map(str, outcomes)) == Counter(["True", *[str(BookingNotConfirmed)] * 3])
    assert_ledgers_agree()
    assert_slots_are_what_bookings_say()


def test_moved_and_booked_at_once_an_athlete_is_in_one_place(
    athlete: Person, coach: Person, make_person: Callable[[Role], Person], database: str
) -> None:
    """Both changes would be seen by the exclusion constraint alone, and would wait for each other there."""
    other_coach = make_person(Role.COACH)
    grant(athlete.user_id, 100)
    for number in range(50):
        hour = 30 + 3 * number
        offer(coach.user_id, hour, hour + 1.5)
        offer(other_coach.user_id, hour + 1)
        held = booked(athlete.user_id, coach.user_id, hour)
        moved, made = at_once([moving(held, athlete, hour + 1.5), booking(athlete, other_coach, hour + 1)])
        assert [moved, made].count(OverlappingBooking) == 1
    assert_ledgers_agree()
    assert_slots_are_what_bookings_say()


def test_moving_waits_for_whoever_books_for_the_same_athlete(athlete: Person, coach: Person, database: str) -> None:
    """By the row of the athlete's account, as booking does: in the constraint both could wait for each other."""
    grant(athlete.user_id, 1)
    offer(coach.user_id, 30, 31)
    held = booked(athlete.user_id, coach.user_id, 30)
    with ThreadPoolExecutor(1) as threads:
        with transaction() as db:
            credits.hold_account(db, athlete.user_id)
            moving_it = threads.submit(at_once, [moving(held, athlete, 31)])
            wait_for_a_lock_to_be_wanted(database)
        assert moving_it.result(10) == [at(31)]


def test_racing_for_one_slot_there_is_one_live_booking(
    athlete: Person, coach: Person, make_person: Callable[[Role], Person], database: str
) -> None:
    """100 times: one booking of an hour is cancelled, another is moved there, others want it, one is in the way."""
    mover, *others = (make_person(Role.ATHLETE) for _ in range(3))
    other_coach = make_person(Role.COACH)
    for person in (athlete, mover, *others):
        grant(person.user_id, 300)
    outcomes: Counter[str] = Counter()
    for number in range(100):
        hour = 30 + 2 * number
        offer(coach.user_id, hour, hour + 1)
        offer(other_coach.user_id, hour + 0.5)
        held, movable = booked(athlete.user_id, coach.user_id, hour), booked(mover.user_id, coach.user_id, hour + 1)
        calls: dict[str, Call] = {
            "cancel": cancelling(held, athlete),
            "move": moving(movable, mover, hour),
            "overlap": booking(mover, other_coach, hour + 0.5),
            **{f"book {number}": booking(each, coach, hour) for number, each in enumerate(others)},
            "book the one left": booking(others[0], coach, hour + 1),
        }
        for name, outcome in zip(calls, at_once(list(calls.values())), strict=True):
            outcomes[f"{name}: {outcome if isinstance(outcome, type) else 'done'}"] += 1
    assert outcomes["cancel: done"] == 100
    refusals = {str(each) for each in (SlotUnavailable, OverlappingBooking)}
    assert {each.partition(": ")[2] for each in outcomes} == {"done", *refusals}, outcomes
    assert outcomes["move: done"] + outcomes["book 0: done"] + outcomes["book 1: done"] > 0
    assert_ledgers_agree()
    assert_slots_are_what_bookings_say()
    with transaction() as db:
        refunds = text("SELECT count(*), count(DISTINCT booking_id) FROM credit_ledger WHERE kind = 'refund'")
        assert tuple(db.execute(refunds).one()) == (100, 100)
