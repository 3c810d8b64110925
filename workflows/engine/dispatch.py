"""Hands canvases to Celery after commit, by task name, in bounded time; and tells who waits that something changed."""

import logging
from datetime import datetime, timedelta
from functools import cache, lru_cache

import redis
from celery.canvas import Signature
from kombu.exceptions import OperationalError
from sqlalchemy.orm import Session

from workflows.engine.status import Standing, to_announcement
from zea import config
from zea.broker import app
from zea.db import after_commit

log = logging.getLogger(__name__)

ANNOUNCEMENTS = "zea:executions"
PROBE = "probe.passed"


@cache
def queue_of(task_name: str) -> str:
    """The queue that messages for this task go to."""
    return str(app.amqp.router.route({}, task_name)["queue"].name)


def publish_after_commit(db: Session, signature: Signature | None, delay: timedelta = timedelta()) -> None:
    """Publish once this transaction is committed; never, if it is rolled back. The message is held back ``delay``."""
    if signature is not None:
        after_commit(db, lambda: _publish(signature, delay))


def probe_after_commit(db: Session, queue: str, probed_at: datetime) -> None:
    """Send a probe through ``queue`` once this transaction is committed."""
    options = {"queue": queue, "ignore_result": True}
    signature = app.signature(PROBE, args=(queue, probed_at.isoformat()), immutable=True, options=options)
    publish_after_commit(db, signature)


def announce_after_commit(db: Session, standing: Standing) -> None:
    """Tell every API process where an execution stands, once that is committed."""
    after_commit(db, lambda: _announce(standing))


def _publish(signature: Signature, delay: timedelta) -> None:
    """What cannot be sent now stays due in the database, and a sweep sends it."""
    try:
        signature.apply_async(countdown=delay.total_seconds() or None)
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
