"""Payment reports: what is counted, on whose calendar, in which revision, and what is in the file."""

import csv
import io
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any, ClassVar
from uuid import UUID
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from tests.held_sessions import EXPORTED, STEPS, begin_report, held, person, report, run
from workflows.catalog import registry
from workflows.engine.client import ExecutionClient
from zea import config
from zea.db import transaction
from zea.reports import archive
from zea.reports.schemas import ReportView

OFFICE, TABLE, WRITTEN = (
    f"{{urn:oasis:names:tc:opendocument:xmlns:{each}:1.0}}" for each in ("office", "table", "text")
)
client = ExecutionClient(registry)
HOUR = timedelta(hours=1)
JANUARY = (date(2026, 1, 1), date(2026, 1, 31))
MORNING = datetime(2026, 1, 12, 12, tzinfo=UTC)


@pytest.fixture
def athlete(database: str) -> UUID:
    return person("athlete", "Ana")


@pytest.fixture
def coach(database: str) -> UUID:
    return person("coach", "Íñigo")


@pytest.fixture
def in_zone(database: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ZoneInfo]:
    """Do business in another zone."""

    def use(name: str) -> ZoneInfo:
        monkeypatch.setenv("ZEA_TIMEZONE", name)
        config.settings.cache_clear()
        return ZoneInfo(name)

    return use


def of(start: date, end: date, whose: UUID | None = None, revision: int | None = None) -> ReportView:
    """The report as admins see it."""
    with transaction() as db:
        found = archive.get_report(db, f"report-{whose or 'ALL_COACHES'}-{start}-{end}", revision)
        return ReportView.of(*found)


def file(start: date, end: date, revision: int | None = None) -> bytes:
    with transaction() as db:
        found = archive.get_file(db, f"report-ALL_COACHES-{start}-{end}", revision)
    content = b"".join(found.content())
    assert len(content) == found.size
    return content


def rows(content: bytes) -> list[dict[str, str]]:
    """By a reader that forgives nothing."""
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))


class TestSums:
    """What the coaches are paid for."""

    def test_add_minutes_and_then_divide(self, athlete: UUID, coach: UUID) -> None:
        for number, minutes in enumerate([90, 105, 90]):
            held(coach, athlete, [MORNING + 3 * number * HOUR], minutes)
        view = client.get_execution_status(report(*JANUARY))
        assert view.status == "completed"
        assert [step.step_name for step in view.steps] == list(STEPS)
        assert (view.output["total_minutes"], view.output["report_id"]) == (
            285,
            "report-ALL_COACHES-2026-01-01-2026-01-31",
        )
        made = of(*JANUARY)
        assert vars_of(made.summary) == {
            "total_hours": 4.75,
            "total_sessions": 3,
            "average_session_minutes": 95,
            "sessions_awaiting_feedback": 0,
        }
        assert vars_of(made.period) == {
            "start_date": JANUARY[0],
            "end_date": JANUARY[1],
            "timezone": "America/Santiago",
        }
        (week,) = made.weekly_breakdown
        assert (week.week, week.sessions, week.total_minutes, week.total_hours) == ("2026-W03", 3, 285, 4.75)
        (paid,) = made.coaches
        assert (paid.coach_id, paid.coach_name, paid.sessions, paid.total_hours) == (coach, "Íñigo", 3, 4.75)

    def test_count_what_was_held_whether_or_not_it_waits_for_feedback(self, athlete: UUID, coach: UUID) -> None:
        for number, status in enumerate(["COMPLETED", "FINALIZED", "CONFIRMED", "CANCELLED", "NO_SHOW", "COMPLETED"]):
            held(coach, athlete, [MORNING + 2 * number * HOUR], status=status)
        report(*JANUARY)
        summary = of(*JANUARY).summary
        assert (summary.total_sessions, summary.sessions_awaiting_feedback) == (3, 2)

    def test_of_one_coach_leave_out_the_others(self, athlete: UUID, coach: UUID) -> None:
        other = person("coach", "Berta")
        held(coach, athlete, [MORNING, MORNING + 2 * HOUR])
        held(other, athlete, [MORNING + 4 * HOUR])
        report(*JANUARY, coach_id=other)
        report(*JANUARY)
        assert of(*JANUARY, whose=other).summary.total_sessions == 1
        assert [(each.coach_name, each.sessions) for each in of(*JANUARY).coaches] == [("Berta", 1), ("Íñigo", 2)]

    def test_of_nothing_are_nothing(self, database: str) -> None:
        report(*JANUARY)
        made = of(*JANUARY)
        assert vars_of(made.summary) == dict.fromkeys(vars_of(made.summary), 0)
        assert (made.weekly_breakdown, made.coaches, len(rows(file(*JANUARY)))) == ([], [], 0)


def vars_of(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


class TestCalendar:
    """Days and weeks are those of the business zone."""

    def test_the_last_half_hour_of_a_month_is_in_it(self, athlete: UUID, coach: UUID) -> None:
        zone = ZoneInfo("America/Santiago")
        held(coach, athlete, [datetime(2026, 1, 31, 23, 30, tzinfo=zone), datetime(2026, 1, 1, tzinfo=zone)])
        outside = [datetime(2026, 2, 1, tzinfo=zone) + HOUR, datetime(2025, 12, 31, 22, 59, tzinfo=zone)]
        held(coach, athlete, outside)
        report(*JANUARY)
        assert [row["date"] for row in rows(file(*JANUARY))] == ["2026-01-01", "2026-01-31"]
        assert rows(file(*JANUARY))[-1]["start_time"] == "2026-01-31 23:30:00"

    def test_the_turn_of_the_year_is_in_a_week_of_the_old_one(self, athlete: UUID, coach: UUID) -> None:
        zone = ZoneInfo("America/Santiago")
        days = [datetime(2026, 12, 28, 9, tzinfo=zone) + timedelta(days=day) for day in range(8)]
        held(coach, athlete, days, minutes=50)
        report(date(2026, 12, 1), date(2027, 1, 31))
        weeks = of(date(2026, 12, 1), date(2027, 1, 31)).weekly_breakdown
        assert [(each.week, each.sessions, each.total_minutes) for each in weeks] == [
            ("2026-W53", 7, 350),
            ("2027-W01", 1, 50),
        ]

    @pytest.mark.parametrize(
        ("name", "month", "end"),
        [
            ("America/Santiago", date(2026, 4, 1), date(2026, 4, 30)),
            ("America/Santiago", date(2026, 9, 1), date(2026, 9, 30)),
            ("America/New_York", date(2026, 3, 1), date(2026, 3, 31)),
            ("America/New_York", date(2026, 11, 1), date(2026, 11, 30)),
            ("Europe/Madrid", date(2026, 3, 1), date(2026, 3, 31)),
            ("Europe/Madrid", date(2026, 10, 1), date(2026, 10, 31)),
        ],
    )
    def test_a_month_in_which_clocks_change_has_all_of_its_hours(
        self, athlete: UUID, coach: UUID, in_zone: Callable[[str], ZoneInfo], name: str, month: date, end: date
    ) -> None:
        """A session each half hour, from a day before the month to a day after it: Python's calendar is the judge."""
        zone = in_zone(name)
        first = datetime(month.year, month.month, month.day, tzinfo=UTC) - timedelta(days=1)
        moments = [first + number * HOUR / 2 for number in range(48 * (end - month + timedelta(days=3)).days)]
        held(coach, athlete, moments, minutes=30)
        report(month, end)
        days = [moment.astimezone(zone).date() for moment in moments]
        inside = [day for day in days if month <= day <= end]
        made = of(month, end)
        assert (made.summary.total_sessions, made.summary.total_hours) == (len(inside), len(inside) / 2)
        weeks = Counter("{}-W{:02}".format(*day.isocalendar()) for day in inside)
        assert {each.week: each.sessions for each in made.weekly_breakdown} == weeks
        assert Counter(row["date"] for row in rows(file(month, end))) == Counter(map(str, inside))
        hours = len(inside) / 2
        assert hours - 24 * (end - month + timedelta(days=1)).days in (-1, 1), "there is a change of clocks in it"


class TestRevisions:
    """A period is reported again, and what was said before can still be read."""

    def test_count_up_and_stay_readable(self, athlete: UUID, coach: UUID) -> None:
        held(coach, athlete, [MORNING])
        report(*JANUARY)
        before = file(*JANUARY)
        held(coach, athlete, [MORNING + 2 * HOUR])
        report(*JANUARY)
        current, old = of(*JANUARY), of(*JANUARY, revision=1)
        assert (current.revision, current.is_current, current.summary.total_sessions) == (2, True, 2)
        assert (old.revision, old.is_current, old.latest_revision, old.summary.total_sessions) == (1, False, 2, 1)
        assert file(*JANUARY, revision=1) == before
        assert len(rows(file(*JANUARY))) == 2

    def test_with_older_data_do_not_become_current(self, athlete: UUID, coach: UUID) -> None:
        held(coach, athlete, [MORNING])
        slow = run(begin_report(*JANUARY), STEPS[:1])
        held(coach, athlete, [MORNING + 2 * HOUR])
        report(*JANUARY)
        run(slow, STEPS[1:])
        assert (of(*JANUARY).revision, of(*JANUARY).summary.total_sessions) == (1, 2)
        late = of(*JANUARY, revision=2)
        assert (late.execution_id, late.is_current, late.summary.total_sessions) == (slow, False, 1)

    def test_run_anew_from_a_step_are_made_of_the_same_lines(self, athlete: UUID, coach: UUID) -> None:
        """A correction of the sums is a revision with the same data, and current; a file that is there stays."""
        held(coach, athlete, [MORNING])
        first = report(*JANUARY)
        held(coach, athlete, [MORNING + 2 * HOUR])
        again = client.rerun(first, actor="test", reason="the sums were wrong", from_step="calculate_hours")
        run(again.execution_id, STEPS[1:])
        assert (of(*JANUARY).revision, of(*JANUARY).summary.total_sessions) == (2, 1)
        sent_again = client.rerun(first, actor="test", reason="the mail was lost", from_step="export_csv")
        run(sent_again.execution_id, STEPS[5:])
        assert client.get_execution_status(sent_again.execution_id).status == "completed"
        assert file(*JANUARY, revision=1) == file(*JANUARY, revision=2)

    def test_that_failed_leave_no_gap(self, database: str) -> None:
        report(*JANUARY)
        client.cancel(run(begin_report(*JANUARY), STEPS[:4]), actor="test", reason="wrong period")
        report(*JANUARY)
        assert of(*JANUARY).revision == 2

    def test_of_fifty_at_once_are_whole_while_sessions_are_completed(self, athlete: UUID, coach: UUID) -> None:
        """Each is what was true at one moment: of one with newer data nothing is missing that an older one has."""
        other = person("coach", "Berta")
        waiting = held(coach, athlete, [MORNING + 2 * number * HOUR for number in range(150)], status="CONFIRMED")
        waiting += held(other, person("athlete", "Eva"), [MORNING + 2 * n * HOUR for n in range(150)], 45, "CONFIRMED")
        executions = [begin_report(*JANUARY) for _ in range(50)]
        with ThreadPoolExecutor(9) as threads:
            done = Event()
            completing = threads.submit(complete_in_pairs, waiting, done)
            for future in [threads.submit(run, each, EXPORTED) for each in executions]:
                future.result()
            done.set()
            assert completing.result() > 0
        revisions = [of(*JANUARY, revision=number) for number in range(1, 51)]
        assert {each.execution_id for each in revisions} == set(executions)
        in_order = sorted(revisions, key=lambda each: each.data_at)
        assert of(*JANUARY).revision == in_order[-1].revision
        seen: set[str] = set()
        for each in in_order:
            lines = rows(file(*JANUARY, revision=each.revision))
            minutes = sum(int(line["duration_minutes"]) for line in lines)
            assert each.summary.total_sessions == len(lines) == sum(week.sessions for week in each.weekly_breakdown)
            assert minutes == sum(week.total_minutes for week in each.weekly_breakdown)
            assert minutes == sum(paid.total_minutes for paid in each.coaches)
            assert Counter(line["coach_id"] for line in lines)[str(coach)] * 2 == len(lines), "a pair is torn apart"
            assert seen <= (seen := {line["booking_id"] for line in lines})
        assert len(seen) > len(rows(file(*JANUARY, revision=in_order[0].revision)))


def complete_in_pairs(booking_ids: list[UUID], done: Event) -> int:
    """Complete one session of each coach in one transaction, again and again; answers how many pairs."""
    half = len(booking_ids) // 2
    for number, pair in enumerate(zip(booking_ids[:half], booking_ids[half:], strict=True)):
        if done.is_set():
            return number
        with transaction() as db:
            db.execute(text("UPDATE bookings SET status = 'COMPLETED' WHERE id = ANY (:ids)"), {"ids": list(pair)})
    return half


def opened_by_libreoffice(path: Path) -> list[list[str]]:
    """The cells of the sheet, as LibreOffice understands them; none of them is a formula."""
    profile = f"-env:UserInstallation=file://{path.parent}/profile"
    command = ["soffice", "--headless", profile, "--infilter=CSV:44,34,76,1", "--convert-to", "fods", "--outdir"]
    subprocess.run([*command, str(path.parent), str(path)], check=True, capture_output=True, timeout=60)
    tree = ElementTree.parse(path.with_suffix(".fods"))
    assert tree.find(f".//{TABLE}table-cell[@{TABLE}formula]") is None
    return [[_value(each) for each in row.iter(f"{TABLE}table-cell")] for row in tree.iter(f"{TABLE}table-row")]


def _value(found: ElementTree.Element) -> str:
    for kind in ("date-value", "value"):
        if (value := found.get(OFFICE + kind)) is not None:
            return value
    return "\n".join(_text(each) for each in found.iter(f"{WRITTEN}p"))


def _text(paragraph: ElementTree.Element) -> str:
    """Tabs are elements of their own."""
    inner = "".join("\t" + (each.tail or "") for each in paragraph)
    return (paragraph.text or "") + inner


class TestFile:
    """What a spreadsheet opens."""

    NAMES = (
        "Íñigo Ñandú",
        'Ana "la Rápida", Pérez',
        "two\nlines",
        "=1+1",
        "-5",
        "+56 9 1234",
        "@SUM(A1)",
        "\tx",
        "＝1",
        "O'Higgins; sí",
        "Ana;=1+1;'x",
        "Eva\n@SUM(A1)",
    )

    # What would begin a formula, also where a semicolon or a line's end begins a cell; all others are as they are.
    ESCAPED: ClassVar = {
        "=1+1": "'=1+1",
        "-5": "'-5",
        "+56 9 1234": "'+56 9 1234",
        "@SUM(A1)": "'@SUM(A1)",
        "\tx": "'\tx",
        "＝1": "'＝1",
        "Ana;=1+1;'x": "Ana;'=1+1;'x",
        "Eva\n@SUM(A1)": "Eva\n'@SUM(A1)",
    }

    def test_gives_back_what_was_put_in(self, athlete: UUID) -> None:
        wanted: dict[str, str] = {}
        for number, name in enumerate(self.NAMES):
            coach = person("coach", name)
            (booking_id,) = held(coach, athlete, [MORNING + 2 * number * HOUR], minutes=60 + number)
            wanted[str(booking_id)] = name
        report(*JANUARY)
        content = file(*JANUARY)
        assert content.startswith(b"\xef\xbb\xbfbooking_id,coach_id,date,duration_minutes,")
        found = {row["booking_id"]: row["coach_name"] for row in rows(content)}
        assert found == {key: self.ESCAPED.get(name, name) for key, name in wanted.items()}
        assert [int(row["duration_minutes"]) for row in rows(content)] == [60 + n for n in range(len(self.NAMES))]
        assert {row["date"] for row in rows(content)} == {"2026-01-12", "2026-01-13"}

    @pytest.mark.skipif(not shutil.which("soffice"), reason="LibreOffice is not here: the strict reader has read it")
    def test_is_opened_by_libreoffice_with_the_same_values(self, athlete: UUID, tmp_path: Path) -> None:
        for number, name in enumerate(self.NAMES):
            held(person("coach", name), athlete, [MORNING + 2 * number * HOUR], minutes=60 + number)
        report(*JANUARY)
        (tmp_path / "report.csv").write_bytes(file(*JANUARY))
        header, *found = opened_by_libreoffice(tmp_path / "report.csv")
        assert header[:4] == ["booking_id", "coach_id", "date", "duration_minutes"]
        expected = rows(file(*JANUARY))
        assert [row[0] for row in found] == [row["booking_id"] for row in expected]
        assert [row[2] for row in found] == [row["date"] for row in expected]
        assert [row[3] for row in found] == [row["duration_minutes"] for row in expected]
        assert [row[4] for row in found] == [row["coach_name"] for row in expected]
        assert [row[6].replace("T", " ") for row in found] == [row["start_time"] for row in expected]

    def test_is_longer_than_a_page_and_a_part(
        self, athlete: UUID, coach: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("zea.reports.lines.LINES_AT_ONCE", 7)
        monkeypatch.setattr("zea.reports.csv_file.PART_BYTES", 256)
        expected = held(coach, athlete, [MORNING + 2 * number * HOUR for number in range(50)])
        report(*JANUARY)
        assert [row["booking_id"] for row in rows(file(*JANUARY))] == [str(each) for each in expected]

    def test_is_not_in_the_events(self, athlete: UUID, coach: UUID) -> None:
        held(coach, athlete, [MORNING + 2 * number * HOUR for number in range(200)])
        execution_id = report(date(2026, 1, 1), date(2026, 6, 30))
        with transaction() as db:
            said = db.execute(
                text("SELECT sum(octet_length(data::text)) FROM workflow_events WHERE execution_id = :id"),
                {"id": execution_id},
            ).scalar_one()
            kept = db.execute(
                text("SELECT octet_length(state::text) FROM workflow_executions WHERE id = :id"), {"id": execution_id}
            ).scalar_one()
        assert said + kept < 200 * 36, "less than the ids of the bookings alone"
