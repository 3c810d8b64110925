"""Beat's tasks: each one bounded pass of a sweep."""

from workflows.catalog import registry
from workflows.engine import sweep
from zea.broker import app


@app.task(name="sweep.redrive")  # type: ignore[untyped-decorator]  # Celery has no types
def redrive() -> int:
    """Dispatch again what is due and not running; answers how many executions that were."""
    return sweep.redrive(registry)
