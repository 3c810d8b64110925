"""Flower as people start it by hand: on this machine only, and behind a login wherever that is."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.waiting import wait_until
from zea.config import Settings
from zea.errors import ConfigurationError
from zea.stack.ports import LOOPBACK, free_port
from zea.stack.system import System

ROOT = Path(__file__).parents[2]
BY_HAND = [sys.executable, "-m", "celery", "-A", "tasks", "flower"]
PRODUCTION = {"ZEA_ENVIRONMENT": "production", "ZEA_SECRET_KEY": "x" * 32}
STARTED_WITHIN = 30.0


def environment(folder: Path, **more: str) -> dict[str, str]:
    told = {"ZEA_DATA_DIR": str(folder), "ZEA_FLOWER_PORT": str(free_port()), "PYTHONUNBUFFERED": "1", **more}
    return {**os.environ, **told}


@pytest.fixture
def by_hand(database: str, tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Its address and its process. It finds its configuration wherever it is started."""
    told = environment(tmp_path, PYTHONPATH=str(ROOT))
    with subprocess.Popen(BY_HAND, cwd=tmp_path, env=told, stderr=subprocess.PIPE, text=True) as process:
        yield f"{LOOPBACK}:{told['ZEA_FLOWER_PORT']}", process
        process.terminate()


def answers(url: str, **options: tuple[str, str]) -> int | None:
    try:
        return httpx.get(url, timeout=5, **options).status_code  # type: ignore[arg-type]
    except httpx.TransportError:
        return None


def elsewhere() -> Iterator[str]:
    """This machine's addresses that others reach it at."""
    for addresses in psutil.net_if_addrs().values():
        for each in addresses:
            if each.family.name == "AF_INET" and not each.address.startswith("127."):
                yield each.address


def test_by_hand_it_makes_up_a_login_and_shows_it(by_hand: tuple[str, subprocess.Popen[str]]) -> None:
    place, process = by_hand
    assert process.stderr is not None
    shown = next(line for line in process.stderr if "the login is" in line)
    found = re.search(r"the login is (zea):(\S{20,}) until", shown)
    assert found is not None
    wait_until(lambda: answers(f"http://{place}/healthcheck"), STARTED_WITHIN)
    for path in ("/", "/api/workers", "/api/tasks"):
        assert answers(f"http://{place}{path}") == 401
        assert answers(f"http://{place}{path}", auth=(found[1], found[2])) == 200
    port = place.rpartition(":")[2]
    assert [each for each in elsewhere() if answers(f"http://{each}:{port}/metrics")] == []


def test_outside_local_it_does_not_start_without_a_login(database: str, tmp_path: Path) -> None:
    told = environment(tmp_path, PYTHONPATH=str(ROOT), **PRODUCTION)
    ended = subprocess.run(BY_HAND, cwd=tmp_path, env=told, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode != 0
    assert ended.stderr.splitlines()[-1] == (
        "zea: Flower is not started without a login: set ZEA_FLOWER_BASIC_AUTH to user:password."
    )


def test_zea_up_does_not_start_outside_local_without_its_login(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**PRODUCTION, "ZEA_DATA_DIR": str(tmp_path / "zea")}.items():
        monkeypatch.setenv(name, value)
    system = System(lambda line: None, Settings())
    with pytest.raises(ConfigurationError, match="ZEA_FLOWER_BASIC_AUTH"):
        system.start()
    assert not (tmp_path / "zea").exists()
