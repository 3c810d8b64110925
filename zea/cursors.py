"""Where a list goes on: the last row seen, as text that callers pass back unread."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from json import dumps, loads
from uuid import UUID

from zea.errors import InvalidInput

Position = tuple[datetime, UUID]


def to_cursor(moment: datetime, row_id: UUID) -> str:
    """The cursor after the row with this moment and id."""
    return urlsafe_b64encode(dumps([moment.isoformat(), str(row_id)]).encode()).decode().rstrip("=")


def to_position(cursor: str | None) -> Position | None:
    """The row that a cursor stands for; None for none.

    Raises:
        InvalidInput: the cursor is none that this gave out.
    """
    if cursor is None:
        return None
    try:
        moment, row_id = loads(urlsafe_b64decode(cursor.encode("ascii") + b"=="))
        return _aware(datetime.fromisoformat(moment)), UUID(row_id)
    except (ValueError, TypeError, AttributeError):
        raise InvalidInput("This is no cursor of this list: take next_cursor from the page before.", "cursor") from None


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError
    return moment
