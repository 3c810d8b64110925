"""What ended long ago is moved into a file, and nothing is lost on the way, whatever ends the move."""

import gzip
import json
import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests import review
from tests.integration.test_interventions_api import Zea, zea
from tests.integration.test_search_plans import VALUES, crowd, plan_of
from tests.requested_booking import (
    BLOCK,
    NOTES,
    RequestedBooking,
    become_unknown,
    client,
    completed_booking,
    confirmed_booking,
    deliver,
    failed_booking,
    refused_booking,
)
from workflows.catalog import registry
from workflows.engine import archive as engine
from workflows.engine import store
from zea.bookings import answers
from zea.cli import archive as command
from zea.cli.archive_file import ArchiveFile, find_line
from zea.db import new_id, transaction
from zea.errors import NotFound, ZeaError

__all__ = ["crowd", "zea"]
YEAR = timedelta(days=365)
TABLES = ("workflow_executions", "workflow_events", "workflow_approvals", "workflow_private")
Lines = list[str]


@pytest.fixture(autouse=True)
def nothing_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workflows.engine.dispatch._publish", lambda signature, delay: None)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BATCH", 2)


def aged(*execution_ids: UUID, days: float = 100) -> None:
    """As if they had ended so long ago."""
    move = "UPDATE workflow_executions SET completed_at = completed_at - :days * interval '1 day' WHERE id = ANY (:ids)"
    with transaction() as db:
        db.execute(text(move), {"ids": list(execution_ids), "days": days})


def old_booking() -> RequestedBooking:
    booking = completed_booking()
    aged(booking.execution_id)
    return booking


def refuse(execution_id: UUID) -> None:
    """Have a rerun of a refused booking be refused as well."""
    deliver(execution_id, BLOCK)
    assert client.get_execution_status(execution_id).status == "failed"


def rows_of(execution_id: UUID) -> dict[str, int]:
    """How many rows of it there are in each table that has any."""
    counted = {}
    with transaction() as db:
        for table in TABLES:
            column = "id" if table == "workflow_executions" else "execution_id"
            query = text(f"SELECT count(*) FROM {table} WHERE {column} = :id")
            counted[table] = db.execute(query, {"id": execution_id}).scalar_one()
    return {table: number for table, number in counted.items() if number}


def standing() -> set[UUID]:
    with transaction() as db:
        return set(db.execute(text("SELECT id FROM workflow_executions")).scalars())


def value(statement: str, **arguments: Any) -> Any:
    with transaction() as db:
        return db.execute(text(statement), arguments).scalar()


def archived(lines: Sequence[str]) -> list[UUID]:
    return [UUID(json.loads(line)["execution"]["id"]) for line in lines]


def archive(**how: Any) -> Lines:
    """What is told of what ended more than 90 days ago."""
    lines: Lines = []
    engine.archive(engine.older_than(timedelta(days=90), **how), lines.extend)
    return lines


def kept_in(folder: Path) -> Lines:
    """All lines of all files in a folder."""
    return [
        line
        for file in sorted(folder.glob("*.gz"))
        for line in gzip.decompress(file.read_bytes()).decode().splitlines()
    ]


class TestWhatGoes:
    """What ended long enough ago, and is of no use to anybody but readers of history."""

    def test_what_ended_longer_ago_goes_with_all_its_rows(self, database: str) -> None:
        old, young, open_booking = old_booking(), completed_booking(), confirmed_booking()
        aged(young.execution_id, days=89)
        assert archived(archive()) == [old.execution_id]
        assert rows_of(old.execution_id) == {}
        assert standing() == {young.execution_id, open_booking.execution_id}
        assert archive() == []

    def test_what_people_got_of_it_stays(self, database: str) -> None:
        old = old_booking()
        tables = ("bookings", "notifications", "credit_ledger", "slots")
        before = {table: value(f"SELECT count(*) FROM {table}") for table in tables}
        archive()
        assert {table: value(f"SELECT count(*) FROM {table}") for table in tables} == before
        assert value("SELECT execution_id FROM bookings") == old.execution_id

    def test_what_failed_and_can_be_resumed_stays_unless_it_is_wanted(self, database: str) -> None:
        failed, refused = failed_booking().execution_id, refused_booking().execution_id
        aged(failed, refused)
        assert archived(archive()) == [refused]
        assert archived(archive(failed_too=True)) == [failed]

    def test_what_was_cancelled_goes(self, database: str) -> None:
        review.create_tables()
        execution_id = review.waiting()
        review.client.cancel(execution_id, actor="test", reason="no")
        review.drive(execution_id)
        aged(execution_id)
        assert archived(archive()) == [execution_id]
        assert rows_of(execution_id) == {}

    def test_what_a_rerun_refers_to_goes_with_it_and_not_before(self, database: str) -> None:
        first = refused_booking().execution_id
        second = client.rerun(first, actor="test", reason="again").execution_id
        refuse(second)
        third = client.rerun(second, actor="test", reason="again").execution_id
        aged(first, second)
        assert archive() == [], "the third one has not ended"
        refuse(third)
        aged(third)
        assert sorted(archived(archive())) == sorted([first, second, third])

    def test_nor_does_a_chain_of_reruns_that_is_cut_by_a_batch(self, database: str, small_batches: None) -> None:
        chain = [refused_booking().execution_id]
        for _ in range(4):
            chain.append(client.rerun(chain[-1], actor="test", reason="again").execution_id)
            refuse(chain[-1])
        aged(*chain)
        assert sorted(archived(archive())) == sorted(chain)

    def test_what_is_not_counted_yet_stays(self, database: str) -> None:
        old = old_booking()
        value("UPDATE workflow_counted SET until = until - interval '1 year' RETURNING 1")
        assert archive() == []
        value("UPDATE workflow_counted SET until = until + interval '1 year' RETURNING 1")
        assert archived(archive()) == [old.execution_id]

    def test_what_was_counted_stays_counted(self, database: str) -> None:
        value("INSERT INTO workflow_counts VALUES ('execution.started', 'w', '', 0, 7, 0) RETURNING 1")
        old_booking()
        archive()
        assert value("SELECT count FROM workflow_counts") == 7


class TestPrivacy:
    """What people wrote is erased with the execution that it was written for."""

    def test_personal_values_are_erased_and_not_kept(self, database: str) -> None:
        old = old_booking()
        assert value("SELECT count(*) FROM workflow_private") == 1
        (line,) = archive()
        assert NOTES not in line
        assert {"personal": True} in json.loads(line)["execution"]["inputs"].values()
        assert value("SELECT count(*) FROM workflow_private") == 0
        assert rows_of(old.execution_id) == {}

    def test_answers_are_not_kept_either(self, database: str) -> None:
        review.create_tables()
        execution_id = review.waiting()
        review.approve(execution_id, "ask_author", remark="her left knee")
        review.client.cancel(execution_id, actor="test", reason="no")
        review.drive(execution_id)
        aged(execution_id)
        (line,) = archive()
        assert "knee" not in line
        assert value("SELECT count(*) FROM workflow_private") == 0

    def test_only_the_owner_may_read_the_file(self, database: str, tmp_path: Path) -> None:
        file = ArchiveFile(tmp_path / "new")
        file.append(["{}"])
        assert file.path
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700


class TestEventsStay:
    """Nothing but archiving removes events."""

    REMOVE = "DELETE FROM workflow_events"

    def test_an_ordinary_delete_is_refused_after_archiving_on_the_same_connection(self, database: str) -> None:
        old_booking()
        young = completed_booking()
        archive()
        with pytest.raises(DBAPIError, match="append-only"):
            value(f"{self.REMOVE} RETURNING 1")
        assert "workflow_events" in rows_of(young.execution_id)

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE workflow_events SET actor = 'somebody else'",
            "TRUNCATE workflow_events",
            "DELETE FROM credit_ledger",
        ],
    )
    def test_archiving_removes_and_changes_nothing_else(self, database: str, statement: str) -> None:
        completed_booking()
        with transaction() as db:
            store.cursor(db).execute(engine.SAY)
            with pytest.raises(DBAPIError, match="append-only"):
                db.execute(text(statement))
            db.rollback()


class TestNothingIsLost:
    """The lines are on disk before the rows go, and the rows stay until they are."""

    def test_it_goes_in_batches_each_in_a_transaction_of_its_own(self, database: str, small_batches: None) -> None:
        old = {old_booking().execution_id for _ in range(5)}
        batches: list[set[UUID]] = []

        def keep(lines: Sequence[str]) -> None:
            assert standing() == old - set().union(*batches), "these rows stand while their lines are kept"
            batches.append(set(archived(lines)))

        assert engine.archive(engine.older_than(timedelta(days=90)), keep) == 5
        assert [len(batch) for batch in batches] == [2, 2, 1]
        assert standing() == set()

    def test_what_cannot_be_kept_is_not_removed(self, database: str, small_batches: None, tmp_path: Path) -> None:
        old = {old_booking().execution_id for _ in range(3)}
        file = ArchiveFile(tmp_path)

        def keep_once(lines: Sequence[str]) -> None:
            if file.path:
                raise ZeaError("The disk is full.")
            file.append(lines)

        with pytest.raises(ZeaError):
            engine.archive(engine.older_than(timedelta(days=90)), keep_once)
        assert set(archived(kept_in(tmp_path))) == old - standing()
        assert len(standing()) == 1

    def test_what_cannot_be_removed_is_told_again(self, database: str) -> None:
        old = old_booking().execution_id
        before, first = rows_of(old), []

        def fail(*_: object) -> None:
            raise ZeaError("no")

        with pytest.raises(ZeaError):
            engine.archive(engine.older_than(timedelta(days=90)), first.extend, fail)
        assert rows_of(old) == before
        assert archive() == first

    def test_what_is_resumed_meanwhile_stays(self, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        failed = failed_booking().execution_id
        aged(failed)
        find = engine._find

        def find_and_resume(*arguments: Any) -> Any:
            found = find(*arguments)
            client.resume(failed, actor="test")
            return found

        monkeypatch.setattr(engine, "_find", find_and_resume)
        assert archive(failed_too=True) == []
        assert standing() == {failed}

    def test_what_is_rerun_meanwhile_stays(self, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        refused = refused_booking().execution_id
        aged(refused)
        find = engine._find

        def find_and_rerun(*arguments: Any) -> Any:
            found = find(*arguments)
            client.rerun(refused, actor="test", reason="again")
            return found

        monkeypatch.setattr(engine, "_find", find_and_rerun)
        assert archive() == []
        assert refused in standing()

    def test_what_somebody_is_at_is_left_for_the_next_time(self, database: str) -> None:
        held, free = old_booking().execution_id, old_booking().execution_id
        with transaction() as db:
            store.lock(db, held)
            assert archived(archive()) == [free]
        assert archived(archive()) == [held]

    def test_two_at_once_take_each_execution_once(self, database: str, small_batches: None) -> None:
        old = {old_booking().execution_id for _ in range(5)}
        mine: Lines = []
        others: Lines = []

        def keep(lines: Sequence[str]) -> None:
            mine.extend(lines)
            others.extend(archive())

        engine.archive(engine.older_than(timedelta(days=90)), keep)
        assert sorted(archived([*mine, *others])) == sorted(old)
        assert others


KILLED = """
import os, sys
from pathlib import Path
from zea.cli import archive_file
from workflows.engine import archive
archive.BATCH = 2
count = 0
def keep(lines, file=archive_file.ArchiveFile(Path(sys.argv[1])), append=archive_file._append):
    global count
    count += 1
    if count == 2 and sys.argv[2] == "writing":
        def half(path, member):
            append(path, member[: len(member) // 2])
            os.kill(os.getpid(), 9)
        archive_file._append = half
    file.append(lines)
    if count == 2:
        os.kill(os.getpid(), 9)
archive.archive(archive.older_than(archive.timedelta(days=90)), keep)
"""


@pytest.mark.parametrize("where", ["writing", "removing"])
def test_killed_in_the_middle_nothing_is_lost(database: str, zea: Zea, tmp_path: Path, where: str) -> None:
    old = [old_booking().execution_id for _ in range(6)]
    shown = {each: client.get_execution_status(each) for each in old}
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), where], check=False, timeout=30)
    assert killed.returncode == -9
    left = standing()
    assert len(left) == 4
    (file,) = tmp_path.glob("*.gz")
    for each in set(old) - left:
        assert read_back(file, each).execution == shown[each]
    with suppress(NotFound):
        for each in left:
            assert read_back(file, each).execution == shown[each]
    assert zea("archive", "--older-than", "90d", "--to", tmp_path, "--yes").exit_code == 0
    assert standing() == set()
    files = list(tmp_path.glob("*.gz"))
    assert all(any(is_in(file, each) for file in files) for each in old)


def read_back(file: Path, execution_id: UUID) -> engine.Archived:
    return engine.read_back(find_line(file, execution_id), registry)


def is_in(file: Path, execution_id: UUID) -> bool:
    try:
        return bool(find_line(file, execution_id))
    except NotFound:
        return False


def test_a_batch_that_does_not_fit_leaves_the_file_as_it_was(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = ArchiveFile(tmp_path)
    file.append(["one"])
    assert file.path
    before = file.path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(ZeaError, match="cannot be written: No space left"):
            file.append(["two"])
    assert file.path.read_bytes() == before
    file.append(["three"])
    assert kept_in(tmp_path) == ["one", "three"]


class TestCommand:
    """`zea archive` and `zea archive show`."""

    def test_it_shows_what_would_go_and_changes_nothing(self, zea: Zea) -> None:
        old = old_booking().execution_id
        ran = zea("archive", "--older-than", "90d")
        assert ran.exit_code == 0
        assert ran.output.splitlines()[1].split() == ["zea_sport.BookingRequest", "completed", "1"]
        assert "1 ended before " in ran.output
        assert "nothing was changed. To archive them, add --yes." in ran.output
        assert standing() == {old}
        told = json.loads(zea("archive", "--older-than", "P90D", "--json").output)
        assert told["executions"] == 1
        assert told["items"] == [{"workflow": "zea_sport.BookingRequest", "status": "completed", "number": 1}]

    def test_what_is_shown_of_the_file_is_what_was_shown_before(self, zea: Zea, tmp_path: Path) -> None:
        old = [old_booking().execution_id, old_booking().execution_id]
        shown = {each: (zea("status", each).output, zea("events", each).output) for each in old}
        as_json = {
            each: [json.loads(zea(name, each, "--json").output) for name in ("status", "events")] for each in old
        }
        ran = zea("archive", "--older-than", "7776000", "--yes")
        (file,) = (tmp_path / "zea" / "archive").glob("*.jsonl.gz")
        assert ran.output.splitlines()[0] == f"Archived 2 executions in {file}."
        for each in old:
            assert zea("archive", "show", file, each).output == "".join(shown[each])
            told = json.loads(zea("archive", "show", file, each, "--json").output)
            assert [told["execution"], told["events"]] == [as_json[each][0], as_json[each][1]["items"]]
        assert zea("status", old[0]).exit_code == 1
        gone = new_id()
        assert zea("archive", "show", file, gone) == (1, "", f"zea: There is no execution {gone} in {file}.\n")

    def test_approvals_and_reruns_are_read_back_too(self, database: str, tmp_path: Path) -> None:
        review.create_tables()
        execution_id = review.waiting()
        review.approve(execution_id, "ask_author", remark="her left knee")
        review.client.cancel(execution_id, actor="test", reason="no")
        review.drive(execution_id)
        aged(execution_id)
        before = review.client.get_execution_status(execution_id), review.client.events(execution_id)
        (line,) = archive()
        assert engine.read_back(line, review.registry) == before

    def test_what_this_release_does_not_know_is_archived_and_shown(self, zea: Zea, tmp_path: Path) -> None:
        old = old_booking().execution_id
        become_unknown(old)
        shown = zea("status", old).output
        assert zea("archive", "--older-than", "90d", "--to", tmp_path, "--yes").exit_code == 0
        (file,) = tmp_path.glob("*.gz")
        assert zea("archive", "show", file, old).output.startswith(shown)

    def test_without_anything_to_archive_there_is_no_file(self, zea: Zea, tmp_path: Path) -> None:
        ran = zea("archive", "--older-than", "90d", "--to", tmp_path / "new", "--yes", "--json")
        told = json.loads(ran.output)
        assert (told["executions"], told["file"]) == (0, None)
        assert not (tmp_path / "new").exists()

    def test_a_folder_that_cannot_be_written_is_told(self, zea: Zea, tmp_path: Path) -> None:
        old = old_booking().execution_id
        (tmp_path / "taken").write_text("")
        ran = zea("archive", "--older-than", "90d", "--to", tmp_path / "taken", "--yes")
        assert (ran.exit_code, ran.output) == (1, "")
        assert ran.complaint.startswith(f"zea: {tmp_path / 'taken'} cannot be written: ")
        assert standing() == {old}

    @pytest.mark.parametrize(
        "age", ["", "x", "23h", "86399", "PT23H", "-90d", "nan", "inf", "999999d", "9" * 400, "٩٠d"]
    )
    def test_a_wrong_age_is_a_usage_error(self, zea: Zea, age: str) -> None:
        ran = zea("archive", "--older-than", age)
        assert (ran.exit_code, ran.output) == (2, "")

    @pytest.mark.parametrize("arguments", [(), ("show",), ("show", "nowhere.gz", str(UUID(int=1)))])
    def test_so_is_half_of_a_command(self, zea: Zea, arguments: tuple[str, ...]) -> None:
        assert zea("archive", *arguments).exit_code == 2


class TestWhatHasOutlivedItsUse:
    """Rows that stand for nothing any more go as well."""

    KEY = """
        INSERT INTO idempotency_keys (caller, route, key, request_hash, created_at)
        VALUES ('u', 'r', :key, '', now() - :age) RETURNING 1"""

    def test_keys_and_tokens_whose_time_is_over_are_removed(self, zea: Zea, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(command, "PRUNED_AT_ONCE", 2)
        for number in range(5):
            value(self.KEY, key=f"old {number}", age=timedelta(hours=26))
        value(self.KEY, key="young", age=timedelta(hours=23))
        completed_booking()
        token = """
            INSERT INTO refresh_tokens (id, user_id, family_id, token_hash, expires_at)
            SELECT :id, (SELECT id FROM users LIMIT 1), :id, :hash, now() + :left RETURNING 1"""
        for name, left in (("expired", -1), ("good", 1)):
            value(token, id=new_id(), hash=name, left=timedelta(minutes=left))
        told = json.loads(zea("archive", "--older-than", "90d", "--yes", "--json").output)
        assert (told["idempotency_keys"], told["refresh_tokens"]) == (5, 1)
        assert value("SELECT string_agg(key, ',') FROM idempotency_keys") == "young"
        assert value("SELECT string_agg(token_hash, ',') FROM refresh_tokens") == "good"

    def test_answers_go_with_their_executions(self, zea: Zea) -> None:
        old, young = completed_booking().execution_id, completed_booking().execution_id
        with transaction() as db:
            for each in (old, young):
                answers.accept(db, each)
        aged(old)
        zea("archive", "--older-than", "90d", "--yes")
        assert value("SELECT execution_id FROM booking_answers") == young


@pytest.mark.parametrize("planned", ["force_custom_plan", "force_generic_plan"])
def test_it_reads_what_goes_and_not_all_there_is(crowd: psycopg.Connection, planned: str) -> None:
    crowd.execute(f"SET LOCAL plan_cache_mode = {planned}")
    old = {"before": VALUES["before"], "failed_too": False}
    plan = plan_of(crowd, engine.FIND, {**old, "at": VALUES["before"], "id": UUID(int=0), "limit": 200})
    assert "Backward using ix_workflow_executions_completed_at on" in plan, plan
    assert "Sort" not in plan, plan
    crowd.execute("SET LOCAL enable_seqscan = off")
    plan = plan_of(crowd, "SELECT 1 FROM ONLY workflow_executions x WHERE %(id)s = rerun_of", {"id": UUID(int=0)})
    assert "ix_workflow_executions_rerun_of" in plan, plan
