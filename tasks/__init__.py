"""What ``celery -A tasks`` loads: the application, one task per unit of every workflow, and beat's schedule."""

from tasks import notifications, process, reports, schedule, steps, sweeps
from zea.broker import app

__all__ = ["app", "notifications", "process", "reports", "schedule", "steps", "sweeps"]
