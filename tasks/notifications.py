"""Beat's task that mails what people are to be told: one bounded pass."""

from zea.broker import app
from zea.notifications import delivery


@app.task(name="notifications.deliver")  # type: ignore[untyped-decorator]  # Celery has no types
def deliver() -> int:
    """Send the notifications that are due; answers how many were sent."""
    return delivery.deliver_due()
