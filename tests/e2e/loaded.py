"""What ``celery -A tests.e2e.loaded`` loads: all that ``celery -A tasks`` does, for the workflows of the tests too."""

from tests.e2e import trip
from workflows import catalog
from workflows.engine.registry import Registry

catalog.registry = Registry(*catalog.registry, *trip.registry)

from tasks import app  # noqa: E402  the tasks are made of what the catalogue holds when they are imported

__all__ = ["app"]
