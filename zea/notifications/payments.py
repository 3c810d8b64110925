"""Telling whoever pays the coaches that a report is ready."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import select, true
from sqlalchemy.orm import Session

from zea.accounts.models import Role, User
from zea.accounts.service import email_key
from zea.config import settings
from zea.context import StepContext
from zea.notifications import service
from zea.notifications.attachments import form_of
from zea.notifications.report_texts import report_ready
from zea.notifications.texts import Language, Reader
from zea.reports.schemas import Period, Summary

Recipient = Mapping[str, UUID | str]


def notify_admin(
    db: Session,
    *,
    ctx: StepContext,
    report_id: str,
    revision: int,
    coach_id: UUID | None,
    period: Period,
    summary: Summary,
    csv_bytes: int,
    csv_compressed_bytes: int,
) -> None:
    """Mail the report to ZEA_ADMIN_EMAIL or, where that is not set, to every admin."""
    form = form_of(csv_bytes, csv_compressed_bytes)
    coach_name = db.scalar(select(User.name).where(User.id == coach_id)) if coach_id else None
    for recipient, reader in _payers(db):
        text = report_ready(
            reader,
            report_id=report_id,
            revision=revision,
            period=period,
            summary=summary,
            form=form,
            coach_name=coach_name,
        )
        attached = {"report_id": report_id, "report_revision": revision}
        service.notify(db, ctx=ctx, kind="report_ready", text=text, **recipient, **attached)


def _payers(db: Session) -> Sequence[tuple[Recipient, Reader]]:
    """Who is told: admins or, as the settings may say, somebody who has an address and no account."""
    address = settings().admin_email
    named = true() if address is None else User.email_key == email_key(address)
    admins = db.scalars(select(User).where(User.role == Role.ADMIN.value, User.is_active, named).order_by(User.id))
    found = [({"recipient_id": each.id}, Reader(each.name, each.locale, each.timezone)) for each in admins]
    if address and not found:
        return [({"recipient_email": address}, Reader(address, Language.SPANISH, settings().timezone))]
    return found
