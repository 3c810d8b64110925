"""Credits: what athletes pay with. Every change of a balance is one statement that also writes its ledger entry."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Integer, Select, Text, Uuid, bindparam, insert, literal, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from zea.accounts.models import Role, User
from zea.context import StepContext
from zea.credits.models import CreditAccount, EntryKind, LedgerEntry
from zea.db import connection, new_id
from zea.errors import Conflict, InsufficientCredits, InvalidInput, NotFound, OnboardingIncomplete

PRICE = 1
# Far more than anybody buys at once, and far from the end of the column's range.
MAXIMUM_CHANGE = 10_000

# Bookings are the hot path: these statements are built once, and run on the connection, beside the unit of work.
MAY_BOOK = User.can_book & User.is_active
LOCK_ACCOUNT = (
    select(CreditAccount.balance, MAY_BOOK.label("may_book"))
    .join(User, User.id == CreditAccount.athlete_id)
    .where(CreditAccount.athlete_id == bindparam("athlete_id"))
    .with_for_update(of=CreditAccount, key_share=True)
)

# The balance changes only where it stays above zero, and an entry is written only where the balance changed.
_account = (
    update(CreditAccount)
    .where(
        # A parameter named like a column of the table would be taken for a new value of it.
        CreditAccount.athlete_id == bindparam("account_id"),
        CreditAccount.balance + bindparam("amount", type_=Integer) >= 0,
    )
    .values(balance=CreditAccount.balance + bindparam("amount", type_=Integer))
    .returning(CreditAccount.athlete_id, CreditAccount.balance)
    .cte("account")
)
_entry = (
    insert(LedgerEntry)
    .from_select(
        ["athlete_id", "id", "kind", "amount", "reason", "actor", "booking_id"],
        select(
            _account.c.athlete_id,
            bindparam("entry_id", type_=Uuid),
            bindparam("kind", type_=Text),
            bindparam("amount", type_=Integer),
            bindparam("reason", type_=Text),
            bindparam("actor", type_=Text),
            bindparam("booking_id", type_=Uuid),
        ),
    )
    .cte("entry")
)
CHANGE_BALANCE = select(_account.c.balance).add_cte(_entry)

OPEN_ACCOUNT = (
    postgresql.insert(CreditAccount)
    .from_select(
        ["athlete_id", "balance"],
        select(User.id, literal(0)).where(User.id == bindparam("athlete_id"), User.role == Role.ATHLETE.value),
    )
    .on_conflict_do_nothing(index_elements=[CreditAccount.athlete_id])
)


@dataclass(frozen=True, slots=True)
class DebitedCredit:
    """What the athlete has left, in credits."""

    credits_left: int


# Steps


def check_balance(db: Session, *, athlete_id: UUID) -> None:
    """Hold the athlete's account until the end of the transaction, and pass if it can pay for a booking.

    Raises:
        OnboardingIncomplete: this is no active athlete, or one who may not book yet.
        InsufficientCredits: nothing is left.
    """
    account = connection(db).execute(LOCK_ACCOUNT, {"athlete_id": athlete_id}).one_or_none()
    if not (account.may_book if account else _may_book(db, athlete_id)):
        raise OnboardingIncomplete
    if account is None or account.balance < PRICE:
        raise InsufficientCredits


def _may_book(db: Session, athlete_id: UUID) -> bool:
    return bool(db.scalar(select(MAY_BOOK).where(User.id == athlete_id)))


def debit_credit(db: Session, *, ctx: StepContext, athlete_id: UUID, booking_id: UUID) -> DebitedCredit:
    """Take exactly one credit for the booking.

    Raises:
        InsufficientCredits: nothing is left.
    """
    left = _change_balance(db, athlete_id, EntryKind.DEBIT, -PRICE, "booking", ctx.actor, booking_id)
    if left is None:
        raise InsufficientCredits
    return DebitedCredit(left)


def refund_credit(db: Session, *, athlete_id: UUID, booking_id: UUID, actor: str) -> None:
    """Give back what the booking cost. Its caller holds the booking, so that it is given back once."""
    _change_balance(db, athlete_id, EntryKind.REFUND, PRICE, "booking cancelled", actor, booking_id)


# Accounts


def hold_account(db: Session, athlete_id: UUID) -> None:
    """Let nobody else book, move or pay for anything of the athlete's until the end of the transaction."""
    connection(db).execute(LOCK_ACCOUNT, {"athlete_id": athlete_id})


def grant(db: Session, *, athlete_id: UUID, amount: int, reason: str, actor: str) -> int:
    """Give credits, or take them back with a negative amount; answers the new balance.

    Raises:
        InvalidInput: the amount is zero or absurd.
        NotFound: there is no such athlete.
        Conflict: more would be taken than there is.
    """
    if amount == 0 or abs(amount) > MAXIMUM_CHANGE:
        raise InvalidInput(f"The amount is from 1 to {MAXIMUM_CHANGE:,}, or the negative of it.", field="amount")
    connection(db).execute(OPEN_ACCOUNT, {"athlete_id": athlete_id})
    kind = EntryKind.GRANT if amount > 0 else EntryKind.ADJUSTMENT
    left = _change_balance(db, athlete_id, kind, amount, reason, actor)
    if left is None:
        raise _not_changed(db, athlete_id)
    return left


def _not_changed(db: Session, athlete_id: UUID) -> NotFound | Conflict:
    found = db.scalar(select(CreditAccount.balance).where(CreditAccount.athlete_id == athlete_id))
    if found is None:
        return NotFound("There is no such athlete.")
    return Conflict(f"The balance is {found}, and it cannot go below zero: take back less.")


def balance(db: Session, athlete_id: UUID) -> int:
    """The athlete's credits; none without an account."""
    return db.scalar(select(CreditAccount.balance).where(CreditAccount.athlete_id == athlete_id)) or 0


def ledger(athlete_id: UUID) -> Select[LedgerEntry]:
    """Why the athlete's balance is what it is."""
    return select(LedgerEntry).where(LedgerEntry.athlete_id == athlete_id)


def _change_balance(
    db: Session,
    athlete_id: UUID,
    kind: EntryKind,
    amount: int,
    reason: str,
    actor: str,
    booking_id: UUID | None = None,
) -> int | None:
    """The balance after a change and its entry, or None when it would go below zero and nothing was changed."""
    change = {
        "account_id": athlete_id,
        "entry_id": new_id(),
        "kind": kind.value,
        "amount": amount,
        "reason": reason,
        "actor": actor,
        "booking_id": booking_id,
    }
    return connection(db).execute(CHANGE_BALANCE, change).scalar()
