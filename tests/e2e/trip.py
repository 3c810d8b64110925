"""A workflow with all that a flow can hold, and what `celery -A tests.e2e.trip` loads to run it."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from tasks.steps import register_tasks
from workflows.engine.definition import Workflow, parallel, step
from workflows.engine.registry import Registry
from zea.broker import app
from zea.errors import Refusal

__all__ = ["Trip", "app", "registry", "trip"]


@dataclass(frozen=True)
class Trip:
    """How far it goes."""

    length: int


def pack(db: Session) -> None: ...
def leave(db: Session, *, length: int) -> None:
    if length == 13:
        raise Refusal("Not that far.")


def by_train(db: Session) -> None: ...
def by_boat(db: Session) -> None: ...
def sail(db: Session) -> None: ...
def arrive(db: Session) -> None: ...
def unpack(db: Session) -> None: ...


trip = Workflow(
    name="test.Trip",
    version=1,
    input=Trip,
    flow=[
        step(pack),
        step(leave),
        parallel(step(by_train), [step(by_boat), step(sail)]),
        step(arrive),
        parallel(),
        step(unpack),
    ],
)
registry = Registry(trip)
register_tasks(registry)
