"""Limits on callers: the size of a body, and how often a sign-in may fail."""

import hmac
import logging
from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zea.api.errors import too_large
from zea.config import redis_url, settings
from zea.errors import TooManyRequests, Unreachable

log = logging.getLogger(__name__)

LARGEST_BODY = 256 * 1024  # bytes
WINDOW = 60  # seconds
# Many people share an address, and anybody may try somebody's email: both are slowed only well above one person's rate.
WIDER = 10
COUNTER_PREFIX = "zea:failed-sign-ins:"
# Twice this bounds a call: once to connect, once to be answered.
BROKER_PATIENCE = 0.15  # seconds


class BodyLimit:
    """ASGI middleware that refuses larger bodies, by what they declare and by what arrives.

    FastAPI's own max_body_size answers in plain text before any handler could make a problem of it.
    """

    def __init__(self, app: ASGIApp, largest: int = LARGEST_BODY) -> None:
        self.app = app
        self.largest = largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif _declared_length(scope) > self.largest:
            await too_large(Request(scope), self.largest)(scope, receive, send)
        else:
            await self.app(scope, self._counting(receive), send)

    def _counting(self, receive: Receive) -> Receive:
        arrived = 0

        async def receive_counted() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > self.largest:
                # FastAPI lets this one kind of error through while it reads a body.
                raise HTTPException(413, f"Send at most {self.largest // 1024} kB.")
            return message

        return receive_counted


def _declared_length(scope: Scope) -> int:
    """The Content-Length; 0 if there is none or if it is nonsense, for then the bytes are counted as they come."""
    declared = dict(scope["headers"]).get(b"content-length", b"")
    return int(declared) if declared.isdigit() else 0


@lru_cache
def _connections(url: str) -> Redis:
    return Redis.from_url(
        url,
        socket_connect_timeout=BROKER_PATIENCE,
        socket_timeout=BROKER_PATIENCE,
        retry=Retry(NoBackoff(), 0),
    )


def broker() -> Redis:
    """The broker, with a patience of 0.3 seconds."""
    return _connections(redis_url())


def refuse_after_failures(address: str, email_key: str) -> None:
    """Stop a sign-in before its password is looked at, when too many have failed within a minute.

    Counted are ``auth_rate`` failures from one address for one email, and ten times as many from one address or for one
    email. Successful sign-ins are never counted. Without a broker nothing is refused: people could not sign in at all.

    Raises:
        TooManyRequests: with the seconds to wait.
    """
    limits = _limits(address, email_key)
    try:
        waits = [_wait(*found) for found in zip(limits.values(), *_counted(limits), strict=True)]
    except (RedisError, Unreachable) as error:
        log.warning("failed sign-ins are not counted: %s", error)
        return
    if max(waits) > 0:
        raise TooManyRequests(max(waits))


def record_failure(address: str, email_key: str) -> None:
    """Count a sign-in that failed, in a window that opens with the first one."""
    try:
        with broker().pipeline() as pipeline:
            for name in _limits(address, email_key):
                pipeline.incr(name)
                pipeline.expire(name, WINDOW, nx=True)
            pipeline.execute()
    except (RedisError, Unreachable) as error:
        log.warning("failed sign-ins are not counted: %s", error)


def _limits(address: str, email_key: str) -> dict[str, int]:
    """How many failures are allowed, by counter. A counter's name gives nobody's address away."""
    rate = settings().auth_rate
    return {
        _counter("address and email", address, email_key): rate,
        _counter("address", address): rate * WIDER,
        _counter("email", email_key): rate * WIDER,
    }


def _counter(*parts: str) -> str:
    key = settings().secret_key.get_secret_value().encode()
    return COUNTER_PREFIX + hmac.new(key, "\0".join(parts).encode(errors="replace"), sha256).hexdigest()


def _counted(names: Iterable[str]) -> tuple[list[int], list[float]]:
    """By counter: the failures, and the seconds until they are forgotten."""
    with broker().pipeline() as pipeline:
        for name in names:
            pipeline.get(name)
            pipeline.pttl(name)
        found = pipeline.execute()
    return [int(count or 0) for count in found[::2]], [left / 1000 for left in found[1::2]]


def _wait(allowed: int, failures: int, seconds_left: float) -> float:
    return max(seconds_left, 1.0) if failures >= allowed else 0.0
