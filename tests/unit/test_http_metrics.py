"""Where requests are counted: together for one server, and nothing of servers that have ended."""

import multiprocessing
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace

import pytest

from zea.api import http_metrics


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"zea-metrics-{os.geteuid()}"


def test_a_server_has_a_directory_that_only_its_account_reads(temporary: Path) -> None:
    directory = http_metrics._directory()
    assert directory == temporary / str(os.getpid())
    assert temporary.stat().st_mode & 0o077 == 0
    assert http_metrics._directory() == directory


def test_what_servers_left_that_have_ended_is_removed(temporary: Path) -> None:
    # No process has this number: Linux ends at 2^22.
    ended, mine = temporary / "99999999", temporary / str(os.getppid())
    for directory in (ended, mine):
        directory.mkdir(parents=True)
        (directory / "counter_1.db").write_bytes(b"")
    http_metrics._directory()
    assert (ended.exists(), mine.exists()) == (False, True)


def test_processes_that_start_together_count_together_whatever_they_find(temporary: Path) -> None:
    together = 8
    for _ in range(20):
        (temporary / "99999999").mkdir(parents=True)
        for number in range(20):
            (temporary / "99999999" / f"counter_{number}.db").touch()
        barrier = Barrier(together)

        def started(_: int, barrier: Barrier = barrier) -> Path:
            barrier.wait()
            return http_metrics._directory()

        with ThreadPoolExecutor(together) as processes:
            assert set(processes.map(started, range(together))) == {temporary / str(os.getpid())}


def test_a_process_of_a_server_counts_with_the_others(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: SimpleNamespace(pid=1))
    assert http_metrics._directory() == temporary / "1"


def test_somebody_elses_directory_is_not_used(temporary: Path, tmp_path: Path) -> None:
    temporary.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere").mkdir()
    directory = http_metrics._directory()
    assert directory.parent == tmp_path
    assert list((tmp_path / "elsewhere").iterdir()) == []
