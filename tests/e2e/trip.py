"""Workflows for tests on real workers: each step leaves a row in ``effects`` and can be held, or made to go wrong.

Everything that makes a step misbehave is a row that it looks at, so that the test can take the cause away again.
"""

import os
import signal
import time
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from workflows.engine.definition import Workflow, atomic, parallel, step
from workflows.engine.policy import Retry
from workflows.engine.registry import Registry
from zea.context import StepContext
from zea.errors import Refusal

TABLES = """
    CREATE TABLE effects (execution_id uuid, step text);
    CREATE TABLE gates (execution_id uuid, step text);
    CREATE TABLE poison (execution_id uuid);
"""
TOO_FAR = 13
NAP = timedelta(seconds=2)


@dataclass(frozen=True)
class Trip:
    """How far it goes; not ``TOO_FAR``, which is found out at the very end."""

    length: int = 1


def leave_a_row(db: Session, ctx: StepContext) -> None:
    """The effect; then the step stands still for as long as a test holds its gate."""
    where = {"execution": ctx.execution_id, "step": ctx.step}
    db.execute(text("INSERT INTO effects VALUES (:execution, :step)"), where)
    db.execute(text("SELECT FROM gates WHERE execution_id = :execution AND step = :step FOR SHARE"), where)


def pack(db: Session, *, ctx: StepContext) -> None:
    leave_a_row(db, ctx)


def pay(db: Session, *, ctx: StepContext) -> None:
    leave_a_row(db, ctx)


def leave(db: Session, *, ctx: StepContext) -> None:
    leave_a_row(db, ctx)


def notify_hotel(db: Session, *, ctx: StepContext) -> None:
    leave_a_row(db, ctx)


def by_boat(db: Session, *, ctx: StepContext) -> None:
    leave_a_row(db, ctx)


def sail(db: Session, *, ctx: StepContext) -> None:
    leave_a_row(db, ctx)


def arrive(db: Session, *, ctx: StepContext) -> None:
    leave_a_row(db, ctx)


def stay(db: Session, *, ctx: StepContext, length: int) -> None:
    leave_a_row(db, ctx)
    if length == TOO_FAR:
        raise Refusal("Not that far.")


def undo(db: Session, *, ctx: StepContext) -> None:
    leave_a_row(db, ctx)


trip = Workflow(
    name="test.Trip",
    version=1,
    input=Trip,
    flow=[
        step(pack, undo),
        atomic(step(pay, undo), step(leave, undo)),
        parallel(step(notify_hotel, undo), [step(by_boat), step(sail, undo)]),
        step(arrive, undo),
        parallel(),
        step(stay),
    ],
)


def board(db: Session, *, ctx: StepContext) -> None:
    leave_a_row(db, ctx)


def pay_fare(db: Session, *, ctx: StepContext, length: int) -> None:
    leave_a_row(db, ctx)
    if length == TOO_FAR:
        raise Refusal("Not that far.")


def alight(db: Session, *, ctx: StepContext) -> None:
    leave_a_row(db, ctx)


ride = Workflow(name="test.Ride", version=1, input=Trip, flow=[step(board), step(pay_fare), step(alight)])


@dataclass(frozen=True)
class Errand:
    """One step's work."""


def run(db: Session, *, ctx: StepContext) -> None:
    leave_a_row(db, ctx)


errand = Workflow(name="test.Errand", version=1, input=Errand, flow=[step(run)])


def nap(db: Session, *, ctx: StepContext) -> None:
    leave_a_row(db, ctx)


short_nap = Workflow(name="test.Nap", version=1, input=Errand, flow=[step(nap, timeout=NAP), step(run)])


def eat(db: Session, *, ctx: StepContext) -> None:
    leave_a_row(db, ctx)
    if db.execute(text("SELECT 1 FROM poison WHERE execution_id = :id"), {"id": ctx.execution_id}).scalar():
        os.kill(os.getpid(), signal.SIGKILL)


meal = Workflow(name="test.Meal", version=1, input=Errand, flow=[step(eat), step(run)])


@dataclass(frozen=True)
class Delay:
    """How a step spends more time than it has: the name of one of ``WAYS``."""

    way: str


WAYS = {
    "asleep in the database": lambda db: db.execute(text("SELECT pg_sleep(20)")),
    "busy in the database": lambda db: db.execute(text("DO $$ BEGIN LOOP END LOOP; END $$")),
    "busy elsewhere": lambda db: time.sleep(2),
}


def dawdle(db: Session, *, ctx: StepContext, way: str) -> None:
    leave_a_row(db, ctx)
    WAYS[way](db)


delayed = Workflow(
    name="test.Delayed",
    version=1,
    input=Delay,
    flow=[step(dawdle, timeout=timedelta(seconds=1), retry=Retry(attempts=2))],
)

registry = Registry(trip, ride, errand, short_nap, meal, delayed)
