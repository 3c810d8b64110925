"""What has to be so in a running system before a page's commands make sense.

A scene answers the execution that it is about; any id in the page's next commands that was not shown before means it.
"""

import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import psycopg

from tests.benchmarks.seeding import customer
from tests.documented import ROOT
from tests.e2e.machine import Machine
from tests.waiting import wait_until
from workflows.booking_request import BookingRequest, booking_request
from workflows.catalog import registry
from workflows.engine.client import ExecutionClient
from zea.accounts import tokens

SESSION = """
    SELECT id FROM workflow_executions
    WHERE workflow = 'zea_sport.SessionCompletion' AND started_by LIKE 'user:%' ORDER BY id LIMIT 1"""


def execute(system: Machine, statement: str) -> str:
    """What the statement answers first."""
    with psycopg.connect(system.connection()["database_url"], autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        row = cursor.fetchone() if cursor.description else None
    return str(row[0]) if row else ""


def session_was_completed(system: Machine) -> str:
    """Over HTTP, so that the API's log tells of it as well."""
    return execute(system, SESSION)


def two_bookings_failed(system: Machine) -> str:
    """After they were confirmed. In a process of its own, because this one has other settings than the system."""
    execute(system, "ALTER TABLE notifications RENAME TO notifications_away")
    told = {**system.environment, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", __name__], cwd=ROOT, env=told, check=True, timeout=120)
    return ""


def table_is_back(system: Machine) -> str:
    return execute(system, "ALTER TABLE notifications_away RENAME TO notifications")


def what_ended_is_old(system: Machine) -> str:
    execute(system, "UPDATE workflow_executions SET completed_at = completed_at - interval '100 days'")
    return execute(system, SESSION)


SCENES: dict[str, Callable[[Machine], str]] = {
    "a session was completed": session_was_completed,
    "two bookings failed, because the table notifications is away": two_bookings_failed,
    "the table notifications is back": table_is_back,
    "what has ended did so a hundred days ago": what_ended_is_old,
}


def fail_two_bookings() -> None:
    client = ExecutionClient(registry)
    athlete = customer(2)
    athlete_id = tokens.identify(athlete.token).user_id
    started = []
    for request in athlete.requests:
        asked = BookingRequest(athlete_id, UUID(request["coach_id"]), datetime.fromisoformat(request["slot_datetime"]))
        started.append(client.start(booking_request, asked, actor=f"user:{athlete_id}").execution_id)
    wait_until(lambda: {client.get_execution_status(each).status for each in started} == {"failed"}, 100)


if __name__ == "__main__":
    fail_two_bookings()
