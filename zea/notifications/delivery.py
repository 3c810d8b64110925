"""Delivery: notifications that are due go out as mail, and are tried again until they do or are given up."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from enum import StrEnum
from time import monotonic
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Select, func, null, select, update
from sqlalchemy.orm import Session

from zea.accounts.models import User
from zea.db import connection, transaction
from zea.notifications import attachments
from zea.notifications.mail import Mail, Outgoing, ServerUnreachable, described, outgoing
from zea.notifications.models import PENDING_DELIVERY, Notification

log = logging.getLogger(__name__)

BATCH = 200
PASS_LOCK = 0x6D61696C  # "mail"; any number that nothing else locks
# A pass that meets slow servers ends after this and gives its worker back; the next one goes on.
PASS_SECONDS = 30.0
MAXIMUM_ATTEMPTS = 10
FIRST_DELAY = timedelta(minutes=1)
LONGEST_DELAY = timedelta(hours=6)


class Outcome(StrEnum):
    """What became of one try."""

    SENT = "sent"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    NOT_DUE = "not due"


class Due(NamedTuple):
    """A notification that is held for delivery, how often that was tried before, and the report that goes with it."""

    mail: Mail
    attempts: int
    report_id: str | None
    report_revision: int | None


def deliver_due() -> int:
    """Send what is due, each in a short transaction of its own; answers how many were sent.

    One pass runs at a time, others end at once: a slow mail server holds up one worker process and no more. A mail that
    fails is tried again later and stops no other; a server that cannot be reached ends the pass, so that an outage
    costs one try and not one of every mail.
    """
    with transaction() as db:
        if not db.scalar(select(func.pg_try_advisory_xact_lock(PASS_LOCK))):
            return 0
        return _deliver_all(db.scalars(due_ids()).all())


def _deliver_all(notification_ids: Sequence[UUID]) -> int:
    ends_at = monotonic() + PASS_SECONDS
    sent = 0
    with outgoing() as way:
        for notification_id in notification_ids:
            outcome = _deliver_safely(notification_id, way)
            sent += outcome is Outcome.SENT
            if outcome is Outcome.UNREACHABLE or monotonic() > ends_at:
                break
    return sent


def delay_after(attempts: int) -> timedelta | None:
    """How long to wait after this many failed tries: three times longer each; None when it is given up, in a day."""
    if attempts >= MAXIMUM_ATTEMPTS:
        return None
    factor: int = 3 ** (attempts - 1)
    return min(FIRST_DELAY * factor, LONGEST_DELAY)


def _deliver_safely(notification_id: UUID, way: Outgoing) -> Outcome:
    try:
        return _deliver(notification_id, way)
    except Exception as problem:
        log.error("notification %s stays due: %s", notification_id, described(problem))
        return Outcome.FAILED


def _deliver(notification_id: UUID, way: Outgoing) -> Outcome:
    """Send and note it in one transaction: only a crash between the two sends a mail again, with the same id."""
    with transaction() as db:
        due = _lock_if_due(db, notification_id)
        if due is None:
            return Outcome.NOT_DUE
        outcome, error = _send(db, due, way)
        if error is None:
            _note_delivery(db, notification_id)
        else:
            _note_failure(db, notification_id, due.attempts + 1, error)
        return outcome


def _send(db: Session, due: Due, way: Outgoing) -> tuple[Outcome, str | None]:
    try:
        way.send(_with_report(db, due))
    except Exception as problem:
        error = described(problem)
        log.warning("notification %s was not delivered: %s", due.mail.notification_id, error)
        return (Outcome.UNREACHABLE if isinstance(problem, ServerUnreachable) else Outcome.FAILED), error
    return Outcome.SENT, None


def due_ids() -> Select[UUID]:
    """What a pass takes: what has waited longest first."""
    return (
        select(Notification.id)
        # A moment that stands still: PostgreSQL compares an index with no other.
        .where(PENDING_DELIVERY, Notification.deliver_at <= func.statement_timestamp())
        .order_by(Notification.deliver_at)
        .limit(BATCH)
    )


def _with_report(db: Session, due: Due) -> Mail:
    if due.report_id is None:
        return due.mail
    return replace(due.mail, attachment=attachments.of_report(db, due.report_id, due.report_revision))


def _lock_if_due(db: Session, notification_id: UUID) -> Due | None:
    """The notification, unless it was sent, put off or given up meanwhile, or another pass holds it."""
    statement = (
        select(
            Notification.id,
            Notification.created_at,
            Notification.title,
            Notification.body,
            func.coalesce(User.name, Notification.recipient_email).label("recipient_name"),
            func.coalesce(User.email, Notification.recipient_email).label("recipient_email"),
            Notification.report_id,
            Notification.report_revision,
            Notification.delivery_attempts,
        )
        .outerjoin(User, User.id == Notification.recipient_id)
        .where(Notification.id == notification_id, PENDING_DELIVERY, Notification.deliver_at <= func.clock_timestamp())
        .with_for_update(of=Notification, key_share=True, skip_locked=True)
    )
    row = connection(db).execute(statement).one_or_none()
    if row is None:
        return None
    mail = Mail(row.id, row.created_at, row.title, row.body, row.recipient_name, row.recipient_email)
    return Due(mail, row.delivery_attempts, row.report_id, row.report_revision)


def _note_delivery(db: Session, notification_id: UUID) -> None:
    connection(db).execute(
        update(Notification)
        .where(Notification.id == notification_id)
        .values(
            delivered_at=func.clock_timestamp(),
            delivery_attempts=Notification.delivery_attempts + 1,
            delivery_error=null(),
        )
    )


def _note_failure(db: Session, notification_id: UUID, attempts: int, error: str) -> None:
    delay = delay_after(attempts)
    connection(db).execute(
        update(Notification)
        .where(Notification.id == notification_id)
        .values(
            delivery_attempts=attempts,
            delivery_error=error,
            deliver_at=null() if delay is None else func.clock_timestamp() + delay,
        )
    )
