"""When beat sends what. A tick that is not taken within its interval expires: the next one does its work."""

from zea.broker import app
from zea.config import settings

EVERY_INTERVAL = ("sweep.fire", "sweep.redrive", "sweep.probe", "notifications.deliver")

interval = settings().sweep_interval.total_seconds()
app.conf.beat_schedule = {
    name: {"task": name, "schedule": interval, "options": {"expires": interval, "ignore_result": True}}
    for name in EVERY_INTERVAL
}
