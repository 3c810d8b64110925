"""Credits: what athletes have, and what admins give them."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from zea.api import routing
from zea.api.deps import CurrentUser, Db, IdempotencyKey
from zea.api.description import refusals
from zea.api.idempotency import KeyedRequest, idempotent
from zea.api.paging import Page, Paging, page
from zea.api.schemas import Request
from zea.credits import service
from zea.credits.models import LedgerEntry
from zea.credits.schemas import LedgerEntryView
from zea.credits.service import MAXIMUM_CHANGE
from zea.errors import Conflict, NotFound

router = routing.router("/api", "credits")


class MyCredits(Page[LedgerEntryView]):
    """An athlete's balance, and the ledger that explains it."""

    balance: int


class CreditChange(Request):
    """Credits to give, or with a negative amount to take back."""

    athlete_id: UUID
    amount: int = Field(ge=-MAXIMUM_CHANGE, le=MAXIMUM_CHANGE, description="not zero")
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class Balance(BaseModel):
    """An athlete's credits."""

    balance: int


@router.get("/me/credits")
def my_credits(athlete: CurrentUser, db: Db, paging: Paging) -> MyCredits:
    """The balance, and the ledger that explains it."""
    entries = page(db, service.ledger(athlete.id), LedgerEntry.created_at, LedgerEntry.id, paging, LedgerEntryView.of)
    return MyCredits(balance=service.balance(db, athlete.id), items=entries.items, next_cursor=entries.next_cursor)


@router.post("/admin/credits", status_code=201, responses=refusals(NotFound, Conflict))
def change_credits(change: CreditChange, admin: CurrentUser, db: Db, key: IdempotencyKey = None) -> Balance:
    """Give credits, or with a negative amount take them back; the balance never goes below zero."""
    actor = f"user:{admin.id}"
    request = KeyedRequest(key, actor, "admin.change_credits", change)
    return idempotent(db, request, Balance, lambda: Balance(balance=_changed(db, change, actor)))


def _changed(db: Db, change: CreditChange, actor: str) -> int:
    return service.grant(db, athlete_id=change.athlete_id, amount=change.amount, reason=change.reason, actor=actor)
