"""One named Celery task per unit of every registered workflow, so that Flower shows what runs."""

from contextlib import suppress
from uuid import UUID

from celery import Task
from celery.exceptions import Ignore
from kombu.exceptions import OperationalError

from workflows import catalog
from workflows.engine.canvas import carried
from workflows.engine.registry import Registry
from workflows.engine.runner import Delivery, Runner
from zea.broker import app
from zea.errors import StaleMessage

BACKSTOP_SECONDS = 30


def register_tasks(registry: Registry) -> None:
    """Make a task of each unit."""
    for task_name, (workflow_name, unit_name) in registry.tasks().items():
        _register(registry, task_name, workflow_name, unit_name)


def _register(registry: Registry, task_name: str, workflow_name: str, unit_name: str) -> None:
    # The database ends a step that takes too long. This is for one that does not talk to the database any more.
    backstop = 2 * registry.limit(workflow_name, unit_name).total_seconds() + BACKSTOP_SECONDS

    @app.task(name=task_name, bind=True, time_limit=backstop)  # type: ignore[untyped-decorator]  # Celery has no types
    def run(self: Task, execution_id: str, epoch: int, dispatches: int = 0) -> str:
        runner = Runner(registry, worker=f"worker:{self.request.hostname}")
        delivery = Delivery(
            workflow_name,
            unit_name,
            UUID(execution_id),
            epoch,
            carried=carried(self.request.chain),
            repeated=dispatches > 0 or bool(self.request.delivery_info.get("redelivered")),
        )
        try:
            outcome = runner.run(delivery)
        except StaleMessage as stale:
            # A duplicate that returned would have Celery publish the rest of its chain again.
            _tell_flower(self)
            raise Ignore(stale.message) from stale
        if not outcome.chain_continues:
            self.request.chain = None
        return outcome.text


def _tell_flower(task: Task) -> None:
    """Of what is ignored Celery tells nothing more, and Flower would show it as started for ever."""
    with suppress(OperationalError, RuntimeError):
        task.send_event("task-rejected", retry=False)


register_tasks(catalog.registry)
