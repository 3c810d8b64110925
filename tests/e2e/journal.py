"""What the tests of the engine read of executions: their effects, their events, and whether all is at rest."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

import redis
from sqlalchemy import text

from tests.e2e.trip import TOO_FAR, trip
from workflows.engine import store
from workflows.engine.planner import next_moves
from workflows.engine.state import replay
from zea import config
from zea.db import reading, transaction

AT_REST_WITHIN = 30.0
QUEUES = ("workflows", "notifications")
STEPS = [step.name for step in trip.steps]
UNDONE = [step.undoes for undo in trip.undos.values() for step in undo.steps if step.undoes]
UNDOS = [step.name for undo in trip.undos.values() for step in undo.steps]


def column(query: str, **values: Any) -> list[Any]:
    with reading() as db:
        return list(db.execute(text(query), values).scalars())


def at_rest(executions: int) -> Callable[[], bool]:
    """Whether so many executions have ended, and none other is there."""
    query = """
        SELECT count(*) FILTER (WHERE completed_at IS NOT NULL AND due_at IS NULL) = :executions
            AND count(*) = :executions
        FROM workflow_executions"""
    return lambda: bool(column(query, executions=executions)[0])


def nothing_is_queued() -> bool:
    """Whether every message has been taken."""
    with redis.Redis.from_url(config.redis_url()) as broker:
        return not broker.exists(*QUEUES)


def redeliver_what_is_unacknowledged() -> None:
    """Put what dead workers had taken back into its queue, as the broker's visibility timeout does an hour later."""
    with redis.Redis.from_url(config.redis_url()) as broker:
        for taken in broker.hvals("unacked"):
            message, _, queue = json.loads(taken)
            message["headers"]["redelivered"] = message["properties"]["delivery_info"]["redelivered"] = True
            broker.rpush(queue, json.dumps(message))
        broker.delete("unacked", "unacked_index")


def waiting_at_gates() -> int:
    """How many transactions stand still because a test holds what they want."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return int(column(waiting)[0])


def effects(execution_id: UUID) -> Counter[str]:
    return Counter(column("SELECT step FROM effects WHERE execution_id = :id", id=execution_id))


def story(execution_id: UUID, *types: str) -> list[str]:
    """The execution's events, each in a word or two; only those of ``types``, if there are any."""
    query = """
        SELECT concat_ws(' ', type, step) FROM workflow_events
        WHERE execution_id = :id AND (:all OR type = ANY (:types)) ORDER BY position"""
    return column(query, id=execution_id, all=not types, types=list(types))


def how_often(type_: str) -> int:
    return int(column("SELECT count(*) FROM workflow_events WHERE type = :type", type=type_)[0])


def assert_travelled_once(execution_id: UUID) -> None:
    """It has ended as it should, with each effect once, and its events say so once and give its row again."""
    with transaction() as db:
        row = store.read(db, execution_id)
        assert row is not None
        state = replay(store.events(db, execution_id))
    told = story(execution_id)
    if row.inputs["length"] == TOO_FAR:
        assert (row.status, row.error and row.error["kind"]) == ("failed", "refused"), told
        assert effects(execution_id) == Counter([*STEPS[:-1], *UNDOS]), told
        assert_once(told, "step.completed", STEPS[:-1])
        assert_once(told, "step.compensated", UNDONE)
        assert_once(told, "step.failed", STEPS[-1:])
        assert_once(told, "execution.", ["compensating", "failed", "started"])
    else:
        assert row.status == "completed", told
        assert effects(execution_id) == Counter(STEPS), told
        assert_once(told, "step.completed", STEPS)
        assert_once(told, "execution.", ["completed", "started"])
    assert not [event for event in told if "retried" in event], told
    assert state == row.current
    assert not next_moves(trip, state)


def assert_once(told: Sequence[str], prefix: str, names: Iterable[str]) -> None:
    """The events that begin so are these, each once; that something was sent again is no change."""
    found = [event.removeprefix(prefix).strip() for event in told if event.startswith(prefix)]
    assert sorted(set(found) - {"redriven"}) == sorted(names), told
    assert not [name for name, times in Counter(found).items() if times > 1 and name != "redriven"], told
