"""Celery's consumer, made to send what Flower is told in batches: one by one it costs as much as the tasks."""

from celery.worker.consumer import Consumer

# How late Flower may learn of something, in seconds.
EVENT_DELAY = 0.1


class BatchingConsumer(Consumer):  # type: ignore[misc]  # Celery has no types
    """Sends task events ten times a second instead of one by one between two tasks."""

    _flush_is_due = False

    def on_send_event_buffered(self) -> None:
        if not self._flush_is_due:
            self._flush_is_due = True
            self.hub.call_later(EVENT_DELAY, self._flush_events)

    def _flush_events(self) -> None:
        self._flush_is_due = False
        super()._flush_events()
