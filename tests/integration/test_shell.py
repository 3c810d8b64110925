"""`zea` as a shell and a terminal see it: what it completes, its colours, its width, and its exit codes."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.requested_booking import completed_booking, failed_booking
from zea.cli.app import COMMANDS, app

COMMAND = [sys.executable, "-c", "import sys; sys.argv[0] = 'zea'; from zea.cli.app import main; main()"]
COLOUR = re.compile(rb"\x1b\[(?:\d+;)*[349]\d(?:;\d+)*m")
# One that nobody listens at.
NOWHERE = {"DATABASE_URL": "postgresql://127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1/0"}
GROUPS = {"users": ["users create"], "db": ["db upgrade"], "archive": ["archive", "archive show"]}
NAMES = [command for name in COMMANDS for command in GROUPS.get(name, [name])]


def zea(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def completed(words: str) -> set[str]:
    """What bash would offer after these words."""
    told = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")), "_ZEA_COMPLETE": "complete_bash"}
    return set(zea(**told).stdout.split())


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("zea res", {"resume"}),
        ("zea users ", {"create"}),
        ("zea resume --error", {"--error-kind"}),
        ("zea list --status f", {"failed"}),
        ("zea list --workflow zea_sport.B", {"zea_sport.BookingRequest"}),
    ],
)
def test_a_shell_completes_commands_options_and_values(words: str, offered: set[str]) -> None:
    assert completed(words) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_shown_for_each_shell(shell: str, tmp_path: Path) -> None:
    shown = zea("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1", HOME=str(tmp_path))
    assert (shown.returncode, "_ZEA_COMPLETE" in shown.stdout) == (0, True)


@pytest.mark.parametrize("name", NAMES)
def test_help_shows_an_example_that_is_a_command(name: str) -> None:
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(app, [*name.split(), "--help"], prog_name="zea").output
    assert re.search(rf"Example: zea {name}\b", shown), shown


def on_a_terminal(*arguments: str, **environment: str) -> bytes:
    """What a person's terminal is sent."""
    process, terminal = pty.fork()
    if process == 0:
        os.execvpe(COMMAND[0], [*COMMAND, *arguments], {**os.environ, "TERM": "xterm-256color", **environment})
    shown = b""
    with open(terminal, "rb", buffering=0) as reading:
        while True:
            try:
                part = reading.read(65536)
            except OSError:  # Linux's word for the end of a terminal
                break
            if not part:
                break
            shown += part
    os.waitpid(process, 0)
    return shown


def test_colours_are_off_where_they_are_not_wanted(database: str) -> None:
    failed_booking()
    assert COLOUR.search(on_a_terminal("list"))
    assert not COLOUR.search(on_a_terminal("list", NO_COLOR="1"))
    assert not COLOUR.search(on_a_terminal("--help", NO_COLOR="1"))
    assert "\x1b" not in zea("list").stdout


def test_without_a_terminal_nothing_is_cut_off(database: str) -> None:
    execution_id = str(failed_booking().execution_id)
    lines = zea("list", COLUMNS="20").stdout.splitlines()
    assert len(lines) == 2, "a line for its headings and one for the execution"
    assert execution_id in lines[1]
    assert all(line == line.rstrip() for line in lines)


def test_exit_codes_say_how_it_went(database: str) -> None:
    done, failed = completed_booking(), failed_booking()
    assert zea("status", str(done.execution_id)).returncode == 0
    assert zea("watch", str(done.execution_id)).returncode == 0
    assert zea("watch", str(failed.execution_id)).returncode == 1
    assert zea("resume", str(done.execution_id)).returncode == 1, "there is nothing to resume"
    for wrong in (("nothing",), ("status", "no-id")):
        assert zea(*wrong).returncode == 2
    away = zea("list", **NOWHERE)
    assert (away.returncode, away.stdout, len(away.stderr.splitlines())) == (3, "", 1)


def test_watch_prints_a_line_of_json_for_each_event(database: str) -> None:
    watched = zea("watch", str(completed_booking().execution_id), "--json")
    events = [json.loads(line) for line in watched.stdout.splitlines()]
    assert [event["position"] for event in events] == list(range(1, len(events) + 1))
    assert (events[0]["type"], events[-1]["type"]) == ("execution.started", "execution.completed")


def test_the_schema_says_as_json_where_it_is(database: str) -> None:
    upgraded = json.loads(zea("db", "upgrade", "--json").stdout)
    assert len(upgraded["migrations"]) == 1
