"""The hours that coaches offer."""

from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tests.booking_desk import at, at_once, book, booked, grant, offer, period
from tests.integration.conftest import Person
from zea import clock
from zea.accounts.models import Role, User
from zea.availability import service
from zea.availability.models import Slot
from zea.availability.periods import Period
from zea.availability.service import HORIZON, MAXIMUM_SLOTS
from zea.bookings.service import LOCK_SLOT
from zea.db import new_id, transaction, violated_constraint
from zea.errors import InvalidInput, SlotBooked, SlotOverlap, SlotUnavailable


def slot_count() -> int:
    with transaction() as db:
        return db.scalars(select(func.count()).select_from(Slot)).one()


def times(slots: list[dict[str, Any]]) -> list[str]:
    return [slot["starts_at"] for slot in slots]


def wire(start: float) -> dict[str, str]:
    offered = period(start)
    return {"starts_at": offered.starts_at.isoformat(), "ends_at": offered.ends_at.isoformat()}


def post_slots(api: httpx.Client, coach: Person, *starts: float, **headers: str) -> httpx.Response:
    return api.post(
        "/api/coaches/me/slots", json={"slots": [wire(each) for each in starts]}, headers={**coach.headers, **headers}
    )


# Offering


def test_slots_come_back_earliest_first(coach: Person, handle: Session) -> None:
    added = service.add_slots(handle, coach.user_id, [period(5), period(1), period(3)])
    assert [slot.starts_at for slot in added] == [at(1), at(3), at(5)]
    assert {slot.status for slot in added} == {"open"}


def test_back_to_back_slots_do_not_overlap(coach: Person) -> None:
    offer(coach.user_id, 1, 2)
    offer(coach.user_id, 0, 3)
    assert slot_count() == 4


@pytest.mark.parametrize(
    "second",
    [(1, 2), (1.25, 1.75), (0.5, 2.5), (0.5, 1.5), (1.5, 2.5), (1, 1.5), (1.5, 2)],
    ids=["equal", "inside", "around", "over its start", "over its end", "same start", "same end"],
)
def test_a_slot_that_overlaps_another_is_refused(coach: Person, second: tuple[float, float]) -> None:
    offer(coach.user_id, 1)
    with pytest.raises(SlotOverlap), transaction() as db:
        service.add_slots(db, coach.user_id, [period(*second)])
    assert slot_count() == 1


def test_one_overlap_keeps_all_slots_of_a_request_out(coach: Person) -> None:
    with pytest.raises(SlotOverlap), transaction() as db:
        service.add_slots(db, coach.user_id, [period(1), period(5), period(5.5)])
    assert slot_count() == 0


def test_two_coaches_may_offer_the_same_hour(make_person: Callable[[Role], Person]) -> None:
    offer(make_person(Role.COACH).user_id, 1)
    offer(make_person(Role.COACH).user_id, 1)
    assert slot_count() == 2


def test_of_overlapping_requests_at_once_one_succeeds(coach: Person) -> None:
    # Each request holds an hour that the next one wants too: unordered, they would wait for each other in a circle.
    requests = [[period(start), period((start + 1) % 8)] for start in range(8)]
    answers = at_once([partial(service.add_slots, coach_id=coach.user_id, offered=each) for each in requests])
    refused = [answer for answer in answers if answer is SlotOverlap]
    assert 1 <= len(answers) - len(refused) <= 4
    assert slot_count() == 2 * (len(answers) - len(refused))


def test_whoever_changes_a_calendar_holds_it_until_the_end_of_the_transaction(coach: Person) -> None:
    with transaction() as first, transaction() as second:
        service.add_slots(first, coach.user_id, [period(1)])
        free = select(User.id).where(User.id == coach.user_id).with_for_update(key_share=True, skip_locked=True)
        assert second.scalars(free).all() == []


def test_the_database_refuses_an_overlap_that_nobody_checked(coach: Person) -> None:
    offer(coach.user_id, 1)
    with pytest.raises(IntegrityError) as caught, transaction() as db:
        db.execute(insert(Slot).values(coach_id=coach.user_id, starts_at=at(1.5), ends_at=at(2.5)))
    assert violated_constraint(caught.value) == "ex_slots_no_overlap"


@pytest.mark.parametrize(
    ("periods", "field"),
    [
        ([], "slots"),
        ([period(2 * hour) for hour in range(MAXIMUM_SLOTS + 1)], "slots"),
        ([period(1), period(3, 3)], "slots.1.ends_at"),
        ([period(3, 2)], "slots.0.ends_at"),
        ([period(1, 13.001)], "slots.0.ends_at"),
        ([period(-48)], "slots.0.starts_at"),
        ([Period(at(0) + HORIZON, at(1) + HORIZON)], "slots.0.starts_at"),
    ],
    ids=["none", "too many", "empty", "backwards", "over 12 hours", "past", "too far"],
)
def test_what_is_no_slot_is_refused(coach: Person, periods: list[Period], field: str) -> None:
    with pytest.raises(InvalidInput) as caught, transaction() as db:
        service.add_slots(db, coach.user_id, periods)
    assert caught.value.field == field
    assert slot_count() == 0


def test_twelve_hours_and_two_hundred_slots_are_not_too_much(coach: Person, handle: Session) -> None:
    longest = [period(0, 12)]
    assert service.add_slots(handle, coach.user_id, longest + [period(12 + hour) for hour in range(MAXIMUM_SLOTS - 1)])


# Reserving


def test_a_slot_is_reserved_once(coach: Person) -> None:
    offer(coach.user_id, 1)
    with transaction() as db:
        slot_id = db.scalars(select(Slot.id)).one()
        service.reserve_slot(db, slot_id=slot_id)
    with pytest.raises(SlotUnavailable), transaction() as db:
        service.reserve_slot(db, slot_id=slot_id)


# Over HTTP


def test_a_coach_offers_slots_and_everybody_sees_them(api: httpx.Client, coach: Person, athlete: Person) -> None:
    added = post_slots(api, coach, 3, 1)
    assert added.status_code == 201
    assert added.json()["items"][0].keys() == {"slot_id", "starts_at", "ends_at", "status"}
    seen = api.get(f"/api/coaches/{coach.user_id}/slots", headers=athlete.headers).json()
    assert seen == {"items": added.json()["items"], "next_cursor": None}


def test_a_booked_slot_is_listed_as_booked(api: httpx.Client, coach: Person, athlete: Person) -> None:
    offer(coach.user_id, 1, 2)
    grant(athlete.user_id, 1)
    booked(athlete.user_id, coach.user_id, 1)
    seen = api.get(f"/api/coaches/{coach.user_id}/slots", headers=athlete.headers).json()["items"]
    assert [slot["status"] for slot in seen] == ["booked", "open"]


def test_slots_are_listed_from_a_moment_up_to_another(api: httpx.Client, coach: Person) -> None:
    offer(coach.user_id, 1, 2, 3, 4)
    window = {"from": at(2).isoformat(), "to": at(4).isoformat()}
    seen = api.get(f"/api/coaches/{coach.user_id}/slots", params=window, headers=coach.headers).json()["items"]
    assert len(seen) == 2
    assert times(seen) == sorted(times(seen))


def test_slots_are_listed_in_pages_without_gap_or_repetition(api: httpx.Client, coach: Person) -> None:
    offer(coach.user_id, 5, 4, 3, 2, 1)
    path = f"/api/coaches/{coach.user_id}/slots"
    seen: list[str] = []
    cursor: dict[str, str] | None = {}
    while cursor is not None:
        page = api.get(path, params={"limit": "2"} | cursor, headers=coach.headers).json()
        seen += times(page["items"])
        cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else None
    assert len(seen) == 5
    assert seen == sorted(set(seen))


def test_what_has_begun_is_listed_only_when_it_is_asked_for(api: httpx.Client, coach: Person) -> None:
    with transaction() as db:
        db.execute(insert(Slot).values(coach_id=coach.user_id, starts_at=at(-50), ends_at=at(-49)))
    path = f"/api/coaches/{coach.user_id}/slots"
    assert api.get(path, headers=coach.headers).json()["items"] == []
    asked = api.get(path, params={"from": at(-60).isoformat()}, headers=coach.headers).json()
    assert len(asked["items"]) == 1


def test_coaches_are_listed_while_they_can_be_booked(
    api: httpx.Client, make_person: Callable[[Role], Person], athlete: Person
) -> None:
    stays, leaves = make_person(Role.COACH), make_person(Role.COACH)
    with transaction() as db:
        db.execute(update(User).where(User.id == leaves.user_id).values(is_active=False))
    listed = api.get("/api/coaches", headers=athlete.headers).json()["items"]
    assert listed == [{"coach_id": str(stays.user_id), "name": "Coach Pérez", "timezone": "America/Santiago"}]
    for nobody in (leaves, athlete):
        assert api.get(f"/api/coaches/{nobody.user_id}/slots", headers=athlete.headers).status_code == 404


def test_only_coaches_offer_slots(api: httpx.Client, athlete: Person, admin: Person) -> None:
    assert post_slots(api, athlete, 1).status_code == 403
    assert post_slots(api, admin, 1).status_code == 403
    assert api.post("/api/coaches/me/slots", json={"slots": []}).status_code == 401


def test_an_overlap_is_a_409_that_says_what_to_do(api: httpx.Client, coach: Person) -> None:
    post_slots(api, coach, 1)
    answer = post_slots(api, coach, 1.5)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:zea:problem:slot-overlap")


def test_a_time_without_an_offset_is_a_422_that_says_so(api: httpx.Client, coach: Person) -> None:
    naive = {"starts_at": "2099-01-01T10:00:00", "ends_at": "2099-01-01T11:00:00"}
    answer = api.post("/api/coaches/me/slots", json={"slots": [naive]}, headers=coach.headers)
    assert answer.status_code == 422
    assert "offset" in answer.json()["errors"][0]["message"]
    listed = api.get(
        f"/api/coaches/{coach.user_id}/slots", params={"from": "2099-01-01T10:00:00"}, headers=coach.headers
    )
    assert listed.status_code == 422


def test_a_repeated_request_with_one_key_adds_its_slots_once(api: httpx.Client, coach: Person) -> None:
    first, second = (post_slots(api, coach, 1, 2, **{"Idempotency-Key": "week-10"}) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert slot_count() == 2


# Weekly hours


def next_day(weekday: int) -> date:
    """The next day but one, or later, that is this day of the week."""
    day = clock.now().date() + timedelta(days=2)
    return day + timedelta(days=(weekday - day.isoweekday()) % 7)


def weekly(**changes: Any) -> dict[str, Any]:
    monday = next_day(1)
    rule = {
        "weekday": 1,
        "start": "09:00",
        "end": "12:00",
        "slot_minutes": 60,
        "from": str(monday),
        "until": str(monday + timedelta(days=14)),
    }
    return {"weekly": {**rule, **changes}}


def post_weekly(api: httpx.Client, coach: Person, **changes: Any) -> httpx.Response:
    return api.post("/api/coaches/me/slots", json=weekly(**changes), headers=coach.headers)


def test_weekly_hours_are_on_the_coachs_own_clock(api: httpx.Client, coach: Person) -> None:
    api.patch("/api/me", json={"timezone": "Asia/Kolkata"}, headers=coach.headers)
    answer = post_weekly(api, coach)
    starts = [datetime.fromisoformat(each) for each in times(answer.json()["items"])]
    assert (answer.status_code, len(starts), starts) == (201, 9, sorted(starts))
    local = [each.astimezone(ZoneInfo("Asia/Kolkata")) for each in starts]
    assert {(each.isoweekday(), each.hour, each.minute) for each in local} == {(1, 9, 0), (1, 10, 0), (1, 11, 0)}


def test_weekly_hours_that_have_begun_are_left_out(api: httpx.Client, coach: Person) -> None:
    long_ago = date(2020, 1, 1)
    answer = post_weekly(api, coach, **{"from": str(long_ago)})
    assert len(answer.json()["items"]) in (9, 12)
    assert times(answer.json()["items"])[0] > clock.now().isoformat()


def test_weekly_hours_over_an_offered_slot_are_refused_whole(api: httpx.Client, coach: Person) -> None:
    assert post_weekly(api, coach, start="10:30", end="11:30", until=str(next_day(1))).status_code == 201
    answer = post_weekly(api, coach)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:zea:problem:slot-overlap")
    assert slot_count() == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"weekday": 0}, "weekly.weekday"),
        ({"weekday": 8}, "weekly.weekday"),
        ({"start": "9:00"}, "weekly.start"),
        ({"start": "24:00"}, "weekly.start"),
        ({"end": "24:01"}, "weekly.end"),
        ({"end": "09:00"}, "weekly.end"),
        ({"slot_minutes": 4}, "weekly.slot_minutes"),
        ({"slot_minutes": 721}, "weekly.slot_minutes"),
        ({"slot_minutes": 240}, "weekly"),
        ({"until": "2020-01-01"}, "weekly.until"),
        ({"until": "9999-12-31"}, "weekly.until"),
        ({"from": "0001-01-01", "until": "0001-12-31"}, "weekly"),
        ({"slot_minutes": 5, "start": "00:00", "end": "24:00"}, "weekly.until"),
        ({"from_on": "2030-01-01"}, "weekly.from_on"),
        ({"from": 1_767_225_600}, "weekly.from"),
    ],
    ids=str,
)
def test_weekly_hours_that_cannot_be_are_a_422(
    api: httpx.Client, coach: Person, changes: dict[str, Any], field: str
) -> None:
    if changes.get("slot_minutes") == 5:
        changes = {**changes, "until": str(next_day(1) + timedelta(days=28))}
    answer = post_weekly(api, coach, **changes)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert slot_count() == 0


@pytest.mark.parametrize("body", [{}, {"slots": [wire(1)], **weekly()}], ids=["neither", "both"])
def test_slots_are_offered_one_by_one_or_by_a_rule(api: httpx.Client, coach: Person, body: dict[str, Any]) -> None:
    answer = api.post("/api/coaches/me/slots", json=body, headers=coach.headers)
    assert (answer.status_code, "either slots" in answer.json()["detail"]) == (422, True)


# Withdrawing


def withdraw(api: httpx.Client, coach: Person, slot_id: str) -> httpx.Response:
    return api.delete(f"/api/coaches/me/slots/{slot_id}", headers=coach.headers)


def test_a_withdrawn_slot_is_gone_and_its_time_can_be_offered_again(
    api: httpx.Client, coach: Person, athlete: Person
) -> None:
    grant(athlete.user_id, 1)
    (slot,) = post_slots(api, coach, 1).json()["items"]
    answer = withdraw(api, coach, slot["slot_id"])
    assert (answer.status_code, answer.content) == (204, b"")
    assert api.get(f"/api/coaches/{coach.user_id}/slots", headers=athlete.headers).json()["items"] == []
    with pytest.raises(SlotUnavailable):
        booked(athlete.user_id, coach.user_id, 1)
    assert withdraw(api, coach, slot["slot_id"]).status_code == 404
    (again,) = post_slots(api, coach, 1).json()["items"]
    assert again["slot_id"] != slot["slot_id"]
    assert booked(athlete.user_id, coach.user_id, 1)


def test_a_booked_slot_stays(api: httpx.Client, coach: Person, athlete: Person) -> None:
    grant(athlete.user_id, 1)
    (slot,) = post_slots(api, coach, 1).json()["items"]
    booked(athlete.user_id, coach.user_id, 1)
    answer = withdraw(api, coach, slot["slot_id"])
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:zea:problem:slot-booked")


def test_a_slot_whose_booking_was_cancelled_can_be_withdrawn(api: httpx.Client, coach: Person, athlete: Person) -> None:
    grant(athlete.user_id, 1)
    (slot,) = post_slots(api, coach, 1).json()["items"]
    booking_id = booked(athlete.user_id, coach.user_id, 1)
    assert api.post(f"/api/bookings/{booking_id}/cancel", headers=coach.headers).status_code == 200
    assert withdraw(api, coach, slot["slot_id"]).status_code == 204
    assert api.get(f"/api/bookings/{booking_id}", headers=athlete.headers).json()["slot_id"] == slot["slot_id"]


def test_nobody_withdraws_anothers_slot(
    api: httpx.Client, coach: Person, make_person: Callable[[Role], Person]
) -> None:
    (slot,) = post_slots(api, coach, 1).json()["items"]
    assert withdraw(api, make_person(Role.COACH), slot["slot_id"]).status_code == 404
    assert slot_count() == 1


def test_withdrawn_and_booked_at_once_it_is_one_of_both(coach: Person, athlete: Person) -> None:
    grant(athlete.user_id, 50)
    won = Counter[str]()
    for number in range(50):
        offer(coach.user_id, 30 + number)
        with transaction() as db:
            (slot_id,) = db.scalars(select(Slot.id).where(Slot.starts_at == at(30 + number)))
        calls = [
            partial(service.withdraw_slot, coach_id=coach.user_id, slot_id=slot_id),
            partial(book, athlete_id=athlete.user_id, coach_id=coach.user_id, start=30 + number),
        ]
        withdrawn, made = at_once(calls if number % 2 else calls[::-1])[:: 1 if number % 2 else -1]
        assert (withdrawn is SlotBooked) != (made is SlotUnavailable)
        won["booked" if withdrawn is SlotBooked else "withdrawn"] += 1
    assert won.total() == 50


def test_the_booked_slot_is_looked_up_by_its_index(database: str) -> None:
    """Its condition is the index's own."""
    wanted = LOCK_SLOT.params(coach_id=new_id(), slot_datetime=at(1))
    statement = wanted.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})
    with transaction() as db:
        db.execute(text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join(db.connection().exec_driver_sql(f"EXPLAIN {statement}").scalars())
    assert "uq_slots_coach_id_starts_at" in plan
