"""The yardstick: a bare Celery task that does nothing, on the broker and with the events of the system measured."""

from celery import Celery

from zea import config

app = Celery("noop", broker=config.redis_url(), backend=config.redis_url())
app.conf.update(
    task_default_queue="noop",
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    worker_send_task_events=True,
)


@app.task(name="noop")  # type: ignore[untyped-decorator]  # Celery has no types
def noop() -> None:
    """Nothing."""
