"""What ``celery -A tasks`` loads: the application, each unit's task, beat's schedule, and where Flower's login is."""

from tasks import notifications, process, reports, schedule, steps, sweeps
from zea import config
from zea.broker import app

__all__ = ["app", "notifications", "process", "reports", "schedule", "steps", "sweeps"]

config.configure_flower()
