"""Who is told of a report, with what attached, and that each month's is begun once."""

import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from email import message_from_bytes, policy
from email.message import EmailMessage
from importlib import import_module
from io import BytesIO
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from tests.held_sessions import held, person, report
from tests.integration.test_reports import JANUARY, MORNING, client, file, rows
from zea import clock, config
from zea.config import settings
from zea.db import transaction
from zea.notifications import attachments
from zea.notifications.delivery import deliver_due
from zea.reports import months
from zea.reports.periods import last_day, months_due


def mails() -> list[EmailMessage]:
    """What was delivered, by recipient."""
    found = [message_from_bytes(each.read_bytes(), policy=policy.default) for each in settings().mailbox.glob("*.eml")]
    return sorted(found, key=lambda mail: str(mail["To"]))


def sent(monkeypatch: pytest.MonkeyPatch, address: str = "") -> list[EmailMessage]:
    monkeypatch.setenv("ZEA_ADMIN_EMAIL", address)
    config.settings.cache_clear()
    report(*JANUARY)
    deliver_due()
    return mails()


@pytest.fixture
def coach(database: str) -> UUID:
    coach = person("coach", "Íñigo")
    held(coach, person("athlete", "Ana"), [MORNING], 95)
    return coach


class TestMail:
    """The people who pay are told, and have the file."""

    def test_goes_to_every_admin_with_the_file(self, coach: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
        admins = [person("admin", name) for name in ("Berta", "Carla")]
        with transaction() as db:
            db.execute(text("UPDATE users SET locale = 'en' WHERE id = :id"), {"id": admins[1]})
            db.execute(text("UPDATE users SET is_active = false WHERE id = :id"), {"id": person("admin", "gone")})
        spanish, english = sent(monkeypatch)
        assert (spanish["Subject"], english["Subject"]) == (
            "Informe de pagos 2026-01: todos los coaches",
            "Payment report 2026-01: all coaches",
        )
        said = spanish.get_body().get_content()
        for part in (
            "de todos los coaches, del 1 de enero de 2026 al 31 de enero de 2026",
            "Sesiones: 1",
            "Horas: 1,58",
            "archivo adjunto",
        ):
            assert part in said
        assert "Hours: 1.58" in english.get_body().get_content()
        for mail in (spanish, english):
            (attached,) = mail.iter_attachments()
            assert attached.get_filename() == "report-ALL_COACHES-2026-01-01-2026-01-31.csv"
            assert attached.get_content_type() == "text/csv"
            assert attached.get_payload(decode=True) == file(*JANUARY)

    def test_of_one_coach_says_of_whom(self, coach: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
        person("admin", "Berta")
        report(*JANUARY, coach_id=coach)
        deliver_due()
        (mail,) = mails()
        assert mail["Subject"] == "Informe de pagos 2026-01: Íñigo"
        assert "de Íñigo, del 1 de enero" in mail.get_body().get_content()

    def test_does_not_go_to_the_account_of_an_admin_who_has_left(
        self, coach: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gone = person("admin", "Berta")
        with transaction() as db:
            db.execute(text("UPDATE users SET is_active = false WHERE id = :id"), {"id": gone})
        (mail,) = sent(monkeypatch, f"{gone}@example.com")
        assert mail["To"].addresses[0].addr_spec == f"{gone}@example.com"
        with transaction() as db:
            told = db.execute(text("SELECT recipient_id FROM notifications WHERE kind = 'report_ready'")).scalars()
            assert told.all() == [None]

    def test_whose_file_cannot_be_read_is_tried_again_and_stops_no_other(
        self, coach: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("Berta", "Carla"):
            person("admin", name)
        report(*JANUARY)
        with transaction() as db:
            db.execute(text("DELETE FROM payment_report_file_parts"))
        deliver_due()
        with transaction() as db:
            tried = db.execute(text("SELECT delivery_attempts, delivery_error FROM notifications")).all()
        assert [tuple(each) for each in tried] == [(1, "EOFError")] * 2

    def test_goes_to_the_address_of_the_settings_instead(self, coach: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
        person("admin", "Berta")
        (mail,) = sent(monkeypatch, "pagos@example.com")
        assert mail["To"].addresses[0].addr_spec == "pagos@example.com"
        assert len(list(mail.iter_attachments())) == 1

    def test_to_an_admins_own_address_is_shown_to_them_too(self, coach: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
        admin = person("admin", "Berta")
        (mail,) = sent(monkeypatch, f"{admin}@EXAMPLE.com")
        assert mail["To"].addresses[0].display_name == "Berta"
        with transaction() as db:
            recipients = db.execute(text("SELECT recipient_id FROM notifications WHERE kind = 'report_ready'"))
            assert recipients.scalars().all() == [admin]

    def test_carries_a_large_file_compressed(self, coach: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
        person("admin", "Berta")
        monkeypatch.setattr(attachments, "LARGEST_PLAIN", 10)
        (mail,) = sent(monkeypatch)
        assert "comprimido" in mail.get_body().get_content()
        (attached,) = mail.iter_attachments()
        assert attached.get_filename() == "report-ALL_COACHES-2026-01-01-2026-01-31.csv.zip"
        with zipfile.ZipFile(BytesIO(attached.get_payload(decode=True))) as packed:
            assert packed.read(packed.namelist()[0]) == file(*JANUARY)

    def test_says_where_to_find_what_no_server_takes(self, coach: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
        person("admin", "Berta")
        monkeypatch.setattr(attachments, "LARGEST_PLAIN", 10)
        monkeypatch.setattr(attachments, "LARGEST_COMPRESSED", 10)
        (mail,) = sent(monkeypatch)
        assert list(mail.iter_attachments()) == []
        assert "/api/admin/reports/report-ALL_COACHES-2026-01-01-2026-01-31.csv" in mail.get_body().get_content()


class TestMonthlyRun:
    """Each month is reported once, whatever beat does."""

    def test_of_nobodys_sessions_is_none(self, database: str) -> None:
        assert begin() == 0

    def test_begins_every_missing_month_once_however_many_beats_there_are(self, coach: UUID) -> None:
        with ThreadPoolExecutor(6) as beats:
            begun = list(beats.map(lambda _: begin(), range(6)))
        expected = due_months()
        assert sum(begun) == len(expected) >= 10
        found = client.list_executions(limit=200).items
        assert [each.workflow_name for each in found] == ["zea_sport.PaymentReport"] * len(expected)
        inputs = [client.get_execution_status(each.execution_id).inputs for each in found]
        periods = [{"start_date": str(each), "end_date": str(last_day(each)), "coach_id": None} for each in expected]
        assert sorted(inputs, key=lambda each: str(each["start_date"])) == periods
        assert begin() == 0
        with transaction() as db:
            keys = set(db.execute(text("SELECT start_key FROM workflow_executions")).scalars())
        assert keys == {f"payment-report:{each:%Y-%m}" for each in expected}

    def test_is_not_begun_again_once_its_execution_is_archived(self, coach: UUID) -> None:
        assert begin() > 0
        with transaction() as db:
            db.execute(text("UPDATE workflow_executions SET start_key = NULL"))
        assert begin() == 0

    def test_that_cannot_be_started_is_begun_by_the_next_tick(
        self, coach: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The month is taken and its execution started in one transaction."""
        with monkeypatch.context() as broken:
            broken.setattr(months, "start_key", broken_key)
            with pytest.raises(RuntimeError):
                begin()
        assert client.list_executions().items == []
        assert begin() == len(due_months())


def broken_key(month: date) -> str:
    raise RuntimeError(str(month))


def due_months() -> list[date]:
    return list(months_due(date(2026, 1, 1), clock.now(), ZoneInfo("America/Santiago")))


def begin() -> int:
    """What beat's task does. It is imported late: Celery's application wants a broker."""
    count: int = import_module("tasks.reports").begin()
    return count


def test_the_mailbox_keeps_one_file_a_notification(coach: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    person("admin", "Berta")
    (mail,) = sent(monkeypatch)
    with transaction() as db:
        db.execute(text("UPDATE notifications SET delivered_at = NULL, deliver_at = now()"))
    before = {each: each.read_bytes() for each in Path(settings().mailbox).iterdir()}
    deliver_due()
    assert {each: each.read_bytes() for each in Path(settings().mailbox).iterdir()} == before
    assert rows(next(mail.iter_attachments()).get_payload(decode=True))[0]["coach_name"] == "Íñigo"
