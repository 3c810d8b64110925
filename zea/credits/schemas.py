"""What athletes see of their credits."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel

from zea.credits.models import EntryKind, LedgerEntry


class LedgerEntryView(BaseModel):
    """One change of a balance, in credits. Who made it is not the athlete's business."""

    entry_id: UUID
    kind: EntryKind
    amount: int
    reason: str
    booking_id: UUID | None
    created_at: datetime

    @classmethod
    def of(cls, entry: LedgerEntry) -> Self:
        return cls(
            entry_id=entry.id,
            kind=EntryKind(entry.kind),
            amount=entry.amount,
            reason=entry.reason,
            booking_id=entry.booking_id,
            created_at=entry.created_at,
        )
