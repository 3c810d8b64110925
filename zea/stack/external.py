"""Servers that somebody else runs, named by DATABASE_URL and REDIS_URL: waited for, never started."""

from collections.abc import Callable
from urllib.parse import urlsplit

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from zea.errors import ConfigurationError, Unreachable
from zea.stack import child

ANSWERS_WITHIN = 10.0  # seconds
RETRY_INTERVAL = 0.2


def require_database(url: str) -> None:
    """Wait until the database answers.

    Raises:
        Unreachable: it does not.
    """
    _require("database", "DATABASE_URL", url, lambda: _ask_database(url))


def require_broker(url: str) -> None:
    """Wait until the broker answers.

    Raises:
        Unreachable: it does not.
    """
    _require("broker", "REDIS_URL", url, lambda: _ask_broker(url))


def _ask_database(url: str) -> str | None:
    scheme, _, address = url.partition("://")
    try:
        with psycopg.connect(f"{scheme.partition('+')[0]}://{address}", connect_timeout=2):
            return None
    except psycopg.OperationalError as error:
        return _reason(error)
    except psycopg.ProgrammingError as error:
        raise ConfigurationError(f"DATABASE_URL cannot be understood: {_reason(error)}") from None


def _ask_broker(url: str) -> str | None:
    try:
        with redis.Redis.from_url(
            url, socket_connect_timeout=2, socket_timeout=2, retry=Retry(NoBackoff(), 0)
        ) as client:
            client.ping()
            return None
    except redis.RedisError as error:
        return _reason(error)
    except ValueError as error:
        raise ConfigurationError(f"REDIS_URL cannot be understood: {_reason(error)}") from None


def _require(what: str, setting: str, url: str, obstacle: Callable[[], str | None]) -> None:
    """``obstacle`` is the reason why it does not answer, or None when it does."""
    reasons: list[str] = []

    def answers() -> bool:
        reason = obstacle()
        reasons.append(reason or "")
        return reason is None

    if not child.wait_until(answers, ANSWERS_WITHIN, RETRY_INTERVAL):
        raise Unreachable(
            f"The {what} at {_address(url)} does not answer ({reasons[-1]}): start it, or correct {setting}."
        )


def _address(url: str) -> str:
    """Host and port, without the password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
