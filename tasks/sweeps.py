"""Beat's tasks, each one bounded pass of a sweep, and what is sent through the queues to measure them."""

from datetime import datetime

from workflows.catalog import registry
from workflows.engine import sweep
from workflows.engine.dispatch import PROBE
from zea.broker import app
from zea.config import settings


@app.task(name="sweep.fire")  # type: ignore[untyped-decorator]  # Celery has no types
@sweep.timed("fire")
def fire() -> int:
    """Let timers whose moment has come fire; answers how many executions that moved."""
    return sweep.fire(registry)


@app.task(name="sweep.redrive")  # type: ignore[untyped-decorator]  # Celery has no types
@sweep.timed("redrive")
def redrive() -> int:
    """Dispatch again what was lost; answers how many executions that were."""
    return sweep.redrive(registry)


@app.task(name="sweep.probe")  # type: ignore[untyped-decorator]  # Celery has no types
@sweep.timed("probe")
def probe() -> int:
    """Send a probe through each queue of the steps; answers how many were sent."""
    return sweep.probe(registry, settings().sweep_interval / 2)


@app.task(name="sweep.count")  # type: ignore[untyped-decorator]  # Celery has no types
@sweep.timed("count")
def count() -> None:
    """Count what has happened since the last time."""
    sweep.count()


@app.task(name=PROBE)  # type: ignore[untyped-decorator]  # Celery has no types
def probe_passed(queue: str, probed_at: str) -> None:
    """Run by whoever works off ``queue``: what was sent through it before the probe has been taken."""
    sweep.probe_passed(queue, datetime.fromisoformat(probed_at))
