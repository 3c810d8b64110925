"""The process's clock, for display and tokens. Deadlines are set and compared by the database's clock."""

from datetime import UTC, datetime


def now() -> datetime:
    """The current moment, in UTC."""
    return datetime.now(UTC)
