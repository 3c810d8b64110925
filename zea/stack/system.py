"""The whole system on one machine: checked, started, served and stopped as one thing."""

import http.client
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from zea import config
from zea.config import LOCAL_SECRET_KEY, Settings, child_environment
from zea.errors import Unreachable
from zea.stack import child, external, flower, platforms, ports, processes
from zea.stack.data_directory import DataDirectory
from zea.stack.ports import LOOPBACK
from zea.stack.private_files import Remembered
from zea.stack.server import READY_WITHIN, Server
from zea.stack.servers import embedded_postgres, embedded_valkey
from zea.stack.supervisor import Report, Supervisor

FLOWER_READY_WITHIN = 10.0
PROCESS_READY_WITHIN = 60.0  # seconds; a start takes two, a cold disk or a busy machine more
REACHED_AT = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104 whoever listens everywhere is reached here
WORKER_IS_READY = " ready."  # Celery's own line, of loglevel INFO


@dataclass(frozen=True)
class Addresses:
    """Where the running system is, and the login of Flower."""

    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    api_url: str
    flower_url: str
    flower_user: str
    flower_password: str = field(repr=False)


class System:
    """`with System(report) as system:` has it running; leaving the block stops it, whatever happened.

    ``report`` is given a line for whatever people should know while it runs.
    """

    def __init__(self, report: Report, settings: Settings | None = None) -> None:
        self._report = report
        self._settings = settings or config.settings()
        self.directory = DataDirectory(self._settings.data_dir)
        self._supervisor: Supervisor | None = None
        self._addresses: Addresses | None = None
        self._started = False
        self.stopping = False

    @property
    def addresses(self) -> Addresses:
        assert self._addresses is not None, "known once the system has started"
        return self._addresses

    @property
    def supervisor(self) -> Supervisor:
        assert self._supervisor is not None, "made when the system starts"
        return self._supervisor

    def start(self) -> None:
        """Start everything, or nothing: what was started is stopped again when the rest cannot be.

        Raises:
            ConfigurationError: something here prevents it; the message says what, and what to change.
            Unreachable: a server or a process did not come up; the message names it and its log.
        """
        try:
            self._check()
            self._supervisor = Supervisor(self.directory.logs, self._report_once_started, self._held())
            self._start_servers()
            self._upgrade_schema()
            self._start_processes()
            self._started = True
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop what runs, in reverse order; nothing is left, and the data directory is free again."""
        self.stopping = True
        if self._supervisor is not None:
            self._supervisor.stop()
        self.directory.close()

    def hurry(self) -> None:
        """Kill instead of asking: for whoever presses Ctrl-C twice."""
        if self._supervisor is not None:
            self._supervisor.hurry()

    def wait(self) -> None:
        """Serve until an exception, such as KeyboardInterrupt, ends it.

        Raises:
            Unreachable: the supervisor failed.
        """
        self.supervisor.wait()
        raise Unreachable(f"The supervisor ended unexpectedly: see {self.directory.logs}.")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _report_once_started(self, line: str) -> None:
        """A process that dies before fails the start, which says so itself."""
        if self._started:
            self._report(line)

    def _check(self) -> None:
        settings = self._settings
        if settings.database_url is None or settings.redis_url is None:
            platforms.require_supported()
        flower.login(settings)
        self.directory.open()
        ports.require_free(settings.api_host, settings.api_port, "ZEA_API_PORT", "The API")
        ports.require_free(LOOPBACK, settings.flower_port, "ZEA_FLOWER_PORT", "Flower")

    def _held(self) -> tuple[int, ...]:
        """The lock outlives a killed supervisor until its guardian has ended the children."""
        return () if self.directory.lock is None else (self.directory.lock,)

    def _start_servers(self) -> None:
        settings, remembered = self._settings, self.directory.remembered
        broker = None if settings.redis_url else embedded_valkey(self.directory.path, remembered, self.directory.logs)
        database = (
            None if settings.database_url else embedded_postgres(self.directory.path, remembered, self.directory.logs)
        )
        for server in filter(None, (broker, database)):
            self.supervisor.start(server.program)
        redis_url = self._answering(broker, settings.redis_url, external.require_broker)
        database_url = self._answering(database, settings.database_url, external.require_database)
        self._publish(database_url, redis_url, remembered)

    def _answering(self, server: Server | None, given: str | None, require: Callable[[str], None]) -> str:
        """The URL of the embedded server or of the given one, once it answers."""
        if server is not None:
            self.supervisor.wait_ready(server.program.name, server.ready, READY_WITHIN)
            return server.url
        assert given is not None
        require(given)
        return given

    def _publish(self, database_url: str, redis_url: str, remembered: Remembered) -> None:
        user, _, password = flower.login(self._settings, lambda: remembered.secret("flower_password")).partition(":")
        settings = self._settings
        host = REACHED_AT.get(settings.api_host, settings.api_host)
        host = f"[{host}]" if ":" in host else host
        self._addresses = Addresses(
            database_url=database_url,
            redis_url=redis_url,
            api_url=f"http://{host}:{settings.api_port}",
            flower_url=f"http://{LOOPBACK}:{settings.flower_port}",
            flower_user=user,
            flower_password=password,
        )
        self.directory.publish(vars(self._addresses))

    def _upgrade_schema(self) -> None:
        from zea.stack import schema  # Alembic takes its time to import: the servers start meanwhile

        schema.upgrade()

    def _environment(self) -> dict[str, str]:
        """What the children are told: where everything is, and this system's own secret unless one is set."""
        told = {
            "DATABASE_URL": self.addresses.database_url,
            "REDIS_URL": self.addresses.redis_url,
            "ZEA_DATA_DIR": str(self.directory.path),
            "PYTHONUNBUFFERED": "1",
        }
        if self._settings.secret_key.get_secret_value() == LOCAL_SECRET_KEY:
            told["ZEA_SECRET_KEY"] = self.directory.remembered.secret("secret_key")
        return child_environment(**told)

    def _start_processes(self) -> None:
        """The API and the worker first: what a first request needs has the processors to itself."""
        environment, settings, supervisor = self._environment(), self._settings, self.supervisor
        supervisor.start(processes.worker(environment))
        supervisor.start(processes.api(settings.api_host, settings.api_port, environment))
        supervisor.wait_ready("worker", self._worker_is_ready, PROCESS_READY_WITHIN)
        supervisor.wait_ready("api", self._api_is_alive, PROCESS_READY_WITHIN)
        supervisor.start(processes.sweeper(environment))
        supervisor.start(processes.reporter(environment))
        supervisor.start(processes.beat(self.directory.path / "beat" / "schedule", environment))
        supervisor.wait_ready("api", self._api_is_ready, PROCESS_READY_WITHIN)
        login = f"{self.addresses.flower_user}:{self.addresses.flower_password}"
        supervisor.start(processes.flower(settings.flower_port, login, environment))
        # So that it sees the first booking. It only watches: whatever it takes, the system is up.
        child.wait_until(self._flower_answers, FLOWER_READY_WITHIN)

    def _worker_is_ready(self) -> bool:
        return WORKER_IS_READY in self.supervisor.output("worker")

    def _api_is_alive(self) -> bool:
        return self._api_answers("/health/live")

    def _api_is_ready(self) -> bool:
        return self._api_answers("/health/ready")

    def _flower_answers(self) -> bool:
        return _answers(self.addresses.flower_url, "/healthcheck")

    def _api_answers(self, path: str) -> bool:
        return _answers(self.addresses.api_url, path)


def _answers(url: str, path: str) -> bool:
    """Whether a GET there is answered with 200."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
