"""Payment reports over HTTP, and on the command line."""

import csv
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from typer.testing import CliRunner

from tests.held_sessions import EXPORTED, STEPS, begin_report, client, held, person, report, run
from tests.integration.conftest import Person
from tests.integration.test_reports import HOUR, MORNING
from tests.waiting import wait_until
from tests.worker_here import working
from zea.cli.app import app as cli

URL = "/api/admin/reports"
JANUARY = {"start_date": "2026-01-01", "end_date": "2026-01-31"}
REPORT_ID = "report-ALL_COACHES-2026-01-01-2026-01-31"


@pytest.fixture
def sessions(database: str) -> int:
    """How many there are in January."""
    return len(held(person("coach", "Íñigo"), person("athlete", "Ana"), [MORNING, MORNING + 2 * HOUR]))


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with working(monkeypatch):
        yield


class TestMaking:
    """POST /api/admin/reports/payment"""

    def test_answers_what_was_made_and_where_it_is(
        self, api: httpx.Client, admin: Person, sessions: int, worker: None
    ) -> None:
        answer = api.post(f"{URL}/payment", json=JANUARY, headers=admin.headers)
        made = answer.json()
        assert answer.status_code == 201
        assert made == {
            "report_id": REPORT_ID,
            "revision": 1,
            "execution_id": made["execution_id"],
            "summary": {
                "total_hours": 2,
                "total_sessions": sessions,
                "average_session_minutes": 60,
                "sessions_awaiting_feedback": 0,
            },
        }
        assert api.get(answer.headers["Location"], headers=admin.headers).json()["revision"] == 1
        status = api.get(f"/api/executions/{made['execution_id']}", headers=admin.headers).json()
        assert (status["workflow_name"], status["subject"]) == ("zea_sport.PaymentReport", f"report:{REPORT_ID}")

    def test_that_takes_longer_is_accepted(self, api: httpx.Client, admin: Person) -> None:
        """There is no worker."""
        headers = {**admin.headers, "Prefer": "wait=0"}
        answer = api.post(f"{URL}/payment", json=JANUARY, headers=headers)
        execution_id = answer.json()["execution_id"]
        assert (answer.status_code, answer.headers["Location"]) == (202, f"/api/executions/{execution_id}")
        assert api.get(answer.headers["Location"], headers=headers).json()["status"] == "running"

    def test_of_who_was_a_coach_is_made_as_long_as_there_is_something_to_pay(
        self, api: httpx.Client, admin: Person, worker: None
    ) -> None:
        coach = person("coach", "Íñigo")
        held(coach, person("athlete", "Ana"), [MORNING])
        api.patch(f"/api/admin/users/{coach}", json={"role": "athlete"}, headers=admin.headers)
        answer = api.post(f"{URL}/payment", json={**JANUARY, "coach_id": str(coach)}, headers=admin.headers)
        assert (answer.status_code, answer.json()["summary"]["total_sessions"]) == (201, 1)

    def test_does_not_wait_for_the_mail(self, api: httpx.Client, admin: Person, sessions: int) -> None:
        with ThreadPoolExecutor(1) as threads:
            headers = {**admin.headers, "Prefer": "wait=10"}
            asked = threads.submit(api.post, f"{URL}/payment", json=JANUARY, headers=headers)
            wait_until(lambda: client.list_executions().items, what="it to begin")
            run(client.list_executions().items[0].execution_id, EXPORTED)
            assert asked.result(10).status_code == 201

    def test_with_one_key_is_done_once(self, api: httpx.Client, admin: Person, sessions: int, worker: None) -> None:
        headers = {**admin.headers, "Idempotency-Key": "january"}
        first, second = (api.post(f"{URL}/payment", json=JANUARY, headers=headers) for _ in range(2))
        assert (first.status_code, first.json()) == (second.status_code, second.json()) == (201, second.json())
        other = api.post(f"{URL}/payment", json={**JANUARY, "end_date": "2026-01-30"}, headers=headers)
        assert (other.status_code, other.json()["type"]) == (422, "urn:zea:problem:idempotency-key-reused")

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({**JANUARY, "end_date": "2025-12-31"}, "end_date"),
            ({**JANUARY, "end_date": "2027-01-02"}, "end_date"),
            ({**JANUARY, "coach_id": str(UUID(int=1))}, "coach_id"),
            ({**JANUARY, "end_date": "2026-02-30"}, "end_date"),
            ({**JANUARY, "end_date": "2026-01-31T10:00:00Z"}, "end_date"),
            ({**JANUARY, "end_date": 1_767_225_600}, "end_date"),
            ({**JANUARY, "end_date": "20260131"}, "end_date"),
            ({"start_date": "9999-12-01", "end_date": "9999-12-31"}, "end_date"),
            ({"start_date": "2026-01-01"}, "end_date"),
            ({**JANUARY, "month": 1}, "month"),
        ],
        ids=str,
    )
    def test_of_what_cannot_be_is_a_422(
        self, api: httpx.Client, admin: Person, body: dict[str, Any], field: str
    ) -> None:
        answer = api.post(f"{URL}/payment", json=body, headers=admin.headers)
        assert (answer.status_code, [each["field"] for each in answer.json()["errors"]]) == (422, [field])
        assert api.get("/api/executions", headers=admin.headers).json()["items"] == []


class TestReading:
    """GET /api/admin/reports, /{report_id} and /{report_id}.csv"""

    def test_lists_each_report_once_with_its_current_revision(
        self, api: httpx.Client, admin: Person, sessions: int
    ) -> None:
        for month in (1, 2, 1):
            report(date(2026, month, 1), date(2026, month, 28))
        first = api.get(URL, params={"limit": 1}, headers=admin.headers).json()
        rest = api.get(URL, params={"cursor": first["next_cursor"]}, headers=admin.headers).json()
        listed = [(each["start_date"], each["revision"]) for each in first["items"] + rest["items"]]
        assert listed == [("2026-02-01", 1), ("2026-01-01", 2)]
        assert rest["next_cursor"] is None

    def test_shows_the_current_revision_or_the_one_that_is_named(
        self, api: httpx.Client, admin: Person, sessions: int
    ) -> None:
        for _ in range(2):
            report(date(2026, 1, 1), date(2026, 1, 31))
        url = f"{URL}/{REPORT_ID}"
        current, old = (api.get(url, params=query, headers=admin.headers).json() for query in ({}, {"revision": 1}))
        assert (current["revision"], current["is_current"]) == (2, True)
        assert (old["revision"], old["is_current"], old["latest_revision"]) == (1, False, 2)
        assert old["weekly_breakdown"] == [{"week": "2026-W03", "sessions": 2, "total_minutes": 120, "total_hours": 2}]
        assert [each["coach_name"] for each in old["coaches"]] == ["Íñigo"]
        assert old["period"] == {**JANUARY, "timezone": "America/Santiago"}

    def test_hands_out_the_file_of_each_revision(self, api: httpx.Client, admin: Person, sessions: int) -> None:
        report(date(2026, 1, 1), date(2026, 1, 31))
        held(person("coach", "Berta"), person("athlete", "Eva"), [MORNING])
        report(date(2026, 1, 1), date(2026, 1, 31))
        files = [
            api.get(f"{URL}/{REPORT_ID}.csv", params=query, headers=admin.headers)
            for query in ({"revision": 1}, {"revision": 2}, {})
        ]
        assert [each.content.count(b"\r\n") - 1 for each in files] == [sessions, sessions + 1, sessions + 1]
        assert [each.headers["ETag"] for each in files] == [f'"{sha256(each.content).hexdigest()}"' for each in files]

    def test_of_a_file_that_is_not_written_yet_is_a_404(self, api: httpx.Client, admin: Person, sessions: int) -> None:
        run(begin_report(date(2026, 1, 1), date(2026, 1, 31)), STEPS[:5])
        assert api.get(f"{URL}/{REPORT_ID}", headers=admin.headers).status_code == 200
        answer = api.get(f"{URL}/{REPORT_ID}.csv", headers=admin.headers)
        assert (answer.status_code, "not written yet" in answer.json()["detail"]) == (404, True)

    def test_hands_out_the_file(self, api: httpx.Client, admin: Person, sessions: int) -> None:
        report(date(2026, 1, 1), date(2026, 1, 31))
        answer = api.get(f"{URL}/{REPORT_ID}.csv", headers=admin.headers)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        assert answer.headers["Content-Disposition"] == f'attachment; filename="{REPORT_ID}.csv"'
        assert int(answer.headers["Content-Length"]) == len(answer.content)
        lines = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline=""), strict=True))
        assert [line["coach_name"] for line in lines] == ["Íñigo"] * sessions

    @pytest.mark.parametrize(
        "path", ["report-x", "report-x.csv", f"{REPORT_ID}?revision=7", f"{REPORT_ID}.csv?revision=7"]
    )
    def test_of_what_is_not_there_is_a_404(self, api: httpx.Client, admin: Person, path: str, sessions: int) -> None:
        report(date(2026, 1, 1), date(2026, 1, 31))
        answer = api.get(f"{URL}/{path}", headers=admin.headers)
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:zea:problem:not-found")

    @pytest.mark.parametrize("revision", ["0", "-1", "x", "99999999999"])
    def test_of_a_revision_that_cannot_be_is_a_422(self, api: httpx.Client, admin: Person, revision: str) -> None:
        answer = api.get(f"{URL}/{REPORT_ID}", params={"revision": revision}, headers=admin.headers)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "revision")


class TestCommand:
    """zea report"""

    def test_makes_the_report_and_keeps_its_file(self, sessions: int, worker: None, tmp_path: Path) -> None:
        said = CliRunner().invoke(
            cli, ["report", "--from", "2026-01-01", "--to", "2026-01-31", "--output", str(tmp_path)]
        )
        assert said.exit_code == 0, said.output
        for part in (REPORT_ID, "2026-W03", "Íñigo", "2.00", str(tmp_path / f"{REPORT_ID}.csv")):
            assert part in said.output
        assert (tmp_path / f"{REPORT_ID}.csv").read_bytes().startswith(b"\xef\xbb\xbfbooking_id,coach_id")

    def test_answers_in_json(self, sessions: int, worker: None) -> None:
        said = CliRunner().invoke(cli, ["report", "--from", "2026-01-01", "--to", "2026-01-31", "--json"])
        made = json.loads(said.stdout)
        assert (made["report_id"], made["revision"], made["summary"]["total_sessions"]) == (REPORT_ID, 1, sessions)
        assert Path(made["csv_path"]).stat().st_size == made["csv_bytes"]

    @pytest.mark.parametrize(
        ("period", "said"),
        [
            (["--from", "2026-01-02", "--to", "2026-01-01"], "not before its first"),
            (["--from", "2026-01-01", "--to", "2026-01-31", "--coach", str(UUID(int=1))], "no such coach"),
            (["--from", "2026-01-01", "--to", "2026-01-31", "--coach", "x@example.com"], "no such coach"),
        ],
    )
    def test_of_what_cannot_be_is_refused(self, database: str, period: list[str], said: str) -> None:
        refused = CliRunner().invoke(cli, ["report", *period])
        assert said in str(refused.exception)

    @pytest.mark.parametrize("period", [[], ["--from", "2026-01-01"], ["--from", "x", "--to", "2026-01-01"]])
    def test_without_a_period_is_a_usage_error(self, period: list[str]) -> None:
        assert CliRunner().invoke(cli, ["report", *period]).exit_code == 2
