"""Mail: how a notification becomes one, and the two ways it leaves: an SMTP server, or the local mailbox folder."""

import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit
from uuid import UUID

from zea.config import settings
from zea.notifications.attachments import Attachment

SMTP_TIMEOUT_SECONDS = 10.0
# Every server takes it: not all speak 8BITMIME.
POLICY = SMTP.clone(cte_type="7bit")
SMTP_PORT, SUBMISSION_PORT, SMTPS_PORT = 25, 587, 465


@dataclass(frozen=True, slots=True)
class Mail:
    """What a mail is made of."""

    notification_id: UUID
    created_at: datetime
    title: str
    body: str
    recipient_name: str
    recipient_email: str
    attachment: Attachment | None = None


class ServerUnreachable(Exception):
    """The SMTP server lets nobody in now: no mail can go out, whichever it is."""


class Outgoing(Protocol):
    """A way out for mails."""

    def send(self, mail: Mail) -> None: ...

    def close(self) -> None: ...


@contextmanager
def outgoing() -> Iterator[Outgoing]:
    """The way out that is configured; at the end of the block its connection is closed."""
    url = settings().smtp_url
    way: Outgoing = SmtpServer(url) if url else Mailbox(settings().mailbox)
    try:
        yield way
    finally:
        way.close()


def compose(mail: Mail) -> EmailMessage:
    """The mail as a message. A second one of the same notification is the same, down to its Message-ID."""
    message = EmailMessage(policy=POLICY)
    message["From"] = settings().mail_from
    message["To"] = Address(display_name=_one_line(mail.recipient_name), addr_spec=mail.recipient_email)
    message["Subject"] = _one_line(mail.title)
    message["Date"] = format_datetime(mail.created_at)
    message["Message-ID"] = f"<{mail.notification_id}@{_own_domain()}>"
    # Keeps out-of-office answers away (RFC 3834, section 5).
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.body)
    if mail.attachment:
        _attach(message, mail.attachment)
        # A random one would make a second mail another one.
        message.set_boundary(f"zea-{mail.notification_id}")
    return message


def _attach(message: EmailMessage, attachment: Attachment) -> None:
    # As bytes, whatever it is: mail's own line ends and charsets must not change a file.
    main_type, _, subtype = attachment.media_type.partition("/")
    message.add_attachment(attachment.content, main_type, subtype, filename=attachment.name)


def _own_domain() -> str:
    return parseaddr(settings().mail_from)[1].rpartition("@")[2]


def _one_line(text: str) -> str:
    return " ".join(text.split())


class Mailbox:
    """A folder with one ``.eml`` file a notification, which any mail program opens."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def send(self, mail: Mail) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Renamed when it is complete, so that nobody reads half a mail; a second delivery replaces the first.
        unfinished = self._folder / f".{mail.notification_id}.unfinished"
        unfinished.write_bytes(compose(mail).as_bytes())
        unfinished.replace(self._folder / f"{mail.notification_id}.eml")

    def close(self) -> None:
        """Nothing is open between two mails."""


class SmtpServer:
    """An SMTP server at ``smtp://user:password@host:port``, with ``?starttls`` or as ``smtps://``.

    Its connection is made for the first mail, kept for the next ones, and made again after a failure.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: smtplib.SMTP | None = None

    def send(self, mail: Mail) -> None:
        """Hand the mail over.

        Raises:
            ServerUnreachable: no connection can be made.
        """
        message = compose(mail)
        connection = self._connected()
        try:
            connection.send_message(message)
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(OSError):
                connection.quit()

    def _connected(self) -> smtplib.SMTP:
        if self._connection is None:
            try:
                self._connection = _connect(urlsplit(self._url))
            except (OSError, ValueError) as problem:
                raise ServerUnreachable from problem
        return self._connection


def _connect(url: SplitResult) -> smtplib.SMTP:
    connection = _opened(url)
    try:
        if _wants_starttls(url):
            connection.starttls(context=ssl.create_default_context())
        if url.username:
            connection.login(unquote(url.username), unquote(url.password or ""))
    except Exception:
        connection.close()
        raise
    return connection


def _opened(url: SplitResult) -> smtplib.SMTP:
    host = url.hostname or "localhost"
    if url.scheme == "smtps":
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(host, url.port or SMTPS_PORT, timeout=SMTP_TIMEOUT_SECONDS, context=context)
    default_port = SUBMISSION_PORT if _wants_starttls(url) else SMTP_PORT
    return smtplib.SMTP(host, url.port or default_port, timeout=SMTP_TIMEOUT_SECONDS)


def _wants_starttls(url: SplitResult) -> bool:
    return "starttls" in parse_qs(url.query, keep_blank_values=True)


def described(problem: BaseException) -> str:
    """What went wrong, without the names and addresses that servers like to repeat."""
    match problem:
        case ServerUnreachable():
            return f"unreachable: {described(problem.__cause__ or ConnectionError())}"
        case smtplib.SMTPRecipientsRefused():
            return f"{type(problem).__name__} {', '.join(str(code) for code, _ in problem.recipients.values())}"
        case smtplib.SMTPResponseException():
            return f"{type(problem).__name__} {problem.smtp_code}"
        case smtplib.SMTPException():
            return type(problem).__name__
        case OSError():
            return f"{type(problem).__name__}: {problem.strerror or 'no answer in time'}"
    return type(problem).__name__
