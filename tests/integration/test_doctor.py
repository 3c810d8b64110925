"""`zea doctor` beside servers that run and processes that do not: each is named, with what to do."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from tests.requested_booking import failed_booking, requested_booking
from zea import config
from zea.cli import checkup
from zea.cli.app import app
from zea.cli.checkup import Checkup, Level
from zea.db import transaction

Found = dict[str, list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch, database: str) -> None:
    monkeypatch.setattr(checkup, "PATIENCE", 0.2)


def doctor() -> tuple[int, Found]:
    """The exit code, and what was found by what was looked at."""
    said = CliRunner().invoke(app, ["doctor", "--json"])
    found: Found = {}
    for each in json.loads(said.stdout)["items"]:
        found.setdefault(each["name"], []).append(each)
    return said.exit_code, found


def levels(found: Found, name: str) -> list[str]:
    return [each["level"] for each in found[name]]


def test_servers_that_run_are_fine_and_processes_that_do_not_are_named(sweeps_run: None) -> None:
    code, found = doctor()
    assert code == 1
    for name in ("settings", "database", "migrations", "definitions", "clock", "broker", "beat", "due work", "disk"):
        assert set(levels(found, name)) <= {"ok", "warn"}, found[name]
    for name in ("worker", "sweeper", "reporter"):
        (line,) = found[name]
        assert (line["level"], "nobody works off" in line["said"], "Procfile" in line["advice"]) == ("fail", True, True)
    assert (levels(found, "api"), levels(found, "flower")) == (["warn"], ["warn"])


def test_it_is_a_table_for_people(sweeps_run: None) -> None:
    said = CliRunner().invoke(app, ["doctor"])
    assert "Start the worker, see the Procfile." in said.stdout
    assert said.exit_code == 1


def test_beat_that_never_came_is_named(database: str) -> None:
    (line,) = doctor()[1]["beat"]
    assert (line["level"], line["said"]) == ("fail", "no sweep yet")


@pytest.mark.parametrize(
    ("change", "name", "level", "part"),
    [
        ("DELETE FROM alembic_version", "migrations", "fail", "zea db upgrade"),
        ("UPDATE alembic_version SET version_num = 'of_tomorrow'", "migrations", "warn", "Use that release"),
        ("UPDATE workflow_definitions SET fingerprint = 'x', shape = '{}'", "definitions", "fail", "release"),
        ("UPDATE workflow_queues SET probed_at = now() - interval '1 minute'", "beat", "fail", "Start beat"),
        ("UPDATE workflow_queues SET passed_at = now() - interval '1 minute'", "queue", "fail", "Start its worker"),
        ("UPDATE workflow_executions SET due_at = now() - interval '1 minute'", "due work", "fail", "zea active"),
    ],
)
def test_what_is_wrong_in_the_database_is_named(
    sweeps_run: None, change: str, name: str, level: str, part: str
) -> None:
    requested_booking()
    with transaction() as db:
        from workflows.catalog import registry

        registry.register(db)
        db.execute(text(change))
    (line,) = doctor()[1][name]
    assert (line["level"], part in line["advice"]) == (level, True), line


def test_what_failed_lately_is_a_warning(sweeps_run: None) -> None:
    failed_booking()
    (line,) = doctor()[1]["failures"]
    assert (line["level"], line["said"]) == ("warn", "1 in the last hour")


@pytest.mark.parametrize(
    ("variable", "name", "part"),
    [("DATABASE_URL", "database", "correct DATABASE_URL"), ("REDIS_URL", "broker", "correct REDIS_URL")],
)
def test_a_server_that_is_away_is_named_and_the_rest_is_still_looked_at(
    monkeypatch: pytest.MonkeyPatch, sweeps_run: None, variable: str, name: str, part: str
) -> None:
    from zea import db

    address = {"DATABASE_URL": "postgresql://zea@127.0.0.1:9/zea", "REDIS_URL": "redis://127.0.0.1:9/0"}[variable]
    monkeypatch.setenv(variable, address)
    db.close_connections()
    config.settings.cache_clear()
    code, found = doctor()
    assert code == 1
    assert any(each["level"] == "fail" and part in each["advice"] for each in found[name])
    assert "disk" in found


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {},
            [
                ("fail", "Flower has no password"),
                ("warn", "metrics are told to nobody"),
                ("warn", "mail becomes files in a folder"),
            ],
        ),
        (
            {
                "ZEA_FLOWER_BASIC_AUTH": "a:b",
                "ZEA_METRICS_TOKEN": "a-token-that-nobody-guesses",
                "ZEA_SMTP_URL": "smtp://mail.example",
            },
            [],
        ),
    ],
)
def test_settings_that_are_unsafe_outside_local_are_named(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], expected: list[tuple[str, str]]
) -> None:
    for variable, value in {"ZEA_ENVIRONMENT": "production", "ZEA_SECRET_KEY": "x" * 32, **settings}.items():
        monkeypatch.setenv(variable, value)
    config.settings.cache_clear()
    found = [each for each in Checkup()._settings() if each.level is not Level.OK]
    assert [(each.level, each.said) for each in found] == expected


INFO: dict[str, Any] = {
    "redis_version": "7.4.0",
    "aof_enabled": 1,
    "maxmemory_policy": "noeviction",
    "used_memory": 10,
    "maxmemory": 100,
}


@pytest.mark.parametrize(
    ("change", "level", "part"),
    [
        ({}, None, ""),
        ({"aof_enabled": 0}, "warn", "appendonly"),
        ({"aof_enabled": 0, "rdb_last_save_time": 1_700_000_000}, None, ""),
        ({"maxmemory_policy": "allkeys-lru"}, "fail", "noeviction"),
        ({"used_memory": 90}, "warn", "piles up"),
        ({"used_memory": 99}, "fail", "piles up"),
        ({"maxmemory": 0}, None, ""),
    ],
)
def test_a_broker_that_may_lose_messages_is_named(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], level: str | None, part: str
) -> None:
    monkeypatch.setattr("redis.Redis.info", lambda self: {**INFO, **change})
    found = [each for each in Checkup()._broker() if each.level is not Level.OK]
    assert [each.level for each in found] == ([level] if level else [])
    assert all(part in (each.advice or "") for each in found)


def test_a_worker_of_another_release_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    old = ["booking_request.notify_coach", "booking_request.notify_athlete"]
    monkeypatch.setattr("celery.app.control.Inspect.registered", lambda self: {"worker@old": old})
    monkeypatch.setattr("celery.app.control.Inspect.active_queues", lambda self: None)
    (line,) = [each for each in Checkup()._workers() if each.name == "release"]
    assert line.level is Level.WARN
    assert "worker@old does not know" in line.said
    assert "booking_request.validate_slot_to_confirm_booking" in line.said


def test_a_clock_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    right: Callable[[], Any] = checkup.clock.now
    from datetime import timedelta

    monkeypatch.setattr(checkup.clock, "now", lambda: right() + timedelta(seconds=3))
    (line,) = Checkup()._clock()
    assert (line.level, "NTP" in (line.advice or "")) == (Level.WARN, True)
