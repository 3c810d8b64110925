"""What routes that deal with executions ask for: the client, the waiting room, and how long the caller will wait."""

import re
from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Request, Response
from fastapi.responses import JSONResponse

from workflows.catalog import registry
from workflows.engine.client import ExecutionClient
from workflows.engine.status import Standing
from zea.api.waiting import WaitingRoom
from zea.config import settings
from zea.errors import told

LONGEST_WAIT = timedelta(seconds=30)
WAIT_PREFERENCE = re.compile(r"(?:^|[,;\s])wait=(\d{1,6})(?:$|[,;\s])")

client = ExecutionClient(registry)


def accepted(execution_id: UUID) -> Response:
    """202: what was asked for is kept and will be decided; where its execution tells how it stands."""
    location = f"/api/executions/{execution_id}"
    return JSONResponse({"execution_id": str(execution_id)}, 202, headers={"Location": location})


def undecided(standing: Standing) -> Response:
    """The answer to whoever asked for what did not come, or not in time: 202, unless it came to nothing.

    Raises:
        ZeaError: the refusal that it came to, or that something went wrong.
    """
    if standing.error is not None:
        raise told(standing.error.kind, standing.error.message)
    return accepted(standing.execution_id)


# Dependencies that do no I/O are coroutines: FastAPI takes a thread for each that is not.


async def waiting_room(request: Request) -> WaitingRoom:
    room: WaitingRoom = request.app.state.waiting_room
    return room


async def preferred_wait(
    prefer: Annotated[str | None, Header(description="`wait=N`: seconds, at most 30")] = None,
) -> timedelta:
    """How long the caller will wait (RFC 7240, section 4.3), by default ZEA_BOOKING_WAIT; at most 30 seconds."""
    found = WAIT_PREFERENCE.search(prefer or "")
    return min(timedelta(seconds=int(found[1])), LONGEST_WAIT) if found else settings().booking_wait


async def execution_client() -> ExecutionClient:
    return client


Executions = Annotated[ExecutionClient, Depends(execution_client)]
Waiting = Annotated[WaitingRoom, Depends(waiting_room)]
PreferredWait = Annotated[timedelta, Depends(preferred_wait)]
