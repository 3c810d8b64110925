"""When beat sends what. A tick that is not taken within its interval expires: the next one does its work.

Nothing here is a local time. Whether a month is over is asked each minute, and decided by the business zone's calendar
(`zea.reports.periods`), so that a change of clocks, a restart of beat or a second one changes nothing.
"""

from zea.broker import app
from zea.config import settings

interval = settings().sweep_interval.total_seconds()
EVERY = {
    "sweep.fire": interval,
    "sweep.redrive": interval,
    "sweep.probe": interval,
    "sweep.count": interval,
    "notifications.deliver": interval,
    "reports.begin": 60.0,
}

app.conf.beat_schedule = {
    name: {"task": name, "schedule": seconds, "options": {"expires": seconds, "ignore_result": True}}
    for name, seconds in EVERY.items()
}
