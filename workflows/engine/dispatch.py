"""Hands canvases to Celery after commit, by task name, in bounded time; and tells who waits that something changed."""

import logging
from functools import lru_cache

import redis
from celery.canvas import Signature
from kombu.exceptions import OperationalError
from sqlalchemy.orm import Session

from workflows.engine.status import Standing, to_announcement
from zea import config
from zea.db import after_commit

log = logging.getLogger(__name__)

ANNOUNCEMENTS = "zea:executions"


def publish_after_commit(db: Session, signature: Signature | None, delay_seconds: float = 0) -> None:
    """Publish once this transaction is committed; never, if it is rolled back."""
    if signature is not None:
        after_commit(db, lambda: _publish(signature, delay_seconds))


def announce_after_commit(db: Session, standing: Standing) -> None:
    """Tell every API process where an execution stands, once that is committed."""
    after_commit(db, lambda: _announce(standing))


def _publish(signature: Signature, delay_seconds: float) -> None:
    """What cannot be sent now stays due in the database, and a sweep sends it."""
    try:
        signature.apply_async(countdown=delay_seconds or None)
    except (OperationalError, RuntimeError) as error:
        log.warning("not published, the sweep will: %s (%s)", signature, error)


def _announce(standing: Standing) -> None:
    """Whoever misses an announcement finds out by polling."""
    try:
        _redis().publish(ANNOUNCEMENTS, to_announcement(standing))
    except redis.RedisError as error:
        log.warning("not announced: %s (%s)", standing.execution_id, error)


@lru_cache
def _redis() -> redis.Redis:
    return redis.Redis.from_url(config.redis_url(), socket_timeout=0.4, socket_connect_timeout=0.3)
