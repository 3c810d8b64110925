"""`zea up` as people use it: started, refused, killed at any depth, stopped, with nobody left behind."""

import json
import signal
import socket
import stat
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from tests.e2e.machine import Machine, end, started
from tests.waiting import wait_until
from zea.cli import demo
from zea.cli.app import COMMANDS
from zea.cli.people import PASSWORD
from zea.config import CONNECTION_FILE
from zea.stack.ports import LOOPBACK
from zea.stack.servers import REMEMBERED_FILE

STARTED_WITHIN = 60.0
WALKED_WITHIN = 25.0
DAY = 86400


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path / "zea")
    yield made
    for process in made.processes():
        with suppress(psutil.Error):
            process.kill()


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A system that serves; tests may kill its parts, which come back."""
    machine = Machine(tmp_path_factory.mktemp("serving") / "zea")
    up = started(machine)
    yield machine
    assert end(up) == 0
    assert machine.processes() == []


def runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def one_line(output: str) -> str:
    lines = output.strip().splitlines()
    assert len(lines) == 1, output
    return lines[0]


def test_it_serves_the_api_and_flower(serving: Machine) -> None:
    assert serving.ready()
    wait_until(lambda: serving.answers(f"{serving.connection()['flower_url']}/healthcheck"), 30)


def test_flower_asks_for_its_login(serving: Machine) -> None:
    connection = serving.connection()
    address = connection["flower_url"].removeprefix("http://")
    wait_until(lambda: serving.answers(f"http://{address}/healthcheck"), 30)
    assert not serving.answers(f"http://{address}/workers")
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    passwords.add_password(None, f"http://{address}", connection["flower_user"], connection["flower_password"])
    opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(passwords))
    with opener.open(f"http://{address}/workers", timeout=5) as response:
        assert response.status == 200


def test_the_connection_file_is_private_and_works(serving: Machine) -> None:
    path = serving.directory / CONNECTION_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with psycopg.connect(serving.connection()["database_url"]) as connection:
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)


def test_a_second_one_in_the_same_directory_is_refused_and_the_first_serves_on(serving: Machine) -> None:
    second = serving.run("up")
    assert second.returncode == 3
    assert f"`zea up` runs already in {serving.directory}" in one_line(second.stderr)
    assert serving.ready()


@pytest.mark.parametrize(
    "words", ["uvicorn zea.api.app", "worker@%h", "sweeper@%h", "-A tasks beat", "-A tasks flower"]
)
def test_a_killed_process_is_started_again(serving: Machine, words: str) -> None:
    wait_until(lambda: serving.child(words), 30)
    first = serving.child(words)
    assert first is not None
    pool = first.children(recursive=True)
    first.kill()
    wait_until(lambda: (again := serving.child(words)) and again not in [first, *pool], 30)
    assert not any(map(runs, pool))
    wait_until(serving.ready, STARTED_WITHIN)


@pytest.mark.parametrize("name", ["postgres", "valkey-server"])
def test_a_killed_server_is_started_again_at_its_address(serving: Machine, name: str) -> None:
    wait_until(lambda: serving.server(name), 30)
    leader = serving.server(name)
    assert leader is not None
    leader.kill()
    wait_until(lambda: not runs(leader))
    wait_until(serving.ready, STARTED_WITHIN)


def test_a_stop_leaves_nothing_and_says_where_nothing_is(machine: Machine) -> None:
    up = started(machine)
    assert end(up, signal.SIGINT) == 0
    assert machine.processes() == []
    assert not (machine.directory / CONNECTION_FILE).exists()


def test_a_second_signal_hurries(machine: Machine) -> None:
    up = started(machine)
    assert up.stdout is not None
    up.send_signal(signal.SIGINT)
    assert any("press Ctrl-C again" in line for line in up.stdout)
    assert end(up, signal.SIGINT) == 0
    assert machine.processes() == []


def test_sigkill_takes_everything_with_it_and_the_next_start_works(machine: Machine) -> None:
    up = started(machine)
    assert end(up, signal.SIGKILL) == -signal.SIGKILL
    assert (machine.directory / CONNECTION_FILE).exists()
    # At once: it waits for the guardian that clears away what was left.
    result = machine.run("up", "--exit")
    assert (result.returncode, result.stderr) == (0, "")
    wait_until(lambda: machine.processes() == [], 10)


def test_a_command_after_a_crash_says_that_nothing_answers(machine: Machine) -> None:
    end(started(machine), signal.SIGKILL)
    wait_until(lambda: machine.processes() == [], 10)
    result = machine.run("list")
    assert result.returncode == 3
    assert "start `zea up`" in one_line(result.stderr)


def test_a_wrong_setting_is_named(machine: Machine) -> None:
    result = machine.run("up", ZEA_API_PORT="none")
    assert result.returncode == 3
    assert "ZEA_API_PORT" in one_line(result.stderr)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_table_exists(machine: Machine, command: str) -> None:
    assert machine.run(command, "--help").returncode == 0


def test_exit_ends_once_it_was_ready(machine: Machine) -> None:
    result = machine.run("up", "--exit")
    assert (result.returncode, result.stderr) == (0, "")
    assert machine.processes() == []


def test_the_walk_shows_every_workflow_to_its_end_and_logs_nothing_private(machine: Machine) -> None:
    result = machine.run("up", "--demo", "--exit", ZEA_LOG_FORMAT="json")
    assert (result.returncode, result.stderr) == (0, "")
    shown = result.stdout
    for workflow, times in {"AthleteOnboarding": 1, "BookingRequest": 1, "SessionCompletion": 2}.items():
        assert shown.count(f"zea_sport.{workflow}  ") == times, shown
    assert shown.count("CONFIRMED") == 2
    assert "credits 9 → 8" in shown
    assert shown.count("│ answered") == 3
    assert shown.count("│ no answer in time") == 2
    assert shown.count("FINALIZED") == 2
    assert machine.processes() == []
    assert_nothing_private_is_logged(machine)
    assert_lines_say_what_they_are_about(machine)


def assert_nothing_private_is_logged(machine: Machine) -> None:
    """Neither what the demonstration's people are called and said, nor a password or a key of the system."""
    said = [value for part in (demo.PROFILE, demo.FEEDBACK, demo.EVALUATION) for value in part.values()]
    texts = [
        text for value in said for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)
    ]
    secrets = [str(value) for value in json.loads((machine.directory / REMEMBERED_FILE).read_text()).values()]
    people = ["Matías", "Camila", "Antonia", "demo.example", demo.NOTES, PASSWORD]
    private = [text for text in [*texts, *people, *secrets] if len(text) > 5]
    assert len(private) > 12
    written = {log.name: log.read_text() for log in (machine.directory / "logs").iterdir()}
    assert len(written) >= 8
    assert [(name, text) for name, lines in written.items() for text in private if text in lines] == []


def private_texts() -> list[str]:
    """What the demonstration's people are called and said."""
    said = [value for part in (demo.PROFILE, demo.FEEDBACK, demo.EVALUATION) for value in part.values()]
    texts = [
        text for value in said for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)
    ]
    return [
        "Matías",
        "Camila",
        "Antonia",
        "demo.example",
        demo.NOTES,
        PASSWORD,
        *(text for text in texts if len(text) > 5),
    ]


def assert_lines_say_what_they_are_about(machine: Machine) -> None:
    lines = {
        name: [
            json.loads(line)
            for line in (machine.directory / "logs" / f"{name}.log").read_text().splitlines()
            if line.startswith("{")
        ]
        for name in ("api", "worker", "sweeper", "reporter", "beat", "flower")
    }
    assert all(lines.values())
    assert any({"request_id", "user_id"} <= line.keys() for line in lines["api"])
    [started, *_] = [line for line in lines["api"] if line["message"].startswith("started zea_sport.BookingRequest")]
    assert {"request_id", "user_id"} <= started.keys()
    steps = [line for line in lines["worker"] if line.get("execution_id") == started["execution_id"]]
    assert {line["step"] for line in steps} >= {"notify_coach", "notify_athlete"}
    assert all(line["attempt"] == 1 for line in steps)


def test_the_walk_is_taken_again_beside_one_that_was_taken(serving: Machine) -> None:
    for _ in range(2):
        began = time.monotonic()
        result = serving.run("demo")
        assert (result.returncode, result.stderr) == (0, "")
        assert time.monotonic() - began < WALKED_WITHIN
        assert "FINALIZED" in result.stdout
        assert "notify_admin" in result.stdout.splitlines()[-2]


def test_the_walks_short_deadlines_are_its_own(serving: Machine) -> None:
    assert serving.run("demo").returncode == 0
    assert_flower_shows_nothing_private(serving.connection())
    listed = json.loads(serving.run("approvals", "--limit", "4", "--json").stdout)["items"]
    allowed = sorted((each["status"], round(seconds_allowed(each))) for each in listed)
    assert allowed == [("approved", 2 * DAY), ("approved", 7 * DAY), ("expired", 3), ("expired", 4)]


def assert_flower_shows_nothing_private(connection: dict[str, str]) -> None:
    login = (connection["flower_user"], connection["flower_password"])
    shown = httpx.get(f"{connection['flower_url']}/api/tasks?limit=1000", auth=login, timeout=10).text
    assert "booking_request.notify_coach" in shown
    assert [text for text in private_texts() if text in shown] == []


def seconds_allowed(approval: dict[str, str]) -> float:
    expires_at, requested_at = (datetime.fromisoformat(approval[name]) for name in ("expires_at", "requested_at"))
    return (expires_at - requested_at).total_seconds()


@pytest.mark.parametrize(("setting", "attribute"), [("ZEA_API_PORT", "api_port"), ("ZEA_FLOWER_PORT", "flower_port")])
def test_a_port_in_use_is_named_and_nothing_is_left_running(machine: Machine, setting: str, attribute: str) -> None:
    port = getattr(machine, attribute)
    with socket.create_server((LOOPBACK, port)):
        result = machine.run("up")
    assert result.returncode == 3
    line = one_line(result.stderr)
    assert str(port) in line
    assert setting in line
    assert machine.processes() == []


def test_a_server_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    """Both at once, because each is waited for."""
    away = {"DATABASE_URL": f"postgresql://zea:hidden@{LOOPBACK}:1/zea", "REDIS_URL": f"redis://:hidden@{LOOPBACK}:1/0"}
    machines = {setting: Machine(tmp_path / setting) for setting in away}
    with ThreadPoolExecutor(len(away)) as pool:
        results = dict(
            zip(away, pool.map(lambda each: machines[each].run("up", **{each: away[each]}), away), strict=True)
        )
    for setting, result in results.items():
        assert result.returncode == 3
        line = one_line(result.stderr)
        assert f"{LOOPBACK}:1" in line
        assert setting in line
        assert "hidden" not in line
        assert machines[setting].processes() == []


def test_a_process_that_cannot_start_stops_the_rest(machine: Machine) -> None:
    broken = machine.directory.parent / "broken"
    (broken / "uvicorn").mkdir(parents=True)
    (broken / "uvicorn" / "__init__.py").touch()
    (broken / "uvicorn" / "__main__.py").write_text("raise SystemExit('no API today')")
    result = machine.run("up", PYTHONPATH=str(broken))
    assert result.returncode == 3
    assert "api ended as soon as it was started: no API today" in one_line(result.stderr)
    assert machine.processes() == []


def test_given_servers_are_used_and_outlive_it(machine: Machine, serving: Machine) -> None:
    given: dict[str, Any] = {
        "DATABASE_URL": serving.connection()["database_url"],
        "REDIS_URL": serving.connection()["redis_url"].removesuffix("/0") + "/1",
    }
    result = machine.run("up", "--exit", **given)
    assert (result.returncode, result.stderr) == (0, "")
    assert not (machine.directory / "postgresql").exists()
    assert not (machine.directory / "valkey").exists()
    assert serving.ready()


def test_the_schema_can_be_upgraded_while_it_runs(serving: Machine) -> None:
    result = serving.run("db", "upgrade")
    assert (result.returncode, result.stdout) == (0, "The database is up to date.\n")
