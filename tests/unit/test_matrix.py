"""`make test-matrix`: every server is tried, what cannot be had is a notice, and what fails is named."""

from pathlib import Path

import pytest

from tests.matrix import __main__ as matrix
from tests.matrix import obtaining, rows
from tests.matrix.obtaining import Obtained
from tests.matrix.rows import Row, rows_of

OLD, NEW, REDIS, VALKEY, POOLER = (Path("/", name) for name in ("15", "17", "redis", "valkey", "pgbouncer"))


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "version", lambda program: "1.2")


def test_every_server_that_was_found_is_tried_and_the_pooler_before_the_oldest() -> None:
    found = Obtained(postgresql={17: NEW, 15: OLD}, brokers=[REDIS, VALKEY], pgbouncer=POOLER)
    assert rows_of(found) == [Row(OLD, REDIS), Row(NEW, VALKEY), Row(OLD, REDIS, POOLER)]


def test_a_broker_alone_is_tried_with_the_embedded_postgresql() -> None:
    [row] = rows_of(Obtained(brokers=[VALKEY]))
    assert row.options == ["--other-broker=/valkey"]
    assert row.name == "the embedded PostgreSQL, Valkey 1.2"


def test_nothing_found_is_no_failure_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert matrix.report([], ["Redis: it rains"]) == 0
    assert "skipped  Redis: it rains\nNothing was run" in capsys.readouterr().out


def test_a_row_that_fails_is_named_and_fails_all(capsys: pytest.CaptureFixture[str]) -> None:
    good = matrix.Outcome(Row(OLD, None), ("9 passed", "2 passed"), True, 1.0)
    bad = matrix.Outcome(Row(OLD, None, POOLER), ("1 failed, 8 passed", "2 passed"), False, 1.0)
    assert matrix.report([good, bad], []) == 1
    lines = capsys.readouterr().out.strip().splitlines()
    assert [line.split()[0] for line in lines] == ["ok", "FAIL"]
    assert "PostgreSQL 1.2, PgBouncer 1.2, the embedded Valkey" in lines[1]
    assert "1 failed, 8 passed" in lines[1]


@pytest.mark.parametrize("user", [0, 1000], ids=["root", "somebody else"])
def test_without_apt_nothing_is_installed(monkeypatch: pytest.MonkeyPatch, user: int) -> None:
    monkeypatch.setattr(obtaining.os, "geteuid", lambda: user)
    monkeypatch.setattr(obtaining, "_is_there", lambda package: False)
    monkeypatch.setattr(obtaining.shutil, "which", lambda *_, **__: None)
    found = Obtained()
    obtaining._install(found)
    assert found.missing == ["postgresql, redis-server, valkey-server, pgbouncer: this is no Debian or Ubuntu"]


def test_whoever_may_not_install_is_told_who_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obtaining.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(obtaining, "_is_there", lambda package: package != "pgbouncer")
    monkeypatch.setattr(obtaining.shutil, "which", lambda name, **_: None if name == "sudo" else f"/usr/bin/{name}")
    found = Obtained()
    obtaining._install(found)
    assert found.missing == ["pgbouncer: only root, or sudo without a password, may install packages"]
