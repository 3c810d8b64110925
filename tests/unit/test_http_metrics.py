"""Where requests are counted: together for one server, and nothing of servers that have ended."""

import os
import tempfile
from pathlib import Path

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


def test_somebody_elses_directory_is_not_used(temporary: Path, tmp_path: Path) -> None:
    temporary.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere").mkdir()
    directory = http_metrics._directory()
    assert directory.parent == tmp_path
    assert list((tmp_path / "elsewhere").iterdir()) == []
