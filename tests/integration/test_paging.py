"""Lists by keyset: whoever pages through one while others write sees every row that was there throughout, once."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any, NamedTuple

import httpx
import pytest
from sqlalchemy import text

from tests.integration.conftest import Person
from zea.accounts.models import Role
from zea.db import transaction

ROWS = 10_000
WRITES_A_SECOND = 50


class Written(NamedTuple):
    """A list, the field that names its rows, and what writes rows of it numbered from :first to :last for :owner."""

    path: str
    field: str
    owner: Role
    statement: str


LISTS = {
    "newest first": Written(
        "/api/me/notifications",
        "notification_id",
        Role.ATHLETE,
        """
        INSERT INTO notifications (id, recipient_id, kind, title, body, execution_id, step)
        SELECT gen_random_uuid(), :owner, 'test', '', '', gen_random_uuid(), 'test'
        FROM generate_series(CAST(:first AS integer), CAST(:last AS integer))""",
    ),
    # Written backwards, into what was read already, and into what is still to come.
    "earliest first": Written(
        "/api/coaches/{owner}/slots",
        "slot_id",
        Role.COACH,
        """
        INSERT INTO slots (id, coach_id, starts_at, ends_at, status)
        SELECT gen_random_uuid(), :owner, starts_at, starts_at + interval '1 minute', 'open'
        FROM generate_series(CAST(:first AS integer), CAST(:last AS integer)) AS number,
             LATERAL (SELECT date_trunc('hour', now()) + interval '1 day'
                      + (number * 7919 % 100003) * interval '1 minute' AS starts_at) AS slot""",
    ),
    "executions": Written(
        "/api/executions",
        "execution_id",
        Role.ADMIN,
        """
        INSERT INTO workflow_executions (id, workflow, version, status, inputs, state, output, started_by, epoch,
            position, completed_steps, total_steps, dispatches, created_at, completed_at)
        SELECT gen_random_uuid(), 'zea_sport.BookingRequest', 1, 'completed', '{}', '{"steps": {}}', '{}',
            CAST(:owner AS text), 1, 1, 8, 8, 0, clock_timestamp(), clock_timestamp()
        FROM generate_series(CAST(:first AS integer), CAST(:last AS integer))""",
    ),
}


def write(written: Written, owner: Person, first: int, last: int) -> None:
    with transaction() as db:
        db.execute(text(written.statement), {"owner": owner.user_id, "first": first, "last": last})


@contextmanager
def others_writing(written: Written, owner: Person) -> Iterator[None]:
    """Fifty rows a second, each in a transaction of its own, while the block runs."""
    done = Event()

    def run() -> int:
        number = ROWS
        while not done.wait(1 / WRITES_A_SECOND):
            number += 1
            write(written, owner, number, number)
        return number - ROWS

    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(run)
        try:
            yield
        finally:
            done.set()
        assert writing.result() > 0, "nobody wrote anything"


def pages(api: httpx.Client, path: str, headers: dict[str, str]) -> Iterator[list[dict[str, Any]]]:
    cursor: dict[str, str] = {}
    while True:
        page = api.get(path, params={"limit": 200, **cursor}, headers=headers).json()
        yield page["items"]
        if page["next_cursor"] is None:
            return
        cursor = {"cursor": page["next_cursor"]}


@pytest.mark.parametrize("name", LISTS)
def test_every_row_that_was_there_throughout_is_seen_once(
    api: httpx.Client, make_person: Callable[[Role], Person], name: str
) -> None:
    written, owner = LISTS[name], make_person(LISTS[name].owner)
    path = written.path.format(owner=owner.user_id)
    write(written, owner, 1, ROWS)
    before = [row[written.field] for page in pages(api, path, owner.headers) for row in page]
    assert len(set(before)) == len(before) == ROWS
    with others_writing(written, owner):
        seen = [row[written.field] for page in pages(api, path, owner.headers) for row in page]
    assert len(set(seen)) == len(seen)
    there_before = set(before)
    assert [each for each in seen if each in there_before] == before
