"""`make bench-reports`: what payment reports of many sessions take, over HTTP, on one machine: seconds and memory."""

import http.client
import json
import tempfile
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from rich.console import Console
from rich.table import Table

from tests.benchmarks.booking import running_system, use

MONTHS = {100_000: date(2025, 1, 1), 1_000_000: date(2025, 3, 1)}
COACHES = 200
# What overlaps is not measured here, and takes longer to check than all the rest.
WITHOUT_OVERLAPS = """
    ALTER TABLE slots DROP CONSTRAINT ex_slots_no_overlap;
    ALTER TABLE bookings DROP CONSTRAINT ex_bookings_no_overlap;
    DROP INDEX uq_slots_coach_id_starts_at"""
PEOPLE = """
    INSERT INTO users (id, email, email_key, password_hash, name, role, locale, timezone, is_active, can_book)
    SELECT gen_random_uuid(), name, name, '-', name, role, 'es', 'America/Santiago', true, false
    FROM (SELECT 'coach' AS role, 'Coach Ñandú ' || n AS name FROM generate_series(1, %(coaches)s) AS n
          UNION ALL SELECT 'athlete', 'Ana' UNION ALL SELECT 'admin', 'Antonia') AS person
    RETURNING id, role"""
# Spread over the month, 60 to 104 minutes each.
SESSIONS = """
    WITH session AS (
        SELECT gen_random_uuid() AS id, (%(coaches)s::uuid[])[1 + n %% cardinality(%(coaches)s::uuid[])] AS coach,
               %(begin)s::timestamptz + n * interval '28 days' / %(count)s AS begins, 60 + n %% 45 AS minutes
        FROM generate_series(0, %(count)s - 1) AS n),
    slot AS (
        INSERT INTO slots (id, coach_id, starts_at, ends_at, status)
        SELECT id, coach, begins, begins + interval '1 hour', 'booked' FROM session)
    INSERT INTO bookings (id, athlete_id, coach_id, slot_id, starts_at, ends_at, status, confirmed_at, execution_id,
        actual_start_time, actual_end_time, actual_duration_minutes, finalized_at)
    SELECT id, %(athlete)s, coach, id, begins, begins + interval '1 hour', 'FINALIZED', now(), id,
        begins, begins + minutes * interval '1 minute', minutes, now() FROM session"""


class Measured(NamedTuple):
    """A report: how long until its answer, each step's seconds, the file's bytes, and how long its download took."""

    seconds: float
    steps: dict[str, float]
    csv_bytes: int
    download_seconds: float
    peaks: dict[str, int]


def seed(database_url: str) -> UUID:
    """Write people and sessions; answers the admin's id."""
    with psycopg.connect(database_url) as connection:
        connection.execute(WITHOUT_OVERLAPS)
        people = connection.execute(PEOPLE, {"coaches": COACHES}).fetchall()
        by_role = {
            role: [user_id for user_id, each in people if each == role] for role in ("coach", "athlete", "admin")
        }
        for count, month in MONTHS.items():
            begin = datetime(month.year, month.month, 2, tzinfo=UTC)
            values = {"coaches": by_role["coach"], "athlete": by_role["athlete"][0], "begin": begin, "count": count}
            connection.execute(SESSIONS, values)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    admin: UUID = by_role["admin"][0]
    return admin


def processes(name: str) -> list[Path]:
    """The /proc directories of the processes of that Celery node, or of that command."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if name in command and "python" in command:
            found.append(path)
    return found


def peak_of(name: str) -> int:
    """The largest peak of resident memory of these processes, in MB."""
    return max(_peak(path) for path in processes(name))


def _peak(path: Path) -> int:
    try:
        lines = (path / "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")), 0)


def ask(api: http.client.HTTPConnection, method: str, path: str, token: str, body: Any = None) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Prefer": "wait=30"}
    api.request(method, path, None if body is None else json.dumps(body), headers)
    answer = api.getresponse()
    return answer.status, answer.read()


def measure(api: http.client.HTTPConnection, token: str, month: date) -> Measured:
    """Make the month's report, and fetch its file."""
    period = {"start_date": str(month), "end_date": str(month.replace(day=31))}
    began = time.perf_counter()
    status, content = ask(api, "POST", "/api/admin/reports/payment", token, period)
    execution = f"/api/executions/{json.loads(content)['execution_id']}"
    while status == 202 and "csv_name" not in json.loads(ask(api, "GET", execution, token)[1])["output"]:
        time.sleep(0.1)
    seconds = time.perf_counter() - began
    while (view := json.loads(ask(api, "GET", execution, token)[1]))["status"] == "running":
        time.sleep(0.1)
    began = time.perf_counter()
    _, file = ask(api, "GET", f"/api/admin/reports/{view['output']['report_id']}.csv", token)
    return Measured(
        seconds,
        {step["step_name"]: step["duration_seconds"] for step in view["steps"]},
        len(file),
        time.perf_counter() - began,
        {name: peak_of(name) for name in ("sweeper@", "uvicorn")},
    )


def main() -> None:
    console = Console(highlight=False, width=160)
    with tempfile.TemporaryDirectory() as folder, running_system(Path(folder) / "zea") as connection:
        use(connection, Path(folder) / "zea")
        from zea.accounts import tokens
        from zea.accounts.models import Role

        admin = seed(connection["database_url"])
        api = http.client.HTTPConnection(connection["api_url"].removeprefix("http://"), timeout=120)
        small = measure(api, tokens.access_token(admin, Role.ADMIN), date(2024, 1, 1))
        table = Table(
            "Sessions", "to the answer", "CSV", "download", "peak: sweeper", "peak: API", box=None, pad_edge=False
        )
        rows = {0: small}
        for count, month in MONTHS.items():
            rows[count] = measure(api, tokens.access_token(admin, Role.ADMIN), month)
        for count, made in rows.items():
            table.add_row(
                f"{count:,}",
                f"{made.seconds:.2f} s",
                f"{made.csv_bytes / 1e6:.1f} MB",
                f"{made.download_seconds:.2f} s",
                f"{made.peaks['sweeper@']} MB",
                f"{made.peaks['uvicorn']} MB",
            )
        console.print(table)
        for count, made in rows.items():
            console.print(f"{count:,}: " + ", ".join(f"{name} {took:.2f} s" for name, took in made.steps.items()))


if __name__ == "__main__":
    main()
