"""How a mail is made, how it leaves, and when it is tried again."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path
from smtplib import SMTPDataError, SMTPRecipientsRefused, SMTPServerDisconnected
from uuid import UUID

import pytest

from tests.smtp_sink import SmtpSink, smtp_sink
from zea import config
from zea.notifications.delivery import MAXIMUM_ATTEMPTS, delay_after
from zea.notifications.mail import Mail, Mailbox, ServerUnreachable, SmtpServer, compose, described, outgoing

MAIL = Mail(
    notification_id=UUID(int=7),
    created_at=datetime(2026, 3, 2, 12, tzinfo=UTC),
    title="Tu hora con Íñigo está confirmada",
    body="Hola, Ana:\n\n.\n\nTe queda 1 crédito. " + "ñandú " * 300,
    recipient_name='Ana "la Rápida" Pérez',
    recipient_email="ana@example.com",
)


@pytest.fixture
def sink() -> Iterator[SmtpSink]:
    with smtp_sink() as running:
        yield running


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


# The message


def test_a_mail_says_from_whom_to_whom_and_what() -> None:
    message = compose(MAIL)
    assert message["From"] == config.settings().mail_from
    assert message["To"].addresses[0].addr_spec == "ana@example.com"
    assert message["To"].addresses[0].display_name == 'Ana "la Rápida" Pérez'
    assert message["Subject"] == MAIL.title
    assert message.get_content().splitlines() == MAIL.body.splitlines()


def test_a_second_mail_of_the_same_notification_is_the_same() -> None:
    assert compose(MAIL).as_bytes() == compose(MAIL).as_bytes()
    assert compose(MAIL)["Message-ID"] == "<00000000-0000-0000-0000-000000000007@zea.localhost>"


@pytest.mark.parametrize("body", [MAIL.body, "ñandú", "plain"])
def test_a_mail_is_plain_ascii_on_the_wire_in_lines_that_every_server_takes(body: str) -> None:
    wire = compose(replace(MAIL, body=body)).as_bytes()
    assert wire.isascii()
    assert max(len(line) for line in wire.split(b"\r\n")) <= 998


def test_nothing_in_a_title_or_name_becomes_a_header() -> None:
    forged = replace(MAIL, title="Hi\r\nBcc: b@x.cl", recipient_name="Ana\nBcc: c@x.cl")
    assert "Bcc" not in message_from_bytes(compose(forged).as_bytes(), policy=policy.default)


# SMTP


def test_a_mail_arrives_as_it_was_made(sink: SmtpSink) -> None:
    server = SmtpServer(sink.url())
    server.send(MAIL)
    server.close()
    [arrived] = sink.mails
    assert arrived["Subject"] == MAIL.title
    assert arrived["Message-ID"] == compose(MAIL)["Message-ID"]
    assert arrived.get_content().splitlines() == MAIL.body.splitlines()


def test_mails_share_a_connection(sink: SmtpSink) -> None:
    server = SmtpServer(sink.url())
    server.send(MAIL)
    server.send(MAIL)
    server.close()
    assert (len(sink.mails), sink.connections) == (2, 1)


def test_after_a_refused_mail_the_next_one_goes_out(sink: SmtpSink) -> None:
    sink.refused.add("ana@example.com")
    server = SmtpServer(sink.url())
    with pytest.raises(SMTPRecipientsRefused):
        server.send(MAIL)
    sink.refused.clear()
    server.send(MAIL)
    server.close()
    assert len(sink.mails) == 1


def test_a_broken_connection_is_made_again_for_the_next_mail(sink: SmtpSink) -> None:
    server = SmtpServer(sink.url())
    server.send(MAIL)
    sink.hangs_up = 1
    with pytest.raises(SMTPServerDisconnected):
        server.send(MAIL)
    server.send(MAIL)
    server.close()
    assert (len(sink.mails), sink.connections) == (2, 2)


def test_user_and_password_are_taken_from_the_address(sink: SmtpSink) -> None:
    server = SmtpServer(sink.url("zea%40example.com:p%2Fss@"))
    server.send(MAIL)
    server.close()
    assert sink.logins == [("zea@example.com", "p/ss")]


def test_nothing_goes_out_in_the_clear_where_starttls_is_asked_for(sink: SmtpSink) -> None:
    with pytest.raises(ServerUnreachable):
        SmtpServer(sink.url("zea:secret@") + "?starttls").send(MAIL)
    assert (sink.logins, sink.mails) == ([], [])


def test_a_server_that_does_not_answer_is_unreachable() -> None:
    with pytest.raises(ServerUnreachable) as caught:
        SmtpServer(f"smtp://127.0.0.1:{closed_port()}").send(MAIL)
    assert described(caught.value) == "unreachable: ConnectionRefusedError: Connection refused"


@pytest.mark.parametrize("url", ["smtp://127.0.0.1:port", "smtp://"])
def test_an_address_that_is_none_is_said_to_be_so(url: str) -> None:
    with pytest.raises(ServerUnreachable):
        SmtpServer(url).send(MAIL)


def test_smtp_is_used_when_it_is_configured_and_the_mailbox_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for value in ("smtp://127.0.0.1", None):
        monkeypatch.setenv("ZEA_SMTP_URL", value) if value else monkeypatch.delenv("ZEA_SMTP_URL")
        config.settings.cache_clear()
        with outgoing() as way:
            found.append(type(way))
    config.settings.cache_clear()
    assert found == [SmtpServer, Mailbox]


# The mailbox


def test_the_mailbox_has_one_file_a_notification_however_often_it_is_delivered(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path / "deep" / "mailbox")
    mailbox.send(MAIL)
    mailbox.send(MAIL)
    [path] = (tmp_path / "deep" / "mailbox").iterdir()
    assert path.name == f"{MAIL.notification_id}.eml"
    kept = message_from_bytes(path.read_bytes(), policy=policy.default)
    assert kept["Subject"] == MAIL.title


def test_a_mailbox_that_cannot_be_written_is_told_without_its_place(tmp_path: Path) -> None:
    (tmp_path / "mailbox").write_text("a file")
    with pytest.raises(FileExistsError) as caught:
        Mailbox(tmp_path / "mailbox").send(MAIL)
    assert described(caught.value) == "FileExistsError: File exists"


# Errors and delays


@pytest.mark.parametrize(
    "problem",
    [
        SMTPRecipientsRefused({"ana@example.com": (550, b"no mailbox for ana@example.com")}),
        SMTPDataError(554, b"ana@example.com does not want this"),
        ValueError("ana@example.com"),
        OSError("ana@example.com"),
    ],
)
def test_a_kept_error_names_no_address(problem: Exception) -> None:
    assert "ana" not in described(problem)
    assert type(problem).__name__ in described(problem)


def test_a_kept_error_has_the_servers_code() -> None:
    assert described(SMTPRecipientsRefused({"ana@example.com": (550, b"no")})) == "SMTPRecipientsRefused 550"
    assert described(SMTPDataError(554, b"no")) == "SMTPDataError 554"


def test_tries_are_put_off_from_a_minute_to_six_hours_and_then_given_up() -> None:
    delays = [delay_after(attempts) for attempts in range(1, MAXIMUM_ATTEMPTS + 1)]
    assert delays[0] == timedelta(minutes=1)
    assert delays[-1] is None
    waits = [delay for delay in delays if delay is not None]
    assert len(waits) == MAXIMUM_ATTEMPTS - 1
    assert waits == sorted(waits)
    assert waits[-1] == timedelta(hours=6)
    # An outage of a night, or of most of a day, loses nothing.
    assert sum(waits, timedelta()) > timedelta(hours=20)
