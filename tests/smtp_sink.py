"""A small SMTP server that keeps what it is sent, for tests of delivery."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread


@dataclass
class SmtpSink:
    """What arrived. Addresses in ``refused`` are turned away, as many servers do: by repeating them.

    ``hangs_up`` is how many more mails it breaks its connection at.
    """

    address: str = ""
    refused: set[str] = field(default_factory=set)
    mails: list[EmailMessage] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    connections: int = 0
    hangs_up: int = 0

    def url(self, user: str = "") -> str:
        return f"smtp://{user}{self.address}"


class Conversation(StreamRequestHandler):
    """One client's commands (RFC 5321), as far as a mail program needs them."""

    sink: SmtpSink

    def handle(self) -> None:
        self.sink.connections += 1
        self.reply("220 sink ready")
        for line in self.rfile:
            command, _, rest = line.decode().strip().partition(" ")
            if command.upper() == "QUIT":
                self.reply("221 goodbye")
                return
            if command.upper() == "MAIL" and self.sink.hangs_up:
                self.sink.hangs_up -= 1
                return
            self.answer(command.upper(), rest)

    def answer(self, command: str, rest: str) -> None:
        match command:
            case "EHLO":
                self.reply("250-sink", "250 AUTH PLAIN")
            case "AUTH":
                _, user, password = base64.b64decode(rest.split()[1]).decode().split("\0")
                self.sink.logins.append((user, password))
                self.reply("235 welcome")
            case "RCPT" if any(address in rest for address in self.sink.refused):
                self.reply(f"550 no mailbox {rest}")
            case "DATA":
                self.reply("354 go on")
                self.sink.mails.append(message_from_bytes(self.content(), policy=policy.default))
                self.reply("250 kept")
            case _:
                self.reply("250 fine")

    def content(self) -> bytes:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        return b"".join(lines)

    def reply(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())


class Listener(ThreadingTCPServer):
    daemon_threads = True
    # Otherwise closing would wait for a client that is still connected.
    block_on_close = False


@contextmanager
def smtp_sink() -> Iterator[SmtpSink]:
    """A sink that listens for as long as the block runs."""
    sink = SmtpSink()
    handler = type("BoundConversation", (Conversation,), {"sink": sink})
    with Listener(("127.0.0.1", 0), handler) as listener:
        sink.address = f"127.0.0.1:{listener.server_address[1]}"
        thread = Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield sink
        finally:
            listener.shutdown()
            thread.join()
