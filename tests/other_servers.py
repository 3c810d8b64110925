"""Other servers than the embedded ones, for the same tests: another PostgreSQL or broker, and a pooler between."""

from functools import cached_property
from pathlib import Path
from signal import Signals
from typing import NamedTuple
from urllib.parse import urlsplit

import psycopg

from zea.stack.child import Program
from zea.stack.ordinary_user import privileges
from zea.stack.ports import LOOPBACK, free_port
from zea.stack.postgres import DATABASE, PostgresServer
from zea.stack.private_files import write_private
from zea.stack.server import Server
from zea.stack.servers import EmbeddedServers
from zea.stack.valkey import ValkeyServer

# What docs/servers.md tells people to set. Connections are shared however many may be made: the one used last is next.
POOLER_CONFIGURATION = """\
[databases]
* = host={host} port={port}

[pgbouncer]
listen_addr = {host}
listen_port = {own_port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = 30
max_client_conn = 500
query_wait_timeout = 10
server_login_retry = 1
tcp_keepidle = 10
tcp_keepintvl = 5
tcp_keepcnt = 3
tcp_user_timeout = 10000
"""


class Programs(NamedTuple):
    """Where the programs of the servers are; None is the embedded one, or no pooler."""

    postgresql: Path | None = None
    broker: Path | None = None
    pgbouncer: Path | None = None


class OtherPostgres(PostgresServer):
    """Of any version from 15 on, whose programs are in a directory; its own collations came with 17."""

    locale = ("--locale=C",)

    def __init__(self, embedded: PostgresServer, programs: Path) -> None:
        super().__init__(embedded.directory, embedded._remembered, embedded.log)
        self._programs = programs

    def binary(self, name: str) -> Path:
        return self._programs / name


class OtherBroker(ValkeyServer):
    def __init__(self, embedded: ValkeyServer, program: Path) -> None:
        super().__init__(embedded.directory, embedded._remembered, embedded.log)
        self._program = program

    def binary(self) -> Path:
        return self._program


class PgBouncer(Server):
    """PgBouncer in transaction mode, on 127.0.0.1, in front of a PostgreSQL: for each of its databases."""

    def __init__(self, directory: Path, log: Path, program: Path, postgres: PostgresServer) -> None:
        super().__init__(directory, log)
        self._program = program
        self._postgres = postgres

    @cached_property
    def port(self) -> int:
        return free_port()

    @property
    def url(self) -> str:
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """The address of a database as it is reached through the pooler."""
        return self._postgres.url_of(database).replace(f":{self._postgres.port}/", f":{self.port}/")

    @property
    def program(self) -> Program:
        return Program("pgbouncer", self._prepared_command, stop_signal=Signals.SIGTERM)

    def _prepared_command(self) -> list[str]:
        """PgBouncer refuses root as PostgreSQL does."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        allowed = privileges(self._program, self.directory.parent)
        configuration, users = self.directory / "pgbouncer.ini", self.directory / "users.txt"
        who = urlsplit(self._postgres.url)
        write_private(users, f'"{who.username}" "{who.password}"\n')
        write_private(
            configuration,
            POOLER_CONFIGURATION.format(host=LOOPBACK, port=self._postgres.port, own_port=self.port, users=users),
        )
        for path in (self.directory, configuration, users):
            allowed.give(path)
        return allowed.command([str(self._program), str(configuration)], signal_at_parents_death=Signals.SIGTERM)

    def ready(self) -> bool:
        try:
            with psycopg.connect(self.url, connect_timeout=2) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False


class OtherServers(EmbeddedServers):
    """As the embedded ones, with other programs; what the tests are about is reached through the pooler, if any."""

    def __init__(self, directory: Path, programs: Programs) -> None:
        super().__init__(directory)
        if programs.postgresql:
            self.postgres = OtherPostgres(self.postgres, programs.postgresql)
        if programs.broker:
            self.valkey = OtherBroker(self.valkey, programs.broker)
        self.pgbouncer = None
        if programs.pgbouncer:
            logs = self.postgres.log.parent
            self.pgbouncer = PgBouncer(
                directory.resolve() / "pgbouncer", logs / "pgbouncer.log", programs.pgbouncer, self.postgres
            )

    def url_of(self, database: str) -> str:
        return self.pgbouncer.url_of(database) if self.pgbouncer else super().url_of(database)

    def start(self) -> None:
        super().start()
        if self.pgbouncer:
            self.pgbouncer.start()

    def stop(self) -> None:
        if self.pgbouncer:
            self.pgbouncer.stop()
        super().stop()
