"""A workflow that waits, for tests: a paper is judged by two people, rests for a while, and is printed."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from pydantic import Field
from sqlalchemy import text
from sqlalchemy.orm import Session

from workflows.engine import store, sweep
from workflows.engine.client import ExecutionClient
from workflows.engine.definition import CONTINUE, HALF, Fail, Workflow, approval, parallel, sleep, step
from workflows.engine.planner import next_moves
from workflows.engine.registry import Registry
from workflows.engine.runner import Delivery, Runner
from workflows.engine.status import ApprovalView, ExecutionView
from zea.context import ApprovalOutcome, Personal, StepContext
from zea.db import transaction
from zea.errors import ZeaError

TABLES = """
    CREATE TABLE effects (number serial, execution_id uuid, step text, told text);
    CREATE TABLE known (answer text);
    CREATE TABLE troubles (step text PRIMARY KEY)"""


@dataclass(frozen=True)
class Paper:
    """What is judged, by whom, and when it is printed."""

    author_id: UUID
    editor_id: UUID
    printed_at: datetime | None = None


@dataclass(frozen=True)
class Judgement:
    """What somebody says of it."""

    stars: Annotated[int, Field(ge=1, le=5)]
    remark: Personal[str | None] = None


@dataclass(frozen=True)
class AuthorHeard:
    """Whether the author has answered."""

    author_heard: bool


def note(db: Session, ctx: StepContext, told: str = "") -> None:
    """An effect that tells which step made it; a step that is in trouble fails then."""
    db.execute(
        text("INSERT INTO effects (execution_id, step, told) VALUES (:id, :step, :told)"),
        {"id": ctx.execution_id, "step": ctx.step, "told": told},
    )
    if db.execute(text("SELECT 1 FROM troubles WHERE step = :step"), {"step": ctx.step}).scalar():
        raise ZeaError("It cannot be done.")


def submit(db: Session, *, ctx: StepContext) -> None:
    note(db, ctx)


def withdraw(db: Session, *, ctx: StepContext) -> None:
    note(db, ctx)


def ask_author(db: Session, *, ctx: StepContext, author_id: UUID) -> Judgement | None:
    note(db, ctx, str(ctx.expires_at))
    known = db.execute(text("SELECT answer FROM known")).scalar()
    return Judgement(5, known) if known else None


def remind_author(db: Session, *, ctx: StepContext, author_id: UUID) -> None:
    note(db, ctx, str(ctx.expires_at))


def keep_answer(
    db: Session, *, ctx: StepContext, author_id: UUID, outcome: ApprovalOutcome, response: Judgement | None
) -> AuthorHeard:
    note(db, ctx, f"{outcome} {response.remark if response else ''}".strip())
    return AuthorHeard(response is not None)


def thank(db: Session, *, ctx: StepContext, ask_editor: Judgement) -> None:
    note(db, ctx, f"{ask_editor.stars} {ask_editor.remark}")


def print_it(
    db: Session, *, ctx: StepContext, author_heard: bool, ask_author: Judgement | None, ask_editor: Judgement
) -> None:
    note(db, ctx, f"{author_heard} {ask_author and ask_author.remark} {ask_editor.stars}")


def send(db: Session, *, ctx: StepContext) -> None:
    note(db, ctx)


review = Workflow(
    name="test.Review",
    version=1,
    input=Paper,
    flow=[
        step(submit, undo=withdraw),
        parallel(
            approval(
                "ask_author",
                type="author_judgement",
                response=Judgement,
                assignee="author_id",
                timeout=timedelta(hours=48),
                request=ask_author,
                remind_after=HALF,
                remind=remind_author,
                record=keep_answer,
                on_timeout=CONTINUE,
                on_reject=CONTINUE,
            ),
            [
                approval(
                    "ask_editor",
                    type="editor_judgement",
                    response=Judgement,
                    assignee="editor_id",
                    timeout=timedelta(days=7),
                    on_timeout=Fail("not_judged"),
                    on_reject=Fail("turned_down"),
                ),
                step(thank),
            ],
        ),
        sleep("rest", timedelta(hours=1)),
        sleep("until_printed_at", until="printed_at"),
        step(print_it),
    ],
)
# What is asked for beside a step that may fail, with nothing to undo.
letter = Workflow(
    name="test.Letter",
    version=1,
    input=Paper,
    flow=[
        parallel(
            approval(
                "ask_reader",
                type="reader_judgement",
                response=Judgement,
                assignee="author_id",
                timeout=timedelta(hours=1),
                on_timeout=CONTINUE,
                on_reject=CONTINUE,
            ),
            step(send),
        )
    ],
)
registry = Registry(review, letter)
client = ExecutionClient(registry)
runner = Runner(registry, worker="worker:test")
LONG_AGO = datetime.fromisoformat("2020-01-01T00:00Z")
AUTHOR, EDITOR = (UUID(int=number) for number in (1, 2))


def create_tables() -> None:
    with transaction() as db:
        db.execute(text(TABLES))


def begin(printed_at: datetime = LONG_AGO, workflow: Workflow = review, **timeouts: float) -> UUID:
    """An execution; ``timeouts`` are seconds."""
    own = {name: timedelta(seconds=seconds) for name, seconds in timeouts.items()}
    paper = Paper(AUTHOR, EDITOR, printed_at)
    return client.start(workflow, paper, actor="test", timeouts=own).execution_id


def stored(execution_id: UUID) -> store.Stored:
    with transaction() as db:
        row = store.read(db, execution_id)
    assert row is not None
    return row


def workflow_of(execution_id: UUID) -> Workflow:
    row = stored(execution_id)
    workflow = registry.get(row.workflow, row.version)
    assert workflow is not None
    return workflow


def deliver(execution_id: UUID, unit: str, *, repeated: bool = False) -> str:
    row = stored(execution_id)
    delivery = Delivery(row.workflow, unit, execution_id, row.epoch, repeated=repeated)
    return runner.run(delivery).text


def drive(execution_id: UUID) -> ExecutionView:
    """Deliver what may run until nothing may."""
    while moves := next_moves(workflow_of(execution_id), stored(execution_id).current):
        deliver(execution_id, moves[0].name)
    return client.get_execution_status(execution_id)


def waiting() -> UUID:
    """An execution that waits for both."""
    execution_id = begin()
    drive(execution_id)
    return execution_id


def pass_time(execution_id: UUID, **hours: float) -> None:
    """Have what waits under these names wait for so many hours less."""
    for name, less in hours.items():
        for path in (["approvals", name, "expires_at"], ["approvals", name, "remind_at"], ["timers", name]):
            move = """
                UPDATE workflow_executions SET state = jsonb_set(state, :path, to_jsonb(earlier)),
                    wakes_at = least(wakes_at, earlier)
                FROM (SELECT (state #>> :path)::timestamptz - :less * interval '1 hour' AS earlier
                    FROM workflow_executions WHERE id = :id) AS moved
                WHERE id = :id AND earlier IS NOT NULL"""
            with transaction() as db:
                db.execute(text(move), {"path": path, "less": less, "id": execution_id})


def fire() -> int:
    return sweep.fire(registry)


def pending(execution_id: UUID, name: str) -> ApprovalView:
    """The newest approval of this name."""
    return [each for each in client.get_execution_status(execution_id).approvals if each.step_name == name][-1]


def approve(execution_id: UUID, name: str, stars: int = 4, remark: str | None = None) -> ExecutionView:
    return client.approve(
        pending(execution_id, name).approval_id, {"stars": stars, "remark": remark}, actor="user:test"
    )


def effects(execution_id: UUID) -> dict[str, str]:
    """What each step's effect told."""
    query = text("SELECT step, told FROM effects WHERE execution_id = :id ORDER BY number")
    with transaction() as db:
        return {row.step: row.told for row in db.execute(query, {"id": execution_id})}


def types(execution_id: UUID) -> list[str]:
    return [
        f"{event.type} {event.step or event.data.get('approval') or event.data.get('timer') or ''}".strip()
        for event in client.events(execution_id)
    ]


def execute(statement: str, **values: object) -> None:
    with transaction() as db:
        db.execute(text(statement), values)
