"""Who waits is told by the first announcement that holds, and by a look at the rows when none is heard."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from workflows.engine.status import Standing, to_announcement
from zea.api.waiting import Waiter, WaitingRoom
from zea.db import new_id

LONG, SHORT = timedelta(seconds=10), timedelta(milliseconds=20)


class Rows:
    """Executions as the database has them."""

    def __init__(self) -> None:
        self.rows: dict[UUID, Standing] = {}

    def standings(self, execution_ids: Sequence[UUID]) -> list[Standing]:
        return [self.rows[each] for each in execution_ids if each in self.rows]


def standing(execution_id: UUID, status: str) -> Standing:
    return Standing(execution_id, status, {}, None)


def completed(seen: Standing) -> bool:
    return seen.status == "completed"


def room_of(rows: Rows) -> WaitingRoom:
    return WaitingRoom(rows)  # type: ignore[arg-type]  # all that the room asks of a client


async def hear(room: WaitingRoom, waiter: Waiter, *announcements: bytes) -> Standing:
    for announcement in announcements:
        room._pass_on(announcement)
    return await waiter.until(completed, LONG)


def test_the_first_announcement_that_holds_ends_the_wait() -> None:
    execution_id = new_id()
    room = room_of(Rows())
    with room.expecting(execution_id) as waiter:
        announcements = [to_announcement(standing(execution_id, status)) for status in ("running", "completed")]
        told = asyncio.run(hear(room, waiter, *announcements))
    assert told.status == "completed"


def test_an_announcement_that_cannot_be_read_changes_nothing() -> None:
    execution_id = new_id()
    room = room_of(Rows())
    with room.expecting(execution_id) as waiter:
        good = to_announcement(standing(execution_id, "completed"))
        assert asyncio.run(hear(room, waiter, b"not json", b'{"status": 1}', good)).status == "completed"


def test_when_the_time_is_over_the_row_is_looked_at_once_more() -> None:
    execution_id, rows = new_id(), Rows()
    rows.rows[execution_id] = standing(execution_id, "running")
    with room_of(rows).expecting(execution_id) as waiter:
        assert asyncio.run(waiter.until(completed, SHORT)).status == "running"


def test_who_has_left_is_forgotten() -> None:
    room = room_of(Rows())
    with room.expecting(new_id()) as waiter:
        other = new_id()
        waiter.follow(other)
        assert list(room._waiting) == [other]
    assert not room._waiting
