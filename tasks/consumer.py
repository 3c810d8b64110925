"""Celery's consumer, made to outlive its broker, to come back soon after it, and to tell Flower in batches."""

from collections.abc import Callable
from functools import partial
from typing import Any

from celery.worker.consumer import Consumer

# Seconds between tries to reach a broker that is away. Celery waits 2, 4, 6 … 30: after an outage of 20 seconds nothing
# was taken for another 11, and people were waiting.
RECONNECT = {"interval_start": 0.2, "interval_step": 0.2, "interval_max": 1.0}

# How late Flower may learn of something, in seconds. One by one, what it is told costs as much as the tasks.
EVENT_DELAY = 0.1


class PromptConsumer(Consumer):  # type: ignore[misc]  # Celery has no types
    """Looks for a lost broker every second at least, and sends task events ten times a second."""

    _flush_is_due = False

    def ensure_connected(self, conn: Any) -> Any:
        # What it calls takes these from nowhere else: Celery has no setting for them.
        conn.ensure_connection = partial(conn.ensure_connection, **RECONNECT)
        return super().ensure_connected(conn)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Give up what came over the lost connection: it runs on, and what is lost of it a sweep sends again.

        Putting the messages back, which Celery would do, needs the broker that is away. It fails with an error that
        ends the worker.
        """
        for channel in self.connection.transport.channels:
            channel.do_restore = False
        super().on_connection_error_after_connected(exc)

    def call_soon_ack(self, p: Callable[..., None], *args: Any, **kwargs: Any) -> Any:
        """A message of a lost connection cannot be acknowledged, and trying to would end the worker as well."""

        def acknowledge(*arguments: Any) -> None:
            if not p.__self__.channel.closed:  # type: ignore[attr-defined]  # a method of the message
                p(*arguments)

        return super().call_soon_ack(acknowledge, *args, **kwargs)

    def on_send_event_buffered(self) -> None:
        if not self._flush_is_due:
            self._flush_is_due = True
            self.hub.call_later(EVENT_DELAY, self._flush_events)

    def _flush_events(self) -> None:
        self._flush_is_due = False
        super()._flush_events()
