"""The Procfile and `zea up` run the same commands."""

from pathlib import Path

import pytest

from zea.stack import processes

PROCFILE = Path(__file__).parents[2] / "Procfile"


def procfile() -> dict[str, str]:
    entries = (line.partition(": ") for line in PROCFILE.read_text().splitlines())
    return {name: command for name, _, command in entries}


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("web", processes.API),
        ("worker", processes.WORKER),
        ("sweeper", processes.SWEEPER),
        ("reporter", processes.REPORTER),
        ("beat", processes.BEAT),
        ("flower", processes.FLOWER),
    ],
)
def test_the_procfile_runs_what_zea_up_runs(name: str, command: tuple[str, ...]) -> None:
    assert " ".join(command) in procfile()[name]


def test_the_procfile_has_every_process_and_a_release_step() -> None:
    assert list(procfile()) == ["release", "web", "worker", "sweeper", "reporter", "beat", "flower"]


@pytest.mark.parametrize("name", ["worker", "sweeper", "reporter"])
def test_a_worker_stops_within_bounds_wherever_it_runs(name: str) -> None:
    assert "REMAP_SIGTERM=SIGQUIT" in procfile()[name]
    assert processes.WORKER_STOP == {"REMAP_SIGTERM": "SIGQUIT"}


def test_flowers_password_is_in_no_command_line() -> None:
    program = processes.flower(5555, "zea:secret", {})
    assert "secret" not in " ".join(program.command())
    assert program.environment is not None
    assert program.environment["ZEA_FLOWER_BASIC_AUTH"] == "zea:secret"
