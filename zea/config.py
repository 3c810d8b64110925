"""Settings: the only reader of the environment. Every other module asks ``settings()``."""

import json
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from email_validator import EmailNotValidError, validate_email
from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from zea.errors import ConfigurationError, Unreachable

LOCAL_SECRET_KEY = "local-development-only-do-not-use-elsewhere"  # noqa: S105 production refuses it
CONNECTION_FILE = "connection.json"


def _seconds(value: object) -> object:
    """A bare number of seconds in the environment arrives as text; ISO 8601 durations pass through."""
    try:
        return float(value)  # type: ignore[arg-type]  # anything that is not a number is left to pydantic
    except (TypeError, ValueError):
        return value


Duration = Annotated[timedelta, BeforeValidator(_seconds), Field(ge=timedelta(0))]
Interval = Annotated[timedelta, BeforeValidator(_seconds), Field(ge=timedelta(seconds=0.1))]


class Settings(BaseSettings):
    """The settings of one process, read once.

    Durations are ISO 8601 (``PT48H``) or a number of seconds.
    """

    model_config = SettingsConfigDict(env_prefix="ZEA_", env_file=".env", extra="ignore", frozen=True)

    database_url: str | None = Field(default=None, validation_alias=AliasChoices("DATABASE_URL", "database_url"))
    redis_url: str | None = Field(default=None, validation_alias=AliasChoices("REDIS_URL", "redis_url"))
    redis_verify: bool = Field(default=True, description="whether the certificate of a rediss:// broker is checked")
    environment: Literal["local", "staging", "production"] = "local"
    secret_key: SecretStr = SecretStr(LOCAL_SECRET_KEY)
    timezone: str = "America/Santiago"
    smtp_url: str | None = None
    mail_from: str = "zea <no-reply@zea.localhost>"
    admin_email: str | None = Field(default=None, description="who is sent the payment reports; else every admin")
    profile_completion_timeout: Interval = timedelta(days=7)
    athlete_feedback_timeout: Interval = timedelta(hours=48)
    coach_evaluation_timeout: Interval = timedelta(days=7)
    sweep_interval: Interval = timedelta(seconds=5)
    booking_wait: Duration = timedelta(seconds=5)
    cancellation_refund_window: Duration = timedelta(hours=24)
    auth_rate: int = Field(default=10, ge=1, description="failed logins per minute, per address and email")
    api_host: str = "127.0.0.1"
    api_port: int = Field(default=8000, ge=1, le=65535)
    flower_host: str = "127.0.0.1"
    flower_port: int = Field(default=5555, ge=1, le=65535)
    flower_basic_auth: SecretStr | None = None
    metrics_token: SecretStr | None = None
    log_format: Literal["json", "readable"] | None = Field(default=None, description="json, except in local")
    data_dir: Path = Path(".zea")

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{value!r} is no time zone: use a name like America/Santiago") from None
        return value

    @field_validator("admin_email")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if not value:
            return None
        try:
            return validate_email(value.strip(), check_deliverability=False, globally_deliverable=False).normalized
        except EmailNotValidError:
            raise ValueError("this is no email address: write it like admin@example.com") from None

    @field_validator("smtp_url")
    @classmethod
    def _is_smtp(cls, value: str | None) -> str | None:
        if value and not value.startswith(("smtp://", "smtps://")):
            raise ValueError("write it as smtp://user:password@host:587?starttls or smtps://user:password@host")
        return value or None

    @field_validator("flower_basic_auth")
    @classmethod
    def _is_login(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        if not all(value.get_secret_value().partition(":")):
            raise ValueError("write it as user:password")
        return value

    @field_validator("metrics_token")
    @classmethod
    def _is_not_guessed(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        if len(value.get_secret_value()) < 16 or not value.get_secret_value().isascii():
            raise ValueError("use at least 16 random characters, as `openssl rand -hex 16` makes them")
        return value

    @model_validator(mode="after")
    def _production_is_safe(self) -> Self:
        key = self.secret_key.get_secret_value()
        if self.environment != "local" and (key == LOCAL_SECRET_KEY or len(key) < 32):
            raise ValueError("ZEA_SECRET_KEY must be set to at least 32 random characters outside local")
        return self

    @property
    def logs_json(self) -> bool:
        """Whether log lines are for programs: everywhere but in local, unless the settings say otherwise."""
        return self.log_format == "json" if self.log_format else self.environment != "local"

    @property
    def mailbox(self) -> Path:
        """Where mail goes while no SMTP server is configured."""
        return self.data_dir / "mailbox"


@lru_cache
def settings() -> Settings:
    """This process's settings.

    Raises:
        ConfigurationError: a setting is missing, malformed or unsafe; the message names it.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise ConfigurationError("\n".join(_readable(problem) for problem in error.errors())) from None


def _readable(problem: Mapping[str, object]) -> str:
    location = problem["loc"]
    name = str(location[0]) if isinstance(location, tuple) and location else ""
    variable = name if name.isupper() or not name else f"ZEA_{name.upper()}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{variable}: {message}" if variable else message


def database_url() -> str:
    """The database's address, with the psycopg 3 driver: DATABASE_URL, else the running `zea up`'s."""
    url = settings().database_url or _running_system("database_url")
    for spelling in ("postgres://", "postgresql://"):
        if url.startswith(spelling):
            return "postgresql+psycopg://" + url.removeprefix(spelling)
    return url


def redis_url() -> str:
    """The broker's address: REDIS_URL, else the running `zea up`'s.

    How its certificate is checked stands in it as redis-py has it, for all who read it; kombu's words are taken too.
    """
    url = settings().redis_url or _running_system("redis_url")
    url = re.sub(r"\bssl_cert_reqs=CERT_(\w+)", lambda word: f"ssl_cert_reqs={word[1].lower()}", url)
    if settings().redis_verify or not url.startswith("rediss://") or "ssl_cert_reqs=" in url:
        return url
    return f"{url}{'&' if urlsplit(url).query else '?'}ssl_cert_reqs=none"


def broker_tls() -> dict[str, object] | None:
    """What Celery has to be told of the broker's certificate, which it would not check at all; None without TLS.

    Raises:
        ConfigurationError: the address has an option that means nothing.
    """
    from redis.connection import parse_url  # not every process that reads settings has a broker

    if not redis_url().startswith("rediss://"):
        return None
    try:
        said = parse_url(redis_url())  # type: ignore[no-untyped-call]  # redis-py has no type for it
    except ValueError as error:
        raise ConfigurationError(f"REDIS_URL cannot be understood: {error}") from None
    chosen = {name: value for name, value in said.items() if name.startswith("ssl_")}
    return {"ssl_cert_reqs": "required", **chosen}


def connected_api() -> str:
    """The API's address: the running `zea up`'s, else the one that this process would serve itself."""
    try:
        return _running_system("api_url")
    except Unreachable:
        return f"http://{settings().api_host}:{settings().api_port}"


def flower_address() -> str:
    """Flower's address: the running `zea up`'s, else where the settings say that it is."""
    try:
        return _running_system("flower_url")
    except Unreachable:
        return f"http://{settings().flower_host}:{settings().flower_port}"


def configure_flower() -> None:
    """Have this process, if it becomes Flower, read flowerconfig.py wherever it is started.

    By itself it looks only where it is started, and if nothing is there it runs on every address and without a login.
    """
    spec = find_spec("flowerconfig")
    assert spec is not None, "it is installed beside celeryconfig.py"
    os.environ.setdefault("FLOWER_CONF", str(spec.origin))


def share_metrics_in(directory: Path) -> None:
    """Have this process's HTTP metrics kept in files there, for all processes that serve the same port."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)


def traces_are_wanted() -> bool:
    """Whether OpenTelemetry's own settings name somebody who takes traces."""
    named = any(os.environ.get(f"OTEL_EXPORTER_OTLP{signal}_ENDPOINT") for signal in ("", "_TRACES"))
    switched_off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return named and not switched_off and os.environ.get("OTEL_TRACES_EXPORTER", "otlp") == "otlp"


def service_name(default: str) -> dict[str, str]:
    """Who a trace says that it comes from; OTEL_SERVICE_NAME goes before."""
    return {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": default}


def _running_system(entry: str) -> str:
    """What `zea up` wrote into its data directory while it runs."""
    path = settings().data_dir / CONNECTION_FILE
    try:
        return str(json.loads(path.read_text())[entry])
    except (OSError, ValueError, KeyError):
        variable = entry.upper()
        raise Unreachable(
            f"{variable} is not set and no `zea up` runs in {settings().data_dir}: start `zea up` or set {variable}."
        ) from None


def child_environment(**changes: str) -> dict[str, str]:
    """This process's environment with ``changes``, for a process that it starts."""
    return {**os.environ, **changes}
