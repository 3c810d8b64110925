"""How an athlete comes to hold a coach's slot: all of the six steps, or none."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from uuid import UUID

import httpx
import pytest
from sqlalchemy import event, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tests.booking_desk import CANCELLED, at, at_once, book, booked, context, grant, offer
from tests.integration.conftest import Person
from tests.waiting import wait_until
from zea.accounts.models import Role, User
from zea.availability.models import Slot
from zea.bookings import service
from zea.bookings.models import Booking
from zea.credits import service as credits
from zea.credits.models import LedgerEntry
from zea.db import engine, new_id, transaction, violated_constraint
from zea.errors import (
    Conflict,
    InsufficientCredits,
    NotFound,
    OnboardingIncomplete,
    OverlappingBooking,
    SlotUnavailable,
)

MakePerson = Callable[[Role], Person]


def nothing_is_left(credits_before: int) -> bool:
    """No booking, no reservation, no debit."""
    with transaction() as db:
        bookings = db.scalars(select(func.count()).select_from(Booking)).one()
        reserved = db.scalars(select(func.count()).where(Slot.status == "booked")).one()
        debits = db.scalars(select(func.count()).where(LedgerEntry.kind == "debit")).one()
        total = db.scalars(select(func.coalesce(func.sum(LedgerEntry.amount), 0))).one()
    return (bookings, reserved, debits, total) == (0, 0, 0, credits_before)


@pytest.fixture
def payer(athlete: Person) -> Person:
    """An athlete with five credits."""
    grant(athlete.user_id, 5)
    return athlete


# The six steps


def test_a_booking_is_confirmed_its_slot_taken_and_one_credit_paid(payer: Person, coach: Person) -> None:
    offer(coach.user_id, 1, 2)
    booking_id = booked(payer.user_id, coach.user_id, 1, notes="Left knee")
    with transaction() as db:
        booking = db.scalars(select(Booking)).one()
        slots = {slot.starts_at: slot.status for slot in db.scalars(select(Slot))}
        assert credits.balance(db, payer.user_id) == 4
    assert (booking.id, booking.status, booking.notes) == (booking_id, "CONFIRMED", "Left knee")
    assert (booking.athlete_id, booking.coach_id) == (payer.user_id, coach.user_id)
    assert (booking.starts_at, booking.ends_at) == (at(1), at(2))
    assert booking.confirmed_at is not None
    assert slots == {at(1): "booked", at(2): "open"}


def test_the_six_steps_are_six_statements(payer: Person, coach: Person) -> None:
    offer(coach.user_id, 1)
    statements: list[str] = []
    with transaction() as db:
        # Before the first one: a new connection asks the server a few things.
        db.connection()
        event.listen(engine(), "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
        book(db, payer.user_id, coach.user_id, 1)
    assert len(statements) == 6


def test_whoever_may_not_book_leaves_nothing_behind(athlete: Person, payer: Person, coach: Person) -> None:
    offer(coach.user_id, 1)
    with transaction() as db:
        db.execute(update(User).where(User.id == payer.user_id).values(can_book=False))
    with pytest.raises(OnboardingIncomplete):
        booked(payer.user_id, coach.user_id, 1)
    assert nothing_is_left(credits_before=5)


def test_whoever_cannot_pay_leaves_nothing_behind(athlete: Person, coach: Person) -> None:
    offer(coach.user_id, 1)
    with pytest.raises(InsufficientCredits):
        booked(athlete.user_id, coach.user_id, 1)
    assert nothing_is_left(credits_before=0)


def test_a_failure_in_the_last_step_leaves_nothing_behind(payer: Person, coach: Person) -> None:
    offer(coach.user_id, 1)
    with pytest.raises(Conflict), transaction() as db:
        service.confirm_booking(db, ctx=context(), booking_id=book(db, payer.user_id, coach.user_id, 1))
    assert nothing_is_left(credits_before=5)


# The slot


def refusal(coach_id: UUID, start: float, ahead: timedelta = timedelta()) -> str:
    """Why the slot cannot be booked, ``ahead`` of now."""
    ctx = context(now=at(start) + ahead) if ahead else context()
    with pytest.raises(SlotUnavailable) as caught, transaction() as db:
        service.validate_slot(db, ctx=ctx, coach_id=coach_id, slot_datetime=at(start))
    return caught.value.message


def test_each_reason_why_a_slot_cannot_be_booked_is_told(payer: Person, coach: Person, make_person: MakePerson) -> None:
    offer(coach.user_id, 1, 2)
    booked(payer.user_id, coach.user_id, 1)
    left = make_person(Role.COACH).user_id
    offer(left, 2)
    with transaction() as db:
        db.execute(update(User).where(User.id == left).values(is_active=False))
    assert "taken" in refusal(coach.user_id, 1)
    assert "offers no slot" in refusal(coach.user_id, 3)
    assert "offers no slot" in refusal(payer.user_id, 1)
    assert "no bookings any more" in refusal(left, 2)
    assert "begun" in refusal(coach.user_id, 2, ahead=timedelta(seconds=1))


def test_a_slot_that_starts_now_has_begun(coach: Person) -> None:
    offer(coach.user_id, 1)
    ask = partial(service.validate_slot, coach_id=coach.user_id, slot_datetime=at(1))
    with transaction() as db:
        assert ask(db, ctx=context(now=at(1) - timedelta(microseconds=1))).starts_at == at(1)
        with pytest.raises(SlotUnavailable):
            ask(db, ctx=context(now=at(1)))


def test_a_validated_slot_is_held_until_the_end_of_the_transaction(coach: Person) -> None:
    offer(coach.user_id, 1)
    with transaction() as first, transaction() as second:
        service.validate_slot(first, ctx=context(), coach_id=coach.user_id, slot_datetime=at(1))
        free = select(Slot.id).with_for_update(key_share=True, skip_locked=True)
        assert second.scalars(free).all() == []


def test_a_slot_is_found_by_its_moment_whatever_the_offset(coach: Person, handle: Session) -> None:
    offer(coach.user_id, 1)
    elsewhere = at(1).astimezone()
    assert service.validate_slot(handle, ctx=context(), coach_id=coach.user_id, slot_datetime=elsewhere)


def test_of_two_athletes_at_once_one_gets_the_slot(make_person: MakePerson, coach: Person) -> None:
    offer(coach.user_id, 1)
    athletes = [make_person(Role.ATHLETE).user_id for _ in range(8)]
    for athlete_id in athletes:
        grant(athlete_id, 1)
    answers = at_once([partial(book, athlete_id=each, coach_id=coach.user_id, start=1) for each in athletes])
    assert answers.count(SlotUnavailable) == 7
    with transaction() as db:
        assert db.scalars(select(func.sum(LedgerEntry.amount))).one() == 7


# The athlete's time


def test_an_athlete_is_in_one_place_at_a_time(payer: Person, coach: Person, make_person: MakePerson) -> None:
    other = make_person(Role.COACH).user_id
    offer(coach.user_id, 1)
    offer(other, 0.5, 2)
    booked(payer.user_id, coach.user_id, 1)
    with transaction() as db:
        with pytest.raises(OverlappingBooking):
            book(db, payer.user_id, other, 0.5)
        # It was seen before the constraint had to refuse: the transaction can go on.
        assert book(db, payer.user_id, other, 2)


def test_a_cancelled_booking_leaves_its_time_free(payer: Person, coach: Person, make_person: MakePerson) -> None:
    other = make_person(Role.COACH).user_id
    offer(coach.user_id, 1)
    offer(other, 1)
    booked(payer.user_id, coach.user_id, 1)
    with transaction() as db:
        db.execute(update(Booking).values(CANCELLED))
    assert booked(payer.user_id, other, 1)


def test_of_overlapping_bookings_of_one_athlete_at_once_one_succeeds(payer: Person, make_person: MakePerson) -> None:
    coaches = [make_person(Role.COACH).user_id for _ in range(4)]
    for number, coach_id in enumerate(coaches):
        offer(coach_id, 1 + number / 5)
    answers = at_once(
        [
            partial(book, athlete_id=payer.user_id, coach_id=coach_id, start=1 + number / 5)
            for number, coach_id in enumerate(coaches)
        ]
    )
    assert answers.count(OverlappingBooking) == 3
    with transaction() as db:
        assert credits.balance(db, payer.user_id) == 4


def test_of_many_bookings_for_the_last_credit_one_succeeds(athlete: Person, coach: Person) -> None:
    grant(athlete.user_id, 1)
    starts = [1, 2, 3, 4]
    offer(coach.user_id, *starts)
    calls = [partial(book, athlete_id=athlete.user_id, coach_id=coach.user_id, start=start) for start in starts]
    assert at_once(calls).count(InsufficientCredits) == 3


# The database, when the code's checks are passed by


def insert_booking(db: Session, athlete_id: UUID, slot: Slot) -> None:
    values = {"id": new_id(), "execution_id": new_id(), "athlete_id": athlete_id}
    period = {"coach_id": slot.coach_id, "slot_id": slot.id, "starts_at": slot.starts_at, "ends_at": slot.ends_at}
    db.execute(insert(Booking).values(**values, **period))


def test_the_database_refuses_a_second_live_booking_of_a_slot(
    payer: Person, coach: Person, make_person: MakePerson
) -> None:
    offer(coach.user_id, 1)
    booked(payer.user_id, coach.user_id, 1)
    with pytest.raises(IntegrityError) as caught, transaction() as db:
        insert_booking(db, make_person(Role.ATHLETE).user_id, db.scalars(select(Slot)).one())
    assert violated_constraint(caught.value) == "uq_bookings_live_slot"


def test_the_database_refuses_an_athlete_two_places_at_once(
    payer: Person, coach: Person, make_person: MakePerson
) -> None:
    other = make_person(Role.COACH).user_id
    offer(coach.user_id, 1)
    offer(other, 1.5)
    booked(payer.user_id, coach.user_id, 1)
    with pytest.raises(IntegrityError) as caught, transaction() as db:
        insert_booking(db, payer.user_id, db.scalars(select(Slot).where(Slot.coach_id == other)).one())
    assert violated_constraint(caught.value) == "ex_bookings_no_overlap"


def create(db: Session, athlete_id: UUID, slot: Slot) -> UUID:
    """``create_booking`` by somebody who holds neither slot nor account."""
    return service.create_booking(
        db,
        ctx=context(),
        athlete_id=athlete_id,
        coach_id=slot.coach_id,
        slot_id=slot.id,
        starts_at=slot.starts_at,
        ends_at=slot.ends_at,
        athlete_notes=None,
    ).booking_id


def test_without_the_slots_lock_its_unique_index_refuses_in_words(
    payer: Person, coach: Person, make_person: MakePerson
) -> None:
    offer(coach.user_id, 1)
    booked(payer.user_id, coach.user_id, 1)
    with pytest.raises(SlotUnavailable), transaction() as db:
        create(db, make_person(Role.ATHLETE).user_id, db.scalars(select(Slot)).one())


def test_without_the_accounts_lock_the_exclusion_constraint_refuses_in_words(
    payer: Person, coach: Person, make_person: MakePerson
) -> None:
    other = make_person(Role.COACH).user_id
    offer(coach.user_id, 1)
    offer(other, 1.5)
    with transaction() as db:
        first, second = db.scalars(select(Slot).order_by(Slot.starts_at)).all()
    with ThreadPoolExecutor(1) as threads:
        with transaction() as db:
            create(db, payer.user_id, first)
            # It does not see the first booking, which is not committed, and waits for it inside the constraint.
            late = threads.submit(at_once, [partial(create, athlete_id=payer.user_id, slot=second)])
            wait_until(lambda: somebody_waits_for_a_lock(db), what="the second insert waits")
        assert late.result() == [OverlappingBooking]


def somebody_waits_for_a_lock(db: Session) -> bool:
    return bool(db.scalar(text("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")))


# What people see


def test_the_parties_and_admins_see_a_booking_and_nobody_else(
    api: httpx.Client, payer: Person, coach: Person, admin: Person, make_person: MakePerson
) -> None:
    offer(coach.user_id, 1)
    path = f"/api/bookings/{booked(payer.user_id, coach.user_id, 1, notes='Left knee')}"
    for viewer in (payer, coach, admin):
        assert api.get(path, headers=viewer.headers).json()["notes"] == "Left knee"
        assert len(api.get("/api/bookings", headers=viewer.headers).json()["items"]) == 1
    for stranger in (make_person(Role.ATHLETE), make_person(Role.COACH)):
        assert api.get(path, headers=stranger.headers).status_code == 404
        assert api.get("/api/bookings", headers=stranger.headers).json()["items"] == []
    assert api.get(path).status_code == 401


def test_a_booking_shows_all_that_its_parties_need(api: httpx.Client, payer: Person, coach: Person) -> None:
    offer(coach.user_id, 1)
    booking_id = booked(payer.user_id, coach.user_id, 1)
    shown = api.get(f"/api/bookings/{booking_id}", headers=payer.headers).json()
    assert (shown["booking_id"], shown["status"]) == (str(booking_id), "CONFIRMED")
    assert shown.keys() == {
        *("booking_id", "athlete_id", "coach_id", "slot_id", "starts_at", "ends_at", "status", "notes"),
        *("confirmed_at", "actual_start_time", "actual_end_time", "actual_duration_minutes", "execution_id"),
    }


def test_bookings_are_filtered_by_status_and_start_newest_first(
    api: httpx.Client, payer: Person, coach: Person
) -> None:
    offer(coach.user_id, 1, 2, 3)
    first, second, third = (str(booked(payer.user_id, coach.user_id, start)) for start in (2, 1, 3))
    with transaction() as db:
        db.execute(update(Booking).where(Booking.id == UUID(third)).values(CANCELLED))

    def listed(**query: str) -> list[str]:
        answer = api.get("/api/bookings", params=query, headers=payer.headers).json()
        return [booking["booking_id"] for booking in answer["items"]]

    assert listed() == [third, second, first]
    assert listed(status="CONFIRMED") == [second, first]
    assert listed(**{"from": at(2).isoformat()}) == [third, first]
    assert listed(**{"from": at(1).isoformat(), "to": at(2).isoformat()}) == [second]
    assert api.get("/api/bookings", params={"status": "LOST"}, headers=payer.headers).status_code == 422


def test_a_booking_that_does_not_exist_is_not_found(handle: Session, admin: Person) -> None:
    with pytest.raises(NotFound):
        service.get_booking(handle, new_id(), admin.user_id, Role.ADMIN)
