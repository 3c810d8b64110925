"""What athletes pay with, and the ledger that explains it."""

from dataclasses import dataclass
from functools import partial
from uuid import UUID

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Delete, Update, delete, func, insert, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from tests.booking_desk import CANCELLED, at, at_once, context, grant, offer
from tests.integration.conftest import Person
from zea.accounts.models import User
from zea.availability.models import Slot
from zea.bookings.models import Booking
from zea.credits import service
from zea.credits.models import CreditAccount, LedgerEntry
from zea.db import new_id, transaction, violated_constraint
from zea.errors import Conflict, InsufficientCredits, InvalidInput, NotFound, OnboardingIncomplete, ZeaError


def balance(athlete_id: UUID) -> int:
    with transaction() as db:
        return service.balance(db, athlete_id)


def ledger_sum(athlete_id: UUID) -> int:
    with transaction() as db:
        return db.scalars(
            select(func.coalesce(func.sum(LedgerEntry.amount), 0)).where(LedgerEntry.athlete_id == athlete_id)
        ).one()


def without_account(athlete_id: UUID) -> None:
    with transaction() as db:
        db.execute(delete(CreditAccount).where(CreditAccount.athlete_id == athlete_id))


@dataclass(frozen=True)
class Desk:
    """An athlete, and bookings of theirs that nothing was taken for yet."""

    athlete_id: UUID
    coach_id: UUID
    slot_id: UUID

    def booking(self) -> UUID:
        # Cancelled ones never overlap, so there can be any number of them.
        with transaction() as db:
            return db.scalars(
                insert(Booking)
                .values(
                    athlete_id=self.athlete_id,
                    coach_id=self.coach_id,
                    slot_id=self.slot_id,
                    starts_at=at(1),
                    ends_at=at(2),
                    **CANCELLED,
                    execution_id=new_id(),
                )
                .returning(Booking.id)
            ).one()

    def debit(self, booking_id: UUID) -> int:
        with transaction() as db:
            return service.debit_credit(
                db, ctx=context(), athlete_id=self.athlete_id, booking_id=booking_id
            ).credits_left


@pytest.fixture
def desk(athlete: Person, coach: Person) -> Desk:
    offer(coach.user_id, 1)
    with transaction() as db:
        return Desk(athlete.user_id, coach.user_id, db.scalars(select(Slot.id)).one())


# The balance


def test_a_grant_and_an_adjustment_change_the_balance_and_are_explained(athlete: Person) -> None:
    with transaction() as db:
        assert service.grant(db, athlete_id=athlete.user_id, amount=5, reason="Pack", actor="user:1") == 5
        assert service.grant(db, athlete_id=athlete.user_id, amount=-2, reason="Error", actor="user:2") == 3
    with transaction() as db:
        entries = db.scalars(service.ledger(athlete.user_id).order_by(LedgerEntry.created_at)).all()
    told = [(entry.kind, entry.amount, entry.reason, entry.actor) for entry in entries]
    assert told == [("grant", 5, "Pack", "user:1"), ("adjustment", -2, "Error", "user:2")]


def test_more_than_there_is_cannot_be_taken_back(athlete: Person) -> None:
    grant(athlete.user_id, 2)
    with pytest.raises(Conflict, match="The balance is 2"):
        grant(athlete.user_id, -3)
    assert balance(athlete.user_id) == ledger_sum(athlete.user_id) == 2


@pytest.mark.parametrize("amount", [0, service.MAXIMUM_CHANGE + 1, -service.MAXIMUM_CHANGE - 1])
def test_an_amount_of_nothing_or_absurdly_much_is_refused(athlete: Person, amount: int) -> None:
    with pytest.raises(InvalidInput):
        grant(athlete.user_id, amount)


def test_only_athletes_have_credits(coach: Person) -> None:
    for nobody in (coach.user_id, new_id()):
        with pytest.raises(NotFound):
            grant(nobody, 1)


def test_an_athlete_without_an_account_gets_one_with_the_first_grant(athlete: Person) -> None:
    without_account(athlete.user_id)
    assert balance(athlete.user_id) == 0
    grant(athlete.user_id, 4)
    assert balance(athlete.user_id) == 4


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.one_of(st.integers(-6, 6), st.none()), max_size=12))
def test_the_balance_is_the_ledgers_sum_and_never_negative(desk: Desk, changes: list[int | None]) -> None:
    """Grants, adjustments and, as None, debits, on the account as the examples before have left it."""
    expected = balance(desk.athlete_id)
    for change in changes:
        amount = -1 if change is None else change
        try:
            desk.debit(desk.booking()) if change is None else grant(desk.athlete_id, amount)
        except ZeaError:
            assert amount == 0 or expected + amount < 0
        else:
            expected += amount
        assert balance(desk.athlete_id) == ledger_sum(desk.athlete_id) == expected >= 0


def test_no_change_is_lost_among_many_at_once(athlete: Person) -> None:
    amounts = [3, -1] * 8
    grant(athlete.user_id, 8)
    change = partial(service.grant, athlete_id=athlete.user_id, reason="test", actor="test")
    at_once([partial(change, amount=amount) for amount in amounts])
    assert balance(athlete.user_id) == ledger_sum(athlete.user_id) == 8 + sum(amounts)


# Paying


def test_a_debit_takes_exactly_one_credit_and_names_its_booking(desk: Desk) -> None:
    grant(desk.athlete_id, 3)
    booking_id = desk.booking()
    assert desk.debit(booking_id) == 2
    with transaction() as db:
        entry = db.scalars(service.ledger(desk.athlete_id).where(LedgerEntry.kind == "debit")).one()
    assert (entry.amount, entry.booking_id, entry.actor) == (-1, booking_id, "worker:test")


def test_of_two_debits_of_the_last_credit_one_succeeds(desk: Desk) -> None:
    grant(desk.athlete_id, 1)
    debit = partial(service.debit_credit, ctx=context(), athlete_id=desk.athlete_id)
    answers = at_once([partial(debit, booking_id=desk.booking()) for _ in range(2)])
    assert answers.count(InsufficientCredits) == 1
    assert balance(desk.athlete_id) == ledger_sum(desk.athlete_id) == 0


def test_a_booking_is_paid_for_once(desk: Desk) -> None:
    grant(desk.athlete_id, 2)
    booking_id = desk.booking()
    desk.debit(booking_id)
    with pytest.raises(IntegrityError) as caught:
        desk.debit(booking_id)
    assert violated_constraint(caught.value) == "uq_credit_ledger_booking_kind"
    assert balance(desk.athlete_id) == ledger_sum(desk.athlete_id) == 1


def check(athlete_id: UUID) -> None:
    with transaction() as db:
        service.check_balance(db, athlete_id=athlete_id)


def test_an_athlete_with_a_credit_may_book(athlete: Person) -> None:
    grant(athlete.user_id, 1)
    check(athlete.user_id)


def test_an_athlete_without_a_credit_may_not(athlete: Person) -> None:
    with pytest.raises(InsufficientCredits):
        check(athlete.user_id)


def test_an_athlete_without_an_account_has_no_credits(athlete: Person) -> None:
    without_account(athlete.user_id)
    with pytest.raises(InsufficientCredits):
        check(athlete.user_id)


@pytest.mark.parametrize("state", [{"can_book": False}, {"is_active": False}])
def test_who_may_not_book_is_told_so_whatever_they_own(athlete: Person, state: dict[str, bool]) -> None:
    grant(athlete.user_id, 1)
    with transaction() as db:
        db.execute(update(User).where(User.id == athlete.user_id).values(**state))
    with pytest.raises(OnboardingIncomplete):
        check(athlete.user_id)


def test_who_is_no_athlete_may_not_book(coach: Person) -> None:
    for nobody in (coach.user_id, new_id()):
        with pytest.raises(OnboardingIncomplete):
            check(nobody)


def test_the_check_holds_the_account_until_the_end_of_the_transaction(athlete: Person) -> None:
    grant(athlete.user_id, 1)
    with transaction() as first, transaction() as second:
        service.check_balance(first, athlete_id=athlete.user_id)
        held = select(CreditAccount.athlete_id).with_for_update(key_share=True, skip_locked=True)
        assert second.scalars(held).all() == []


# What the database refuses when the code's checks are passed by


def test_the_database_refuses_a_negative_balance(athlete: Person) -> None:
    with pytest.raises(IntegrityError) as caught, transaction() as db:
        db.execute(update(CreditAccount).values(balance=-1))
    assert violated_constraint(caught.value) == "ck_credit_accounts_balance_not_negative"


@pytest.mark.parametrize("change", [update(LedgerEntry).values(amount=9), delete(LedgerEntry)])
def test_the_ledger_is_append_only(athlete: Person, change: Update | Delete) -> None:
    grant(athlete.user_id, 1)
    with pytest.raises(DBAPIError, match="append-only"), transaction() as db:
        db.execute(change)


# Over HTTP


def post_credits(api: httpx.Client, admin: Person, athlete: Person, amount: int, **headers: str) -> httpx.Response:
    change = {"athlete_id": str(athlete.user_id), "amount": amount, "reason": "Pack of hours"}
    return api.post("/api/admin/credits", json=change, headers={**admin.headers, **headers})


def test_an_admin_gives_credits_and_the_athlete_sees_why(api: httpx.Client, admin: Person, athlete: Person) -> None:
    given_credits = post_credits(api, admin, athlete, 5)
    assert (given_credits.status_code, given_credits.json()) == (201, {"balance": 5})
    post_credits(api, admin, athlete, -1)
    seen = api.get("/api/me/credits", headers=athlete.headers).json()
    assert (seen["balance"], seen["next_cursor"]) == (4, None)
    assert [(entry["kind"], entry["amount"]) for entry in seen["items"]] == [("adjustment", -1), ("grant", 5)]
    assert "actor" not in seen["items"][0]


def test_the_ledger_is_read_in_pages(api: httpx.Client, athlete: Person) -> None:
    for amount in (1, 2, 3):
        grant(athlete.user_id, amount)
    first = api.get("/api/me/credits", params={"limit": 2}, headers=athlete.headers).json()
    rest = api.get("/api/me/credits", params={"cursor": first["next_cursor"]}, headers=athlete.headers).json()
    assert [entry["amount"] for entry in first["items"] + rest["items"]] == [3, 2, 1]
    assert first["balance"] == rest["balance"] == 6


def test_only_admins_give_credits_and_only_athletes_have_them(
    api: httpx.Client, admin: Person, athlete: Person, coach: Person
) -> None:
    assert post_credits(api, athlete, athlete, 5).status_code == 403
    assert post_credits(api, admin, coach, 5).status_code == 404
    assert api.get("/api/me/credits", headers=coach.headers).status_code == 403


@pytest.mark.parametrize(("amount", "status"), [(0, 422), (10**9, 422), (-1, 409)])
def test_a_change_that_cannot_be_made_is_refused(
    api: httpx.Client, admin: Person, athlete: Person, amount: int, status: int
) -> None:
    assert post_credits(api, admin, athlete, amount).status_code == status


def test_a_repeated_request_with_one_key_gives_its_credits_once(
    api: httpx.Client, admin: Person, athlete: Person
) -> None:
    answers = [post_credits(api, admin, athlete, 5, **{"Idempotency-Key": "invoice-7"}) for _ in range(2)]
    assert [answer.json() for answer in answers] == [{"balance": 5}, {"balance": 5}]
    assert post_credits(api, admin, athlete, 6, **{"Idempotency-Key": "invoice-7"}).status_code == 422
    assert balance(athlete.user_id) == 5
