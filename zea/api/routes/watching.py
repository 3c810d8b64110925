"""Following an execution as it happens, as server-sent events (WHATWG HTML, section 9.2)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from time import monotonic
from typing import Annotated, NamedTuple
from uuid import UUID

from fastapi import Header, Query, Request
from fastapi.responses import StreamingResponse
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool

from workflows.engine.models import ENDED
from workflows.engine.status import EventView
from zea.accounts.models import User
from zea.api import parties, routing
from zea.api.deps import CurrentUser
from zea.api.errors import UNAVAILABLE
from zea.api.executions import Waiting, client
from zea.api.routes.executions import visible_execution
from zea.api.waiting import WaitingRoom
from zea.db import transaction
from zea.errors import Unreachable

router = routing.router("/api/executions", "executions")

# In each process. Every one costs a look at the database a second.
MOST_WATCHERS = 100
BATCH = 200
# What nobody announces, such as a timer, is seen this late.
LOOK_AGAIN = timedelta(seconds=1)
# Proxies end a stream in which nothing comes for long, and a reader that is gone is noticed by writing.
HEARTBEAT_SECONDS = 15.0
HEARTBEAT = ": still here\n\n"
EXAMPLE = 'id: 1\nevent: execution.started\ndata: {"position": 1, "type": "execution.started"}\n\n'
Position = Annotated[
    int | None, Query(ge=0, le=999_999_999, description="the position after which to begin; 0, unless given")
]
LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", pattern=r"^\d{1,9}$", description="as a browser sends it")
]


@router.get(
    "/{execution_id}/watch",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}, "example": EXAMPLE}}}},
)
async def watch(
    execution_id: UUID,
    user: CurrentUser,
    waiting: Waiting,
    request: Request,
    after: Position = None,
    last_event_id: LastEventId = None,
) -> StreamingResponse:
    """Every event past a position, each with its position as its id, until the execution has ended.

    The last one is called `end` and tells the execution's status. A browser that is cut off goes on where it was.
    """
    await run_in_threadpool(_check, execution_id, user)
    watchers: asyncio.Semaphore = request.app.state.watchers
    if watchers.locked():
        raise Unreachable("Too many people watch executions here. Try again later, or ask for its events.")
    begin = after if after is not None else int(last_event_id or 0)
    stream = _counted(watchers, _stream(waiting, execution_id, user, begin))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


def _check(execution_id: UUID, user: User) -> None:
    with transaction() as db:
        visible_execution(client, execution_id, user, db)


async def _counted(watchers: asyncio.Semaphore, stream: AsyncIterator[str]) -> AsyncIterator[str]:
    async with watchers:
        async for message in stream:
            yield message


async def _stream(waiting: WaitingRoom, execution_id: UUID, user: User, position: int) -> AsyncIterator[str]:
    with waiting.expecting(execution_id) as waiter:
        written_at = monotonic()
        while True:
            try:
                found = await run_in_threadpool(_look, execution_id, position)
            except UNAVAILABLE:
                return  # the reader connects again, and goes on where it was
            for event in found.events:
                position, written_at = event.position, monotonic()
                yield _message(event.type, parties.event_for(user, event), event.position)
            if found.ended_as:
                yield _message("end", {"execution_id": execution_id, "status": found.ended_as})
                return
            if not found.events:
                await waiter.changed(LOOK_AGAIN)
            if monotonic() - written_at > HEARTBEAT_SECONDS:
                written_at = monotonic()
                yield HEARTBEAT


class Found(NamedTuple):
    """What has happened since, and how the execution ended, if it has and these are its last events."""

    events: list[EventView]
    ended_as: str | None


def _look(execution_id: UUID, position: int) -> Found:
    # The status first: of an execution that has ended no event comes later.
    (standing,) = client.standings([execution_id])
    events = client.events(execution_id, after=position, limit=BATCH)
    return Found(events, standing.status if standing.status in ENDED and len(events) < BATCH else None)


def _message(kind: str, data: object, position: int | None = None) -> str:
    identity = "" if position is None else f"id: {position}\n"
    return f"{identity}event: {kind}\ndata: {to_json(data).decode()}\n\n"
