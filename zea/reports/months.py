"""The monthly run: which months' reports are due and were not begun, each once however often one looks."""

from datetime import date
from zoneinfo import ZoneInfo

from sqlalchemy import DateTime, func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from zea.bookings.models import HELD, Booking
from zea.config import settings
from zea.reports.models import MonthlyRun
from zea.reports.periods import month_of, months_due


def missing_months(db: Session) -> list[date]:
    """The first days of the months whose report is due and was not begun, oldest first.

    The first month is that of the first session: before it there was nobody to pay.
    """
    zone = ZoneInfo(settings().timezone)
    now = func.clock_timestamp(type_=DateTime(timezone=True))
    first_session, now_at = db.execute(select(func.min(Booking.actual_start_time), now).where(HELD)).one()
    if first_session is None:
        return []
    begun = set(db.scalars(select(MonthlyRun.month_on)))
    return [month for month in months_due(month_of(first_session, zone), now_at, zone) if month not in begun]


def take_month(db: Session, month: date) -> bool:
    """Note that the month's report is begun; False if it was before."""
    taking = postgresql.insert(MonthlyRun).on_conflict_do_nothing(index_elements=[MonthlyRun.month_on])
    taken = taking.values(month_on=month).returning(MonthlyRun.month_on)
    return db.scalar(taken) is not None


def start_key(month: date) -> str:
    return f"payment-report:{month:%Y-%m}"
