"""The data directory and ports of `zea up`: taken by one, private, and refused in one line."""

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zea.config import CONNECTION_FILE
from zea.errors import ConfigurationError
from zea.stack import data_directory, ports
from zea.stack.data_directory import DataDirectory
from zea.stack.private_files import Remembered

OPEN_AND_REPORT = """
import sys, pathlib
from zea.stack.data_directory import DataDirectory
DataDirectory(pathlib.Path(sys.argv[1])).open()
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[DataDirectory]:
    directory = DataDirectory(tmp_path / "zea")
    directory.open()
    yield directory
    directory.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server((ports.LOOPBACK, 0)) as taken:
        yield taken


def test_it_is_private(opened: DataDirectory) -> None:
    opened.publish({"database_url": "postgresql://secret"})
    opened.remembered.secret("secret_key")
    assert mode(opened.path) == 0o700
    assert {mode(file) for file in opened.path.iterdir() if file.is_file()} == {0o600}


def test_a_second_process_is_refused_and_told_who_is_there(opened: DataDirectory) -> None:
    second = subprocess.run(
        [sys.executable, "-c", OPEN_AND_REPORT, str(opened.path)], capture_output=True, text=True, check=False
    )
    assert f"`zea up` runs already in {opened.path} (process {os.getpid()})" in second.stderr


def test_it_can_be_opened_again_once_closed(opened: DataDirectory) -> None:
    opened.close()
    DataDirectory(opened.path).open()


def test_closing_forgets_the_connection(opened: DataDirectory) -> None:
    opened.publish({"database_url": "postgresql://secret"})
    opened.close()
    assert not (opened.path / CONNECTION_FILE).exists()


def test_a_connection_left_by_a_crash_is_overwritten(opened: DataDirectory) -> None:
    (opened.path / CONNECTION_FILE).write_text("half of a")
    opened.publish({"database_url": "new"})
    assert json.loads((opened.path / CONNECTION_FILE).read_text()) == {"database_url": "new"}


def test_a_full_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_directory, "NEEDED_BYTES", shutil.disk_usage(tmp_path).total + 1)
    with pytest.raises(ConfigurationError, match="MB are free in"):
        DataDirectory(tmp_path).open()


def test_another_users_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ConfigurationError, match=r"belongs to .*: run zea as that user, or set ZEA_DATA_DIR"):
        DataDirectory(tmp_path).open()


def test_a_path_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be used"):
        DataDirectory(tmp_path / "file" / "zea").open()


def test_what_was_generated_is_the_same_at_the_next_start(tmp_path: Path) -> None:
    first = Remembered(tmp_path / "generated.json").secret("secret_key")
    assert Remembered(tmp_path / "generated.json").secret("secret_key") == first
    assert len(first) >= 32


def test_damaged_passwords_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "generated.json").write_text("{")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Remembered(tmp_path / "generated.json")


def test_a_port_in_use_is_named_with_its_setting(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with pytest.raises(ConfigurationError, match=rf"The API cannot listen on 127.0.0.1:{port} .*ZEA_API_PORT"):
        ports.require_free(ports.LOOPBACK, port, "ZEA_API_PORT", "The API")


def test_a_remembered_port_is_used_again_while_it_is_free(tmp_path: Path) -> None:
    remembered = Remembered(tmp_path / "generated.json")
    assert ports.remembered_port(remembered, "port") == ports.remembered_port(remembered, "port")


def test_a_remembered_port_that_is_taken_is_replaced(tmp_path: Path, listener: socket.socket) -> None:
    remembered = Remembered(tmp_path / "generated.json")
    taken = listener.getsockname()[1]
    remembered.keep("port", taken)
    assert ports.remembered_port(remembered, "port") != taken
