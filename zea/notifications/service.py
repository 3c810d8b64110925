"""Notifications: telling people what happened, in their language and on their clock."""

from collections.abc import Callable, Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, bindparam, func, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from zea.accounts import onboarding
from zea.accounts.models import User
from zea.accounts.onboarding import ProfileAnswer
from zea.bookings.models import LIVE, Booking
from zea.context import StepContext
from zea.db import connection
from zea.errors import NotFound
from zea.notifications import texts
from zea.notifications.models import Notification
from zea.notifications.texts import Reader, Text

READERS = select(User.id, User.name, User.locale, User.timezone).where(
    User.id.in_([bindparam("coach_id"), bindparam("athlete_id")])
)
STANDING = select(Booking.id).where(
    Booking.id == bindparam("booking_id"), Booking.starts_at == bindparam("starts_at"), LIVE
)
# A step that runs again finds its notification there, and tells nobody twice.
INSERT = postgresql.insert(Notification).on_conflict_do_nothing(
    index_elements=[Notification.execution_id, Notification.step, Notification.recipient_id]
)


# Steps


def notify_coach(
    db: Session,
    *,
    ctx: StepContext,
    booking_id: UUID,
    coach_id: UUID,
    athlete_id: UUID,
    starts_at: datetime,
    athlete_notes: str | None,
) -> None:
    """Tell the coach who comes when, and what the athlete wrote; nothing, if that is not true any more."""
    if not _stands(db, booking_id, starts_at):
        return
    readers = readers_of(db, coach_id, athlete_id)
    text = texts.booking_received(
        readers[coach_id], athlete_name=readers[athlete_id].name, starts_at=starts_at, notes=athlete_notes
    )
    notify(db, ctx=ctx, recipient_id=coach_id, kind="booking_received", text=text)


def notify_athlete(
    db: Session,
    *,
    ctx: StepContext,
    booking_id: UUID,
    coach_id: UUID,
    athlete_id: UUID,
    starts_at: datetime,
    credits_left: int,
) -> None:
    """Tell the athlete that the booking stands, and what is left to pay with; nothing, if it does not any more."""
    if not _stands(db, booking_id, starts_at):
        return
    readers = readers_of(db, coach_id, athlete_id)
    text = texts.booking_confirmed(
        readers[athlete_id], coach_name=readers[coach_id].name, starts_at=starts_at, credits_left=credits_left
    )
    notify(db, ctx=ctx, recipient_id=athlete_id, kind="booking_confirmed", text=text)


def _stands(db: Session, booking_id: UUID, starts_at: datetime) -> bool:
    """Whether the booking was neither cancelled nor moved meanwhile, of which its parties have been told."""
    return connection(db).execute(STANDING, {"booking_id": booking_id, "starts_at": starts_at}).first() is not None


def ask_for_profile(db: Session, *, ctx: StepContext, user_id: UUID) -> ProfileAnswer | None:
    """Ask the athlete for their profile; what they have told already is the answer."""
    if profile := onboarding.saved_profile(db, user_id):
        return profile
    text = texts.profile_wanted(_reader(db, user_id), until=_deadline(ctx))
    notify(db, ctx=ctx, recipient_id=user_id, kind="profile_wanted", text=text)
    return None


def send_welcome_email(db: Session, *, ctx: StepContext, user_id: UUID) -> None:
    """Tell the athlete that they may book."""
    notify(db, ctx=ctx, recipient_id=user_id, kind="welcome", text=texts.welcome(_reader(db, user_id)))


def ask_for_athlete_feedback(
    db: Session, *, ctx: StepContext, athlete_id: UUID, coach_id: UUID, actual_start_time: datetime
) -> None:
    """Ask the athlete how the session was."""
    _ask(db, ctx, athlete_id, coach_id, texts.feedback_wanted, actual_start_time)


def remind_of_athlete_feedback(
    db: Session, *, ctx: StepContext, athlete_id: UUID, coach_id: UUID, actual_start_time: datetime
) -> None:
    """Remind the athlete, once."""
    _ask(db, ctx, athlete_id, coach_id, texts.feedback_reminder, actual_start_time)


def ask_for_coach_evaluation(
    db: Session, *, ctx: StepContext, athlete_id: UUID, coach_id: UUID, actual_start_time: datetime
) -> None:
    """Ask the coach how the athlete did."""
    _ask(db, ctx, coach_id, athlete_id, texts.evaluation_wanted, actual_start_time)


def remind_of_coach_evaluation(
    db: Session, *, ctx: StepContext, athlete_id: UUID, coach_id: UUID, actual_start_time: datetime
) -> None:
    """Remind the coach, once."""
    _ask(db, ctx, coach_id, athlete_id, texts.evaluation_reminder, actual_start_time)


def _ask(
    db: Session,
    ctx: StepContext,
    recipient_id: UUID,
    other_id: UUID,
    write: Callable[[Reader, str, datetime, datetime], Text],
    began_at: datetime,
) -> None:
    """Ask one party to a session something about the other; the message's kind is its text's name."""
    readers = readers_of(db, recipient_id, other_id)
    text = write(readers[recipient_id], readers[other_id].name, began_at, _deadline(ctx))
    notify(db, ctx=ctx, recipient_id=recipient_id, kind=write.__name__, text=text)


def _deadline(ctx: StepContext) -> datetime:
    assert ctx.expires_at is not None, "only an approval asks and reminds"
    return ctx.expires_at


def notify(db: Session, *, ctx: StepContext, kind: str, text: Text, **recipient: object) -> None:
    """Write one message to one person, at most once a step; its mail is due at once.

    ``recipient`` is a ``recipient_id`` or, without an account, a ``recipient_email``, and what is attached.
    """
    write(db, execution_id=ctx.execution_id, step=ctx.step, kind=kind, text=text, **recipient)


def write(db: Session, *, execution_id: UUID, step: str, kind: str, text: Text, **recipient: object) -> None:
    """Write one message to one person, at most once for each origin, which an execution and a step's name are."""
    notification = {
        **recipient,
        "kind": kind,
        "title": text.title,
        "body": text.body,
        "execution_id": execution_id,
        "step": step,
    }
    connection(db).execute(INSERT, notification)


def _reader(db: Session, user_id: UUID) -> Reader:
    return readers_of(db, user_id, user_id)[user_id]


def readers_of(db: Session, coach_id: UUID, athlete_id: UUID) -> Mapping[UUID, Reader]:
    rows = connection(db).execute(READERS, {"coach_id": coach_id, "athlete_id": athlete_id})
    return {row.id: Reader(row.name, row.locale, row.timezone) for row in rows}


# What people see


def inbox(recipient_id: UUID) -> Select[Notification]:
    """Everything that the person was told."""
    return select(Notification).where(Notification.recipient_id == recipient_id)


def mark_read(db: Session, notification_id: UUID, recipient_id: UUID) -> Notification:
    """Note that the person has read it; the moment of the first time is kept.

    Raises:
        NotFound: they have no such notification.
    """
    statement = (
        update(Notification)
        .where(Notification.id == notification_id, Notification.recipient_id == recipient_id)
        .values(read_at=func.coalesce(Notification.read_at, func.clock_timestamp()))
        .returning(Notification)
    )
    notification = db.scalar(statement)
    if notification is None:
        raise NotFound("You have no such notification.")
    return notification
