"""PostgreSQL and Valkey together, for as long as a block runs: what the integration tests stand on."""

from pathlib import Path
from typing import Self

from zea.stack.postgres import PostgresServer
from zea.stack.private_files import Remembered
from zea.stack.valkey import ValkeyServer

REMEMBERED_FILE = "generated.json"


def embedded_postgres(directory: Path, remembered: Remembered, logs: Path) -> PostgresServer:
    return PostgresServer(directory / "postgresql", remembered, logs / "postgresql.log")


def embedded_valkey(directory: Path, remembered: Remembered, logs: Path) -> ValkeyServer:
    return ValkeyServer(directory / "valkey", remembered, logs / "valkey.log")


class EmbeddedServers:
    """Both servers with everything they need in ``directory``: `with EmbeddedServers(path) as servers: …`."""

    def __init__(self, directory: Path) -> None:
        directory = directory.resolve()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        logs = directory / "logs"
        logs.mkdir(mode=0o700, exist_ok=True)
        remembered = Remembered(directory / REMEMBERED_FILE)
        self.postgres = embedded_postgres(directory, remembered, logs)
        self.valkey = embedded_valkey(directory, remembered, logs)

    @property
    def database_url(self) -> str:
        return self.postgres.url

    @property
    def redis_url(self) -> str:
        return self.valkey.url

    def url_of(self, database: str) -> str:
        """The address of one of PostgreSQL's databases, for those who use it."""
        return self.postgres.url_of(database)

    def create_database(self, name: str, template: str | None = None) -> str:
        """Make a database, empty or as a copy of ``template``, and return its URL."""
        self.postgres.create_database(name, template)
        return self.url_of(name)

    def start(self) -> None:
        try:
            self.valkey.start()
            self.postgres.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self.valkey.stop()
        self.postgres.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
