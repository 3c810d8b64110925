"""What people are told: once, in their language, in the app and by mail."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.orm import Session

from tests.booking_desk import context
from tests.held_sessions import held
from tests.integration.conftest import Person
from tests.smtp_sink import SmtpSink, smtp_sink
from zea import config
from zea.accounts.models import User
from zea.config import settings
from zea.db import new_id, transaction
from zea.errors import NotFound
from zea.notifications import delivery, service
from zea.notifications.mail import Mail, Mailbox
from zea.notifications.models import Notification

STARTS_AT = datetime(2026, 1, 6, 13, tzinfo=UTC)


@dataclass(frozen=True)
class Told:
    """Both parties' people and the execution that tells them."""

    athlete: Person
    coach: Person
    execution_id: UUID
    booking_id: UUID

    def coach_step(self, db: Session) -> None:
        service.notify_coach(
            db,
            ctx=context("notify_coach", self.execution_id),
            booking_id=self.booking_id,
            coach_id=self.coach.user_id,
            athlete_id=self.athlete.user_id,
            starts_at=STARTS_AT,
            athlete_notes="Rodilla izquierda",
        )

    def athlete_step(self, db: Session) -> None:
        service.notify_athlete(
            db,
            ctx=context("notify_athlete", self.execution_id),
            booking_id=self.booking_id,
            coach_id=self.coach.user_id,
            athlete_id=self.athlete.user_id,
            starts_at=STARTS_AT,
            credits_left=2,
        )


@pytest.fixture
def told(athlete: Person, coach: Person) -> Told:
    (booking_id,) = held(coach.user_id, athlete.user_id, [STARTS_AT], status="CONFIRMED")
    return Told(athlete, coach, new_id(), booking_id)


def write(recipient: Person, title: str = "Hola", **values: object) -> UUID:
    """A notification that is due, committed."""
    row = {"kind": "test", "title": title, "body": "…", "execution_id": new_id(), "step": "test", **values}
    with transaction() as db:
        return db.scalars(
            insert(Notification).values(recipient_id=recipient.user_id, **row).returning(Notification.id)
        ).one()


def read(notification_id: UUID) -> Notification:
    with transaction() as db:
        return db.scalars(select(Notification).where(Notification.id == notification_id)).one()


def all_notifications() -> list[Notification]:
    with transaction() as db:
        return list(db.scalars(select(Notification).order_by(Notification.created_at)))


def make_due(notification_id: UUID) -> None:
    with transaction() as db:
        db.execute(
            update(Notification).where(Notification.id == notification_id).values(deliver_at=func.clock_timestamp())
        )


def mailbox() -> dict[str, EmailMessage]:
    """The mails in the local mailbox, by file name."""
    return {
        path.name: message_from_bytes(path.read_bytes(), policy=policy.default) for path in settings().mailbox.iterdir()
    }


@pytest.fixture
def sink(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmtpSink]:
    """A real SMTP server that this process's settings name."""
    with smtp_sink() as running:
        monkeypatch.setenv("ZEA_SMTP_URL", running.url())
        config.settings.cache_clear()
        yield running


# The steps


def test_a_step_that_runs_again_tells_nobody_twice(told: Told) -> None:
    for _ in range(2):
        with transaction() as db:
            told.coach_step(db)
            told.athlete_step(db)
    recipients = [notification.recipient_id for notification in all_notifications()]
    assert recipients == [told.coach.user_id, told.athlete.user_id]


def test_each_party_reads_it_in_their_language_and_on_their_clock(told: Told) -> None:
    with transaction() as db:
        abroad = {"locale": "en", "timezone": "Europe/Madrid", "name": "Carla"}
        db.execute(update(User).where(User.id == told.coach.user_id).values(**abroad))
        told.coach_step(db)
        told.athlete_step(db)
    to_coach, to_athlete = all_notifications()
    assert "Tuesday 6 January 2026 at 14:00 (Madrid time)" in to_coach.body
    assert "Notes from Athlete Pérez:\nRodilla izquierda" in to_coach.body
    assert to_athlete.title == "Tu hora con Carla está confirmada"
    assert "martes 6 de enero de 2026 a las 10:00 (hora de Santiago)" in to_athlete.body
    assert "Te quedan 2 créditos." in to_athlete.body
    assert "Rodilla" not in to_athlete.body
    assert [notification.kind for notification in (to_coach, to_athlete)] == ["booking_received", "booking_confirmed"]


def test_what_a_step_wrote_is_due_for_delivery_at_once(told: Told) -> None:
    with transaction() as db:
        told.athlete_step(db)
    assert delivery.deliver_due() == 1


# The app


def test_people_see_what_they_were_told_newest_first_and_nothing_else(
    api: httpx.Client, athlete: Person, coach: Person
) -> None:
    for title in ("first", "second"):
        write(athlete, title)
    write(coach, "not theirs")
    seen = api.get("/api/me/notifications", headers=athlete.headers).json()["items"]
    assert [notification["title"] for notification in seen] == ["second", "first"]
    assert seen[0].keys() == {"notification_id", "kind", "title", "body", "created_at", "read_at"}
    assert api.get("/api/me/notifications").status_code == 401


def test_the_moment_of_the_first_reading_is_kept(api: httpx.Client, athlete: Person) -> None:
    path = f"/api/me/notifications/{write(athlete)}/read"
    first, second = (api.post(path, headers=athlete.headers).json() for _ in range(2))
    assert first["read_at"] is not None
    assert first == second


def test_nobody_marks_what_another_was_told(api: httpx.Client, athlete: Person, coach: Person, handle: Session) -> None:
    notification_id = write(athlete)
    assert api.post(f"/api/me/notifications/{notification_id}/read", headers=coach.headers).status_code == 404
    assert read(notification_id).read_at is None
    with pytest.raises(NotFound):
        service.mark_read(handle, new_id(), athlete.user_id)


# Delivery


def test_without_a_server_mail_goes_to_the_mailbox_once(athlete: Person) -> None:
    notification_id = write(athlete, "Tu hora está confirmada")
    assert [delivery.deliver_due(), delivery.deliver_due()] == [1, 0]
    [(name, mail)] = mailbox().items()
    assert name == f"{notification_id}.eml"
    assert mail["To"].addresses[0].addr_spec == athlete.email
    assert mail["Subject"] == "Tu hora está confirmada"
    assert read(notification_id).delivered_at is not None


def test_with_a_server_mail_goes_there(athlete: Person, sink: SmtpSink) -> None:
    write(athlete, "Tu hora está confirmada")
    assert delivery.deliver_due() == 1
    assert [mail["Subject"] for mail in sink.mails] == ["Tu hora está confirmada"]
    assert not settings().mailbox.exists()


def test_a_mail_that_is_refused_is_put_off_and_stops_no_other(athlete: Person, coach: Person, sink: SmtpSink) -> None:
    sink.refused.add(coach.email)
    before, bad, after = write(athlete, "before"), write(coach), write(athlete, "after")
    assert delivery.deliver_due() == 2
    assert [mail["Subject"] for mail in sink.mails] == ["before", "after"]
    assert read(before).delivered_at is not None
    assert read(after).delivered_at is not None
    refused = read(bad)
    assert (refused.delivered_at, refused.delivery_attempts) == (None, 1)
    assert refused.delivery_error == "SMTPRecipientsRefused 550"
    assert refused.deliver_at is not None
    assert timedelta(seconds=50) < refused.deliver_at - refused.created_at < timedelta(seconds=70)


def test_a_mail_that_was_put_off_goes_out_when_its_time_has_come(coach: Person, sink: SmtpSink) -> None:
    sink.refused.add(coach.email)
    notification_id = write(coach)
    delivery.deliver_due()
    sink.refused.clear()
    assert delivery.deliver_due() == 0
    make_due(notification_id)
    assert delivery.deliver_due() == 1
    assert read(notification_id).delivery_error is None


def test_after_ten_tries_a_mail_is_given_up_and_stays_in_the_app(
    api: httpx.Client, coach: Person, sink: SmtpSink
) -> None:
    sink.refused.add(coach.email)
    notification_id = write(coach)
    for _ in range(delivery.MAXIMUM_ATTEMPTS):
        make_due(notification_id)
        delivery.deliver_due()
    given_up = read(notification_id)
    assert (given_up.deliver_at, given_up.delivery_attempts) == (None, delivery.MAXIMUM_ATTEMPTS)
    assert len(api.get("/api/me/notifications", headers=coach.headers).json()["items"]) == 1


def test_a_server_that_is_down_costs_one_try_and_not_one_of_every_mail(
    athlete: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    with smtp_sink() as gone:
        pass
    monkeypatch.setenv("ZEA_SMTP_URL", gone.url())
    config.settings.cache_clear()
    tried, untried = write(athlete), write(athlete)
    assert delivery.deliver_due() == 0
    assert read(tried).delivery_error == "unreachable: ConnectionRefusedError: Connection refused"
    assert [read(each).delivery_attempts for each in (tried, untried)] == [1, 0]


def test_an_error_that_nobody_foresaw_stops_no_other_mail(
    athlete: Person, coach: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Mailbox.send

    def fails_for_the_coach(mailbox: Mailbox, mail: Mail) -> None:
        if mail.recipient_email == coach.email:
            raise RuntimeError(f"a secret of {mail.recipient_email}")
        send(mailbox, mail)

    monkeypatch.setattr(Mailbox, "send", fails_for_the_coach)
    bad, good = write(coach), write(athlete)
    assert delivery.deliver_due() == 1
    assert read(good).delivered_at is not None
    assert read(bad).delivery_error == "RuntimeError"


def test_a_row_whose_outcome_cannot_be_kept_stops_no_other_mail(
    athlete: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = write(athlete), write(athlete)
    note = delivery._note_delivery

    def breaks_for_the_first(db: Session, notification_id: UUID) -> None:
        if notification_id == bad:
            db.execute(text("SELECT 1 / 0"))
        note(db, notification_id)

    monkeypatch.setattr(delivery, "_note_delivery", breaks_for_the_first)
    assert delivery.deliver_due() == 1
    assert read(good).delivered_at is not None
    assert read(bad).delivered_at is None


def test_many_passes_at_once_send_each_mail_once(athlete: Person, sink: SmtpSink) -> None:
    titles = {str(number) for number in range(30)}
    for title in titles:
        write(athlete, title)
    with ThreadPoolExecutor(4) as threads:
        passes = [threads.submit(delivery.deliver_due) for _ in range(4)]
        assert sum(each.result() for each in passes) == len(titles)
    assert sorted(mail["Subject"] for mail in sink.mails) == sorted(titles)


def test_a_pass_that_is_slow_keeps_others_from_being_slow_too(athlete: Person) -> None:
    write(athlete)
    with transaction() as slow:
        slow.execute(select(func.pg_advisory_xact_lock(delivery.PASS_LOCK)))
        assert delivery.deliver_due() == 0
    assert delivery.deliver_due() == 1


def test_a_mail_that_another_pass_holds_is_passed_over(athlete: Person) -> None:
    held = write(athlete)
    with transaction() as other:
        other.execute(select(Notification.id).where(Notification.id == held).with_for_update())
        assert delivery.deliver_due() == 0
    assert delivery.deliver_due() == 1


def test_a_pass_is_bounded_and_begins_with_what_waits_longest(athlete: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "BATCH", 2)
    for age in (1, 3, 2):
        write(athlete, f"{age} hours", deliver_at=datetime.now(UTC) - timedelta(hours=age))
    assert delivery.deliver_due() == 2
    assert {mail["Subject"] for mail in mailbox().values()} == {"3 hours", "2 hours"}


def test_a_pass_ends_when_its_time_is_over(athlete: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "PASS_SECONDS", -1.0)
    write(athlete)
    write(athlete)
    assert [delivery.deliver_due(), delivery.deliver_due(), delivery.deliver_due()] == [1, 1, 0]


def test_looking_for_due_mail_costs_what_is_due_and_not_what_was_ever_sent(athlete: Person) -> None:
    row: dict[str, Any] = {
        "recipient_id": athlete.user_id,
        "kind": "test",
        "title": "Hola",
        "body": "…",
        "step": "test",
    }
    with transaction() as db:
        db.execute(
            insert(Notification),
            [{**row, "execution_id": new_id(), "delivered_at": datetime.now(UTC)} for _ in range(2000)],
        )
    write(athlete)
    with transaction() as db:
        db.execute(text("ANALYZE notifications"))
        statement = delivery.due_ids().compile(db.connection(), compile_kwargs={"literal_binds": True})
        plan = "\n".join(db.scalars(text(f"EXPLAIN {statement}")))
    assert "ix_notifications_pending_delivery" in plan
    assert "Index Cond: (deliver_at <=" in plan
    assert "Seq Scan" not in plan


def test_beats_task_is_a_pass(athlete: Person, servers: object) -> None:
    from tasks.notifications import deliver

    write(athlete)
    assert deliver.name == "notifications.deliver"
    assert deliver() == 1


def test_a_deliverys_log_names_nobody(
    athlete: Person, coach: Person, sink: SmtpSink, caplog: pytest.LogCaptureFixture
) -> None:
    sink.refused.add(coach.email)
    write(coach, "Secreto")
    delivery.deliver_due()
    assert len(caplog.records) == 1
    assert "Secreto" not in caplog.text
    assert coach.email not in caplog.text
