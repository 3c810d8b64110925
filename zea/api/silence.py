"""A database that is there and answers nothing, as when it is frozen: no request waits for it for ever.

The driver knows a limit for connecting only. A limit for every statement would also end those that wait for a lock, so
the server is asked whether it answers anybody before a wait is ended.
"""

import socket
import struct
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, ClassVar, NamedTuple

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.rows import TupleRow
from psycopg.waiting import Ready
from sqlalchemy import Engine, event

from zea.db import is_pooled_elsewhere

# Seconds. A caller is told within two, and may have waited for a thread before.
SILENCE = 0.7
ANSWER_WITHIN = 0.5
# "Do you speak TLS?", which a server answers with one letter (PostgreSQL's protocol, SSLRequest).
QUESTION = struct.pack("!ii", 8, 80877103)


class SilentServer(psycopg.OperationalError):
    """The database does not answer."""


class AttendedConnection(psycopg.Connection[TupleRow]):
    """Ends itself when its server answers nobody. What was under way is rolled back, unless it was a commit."""

    patience = SILENCE

    def wait(self, gen: PQGen[RV], *arguments: Any, **options: Any) -> RV:
        return super().wait(self._attended(gen), *arguments, **options)

    def _attended(self, answer: PQGen[RV]) -> PQGen[RV]:
        silent_since = monotonic()
        try:
            wanted = next(answer)
            while True:
                # The driver comes by every tenth of a second.
                ready = yield wanted
                if ready == Ready.NONE and monotonic() - silent_since > self.patience:
                    self._require_an_answer()
                    silent_since = monotonic()
                wanted = answer.send(ready)
        except StopIteration as end:
            result: RV = end.value
            return result

    def _require_an_answer(self) -> None:
        server = self._server()
        if not server.answers():
            Newcomers.silent = server
            self._give_up()

    def _server(self) -> "Server | Pooler":
        """Until it is known who answers, whoever it is has to answer more than that they are there."""
        if is_pooled_elsewhere(self) is False:
            return Server(self.info.host, self.info.port)
        return Pooler(self.info.dsn, self.info.password)

    def _give_up(self) -> None:
        self.close()
        raise SilentServer("the server does not answer")


class HastyConnection(AttendedConnection):
    """Ends itself when an answer takes long, whatever the reason."""

    patience = ANSWER_WITHIN

    def _require_an_answer(self) -> None:
        self._give_up()


class Server(NamedTuple):
    """Where PostgreSQL listens: its address, or the directory of its socket."""

    host: str
    port: int

    def answers(self) -> bool:
        """Whether a newcomer is answered."""
        try:
            with self._reached() as connection:
                connection.sendall(QUESTION)
                return bool(connection.recv(1))
        except OSError:
            return False

    def _reached(self) -> socket.socket:
        if not self.host.startswith("/"):
            return socket.create_connection(self, ANSWER_WITHIN)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(ANSWER_WITHIN)
        connection.connect(f"{self.host}/.s.PGSQL.{self.port}")
        return connection


@dataclass(frozen=True)
class Pooler:
    """PgBouncer in front of PostgreSQL, which lets newcomers in whatever is behind it: it is asked for an answer."""

    address: str
    password: str = field(repr=False)

    def answers(self) -> bool:
        """Whether somebody who asks PostgreSQL something is answered."""
        try:
            with HastyConnection.connect(self.address, password=self.password) as connection:
                connection.execute("SELECT 1")
                return True
        except psycopg.OperationalError:
            return False


class Newcomers:
    """New connections, for each of which a silent server would have a thread wait two seconds."""

    silent: ClassVar[Server | Pooler | None] = None

    @classmethod
    def connect(cls, _dialect: object, _record: object, arguments: Any, parameters: Any) -> AttendedConnection:
        silent = cls.silent
        if silent is not None and not silent.answers():
            raise SilentServer("the server does not answer yet")
        cls.silent = None
        return AttendedConnection.connect(*arguments, **parameters)


def attend(engine: Engine) -> None:
    """Have the engine's connections, which it has yet to make, end themselves when their server is silent."""
    event.listen(engine, "do_connect", Newcomers.connect)
