"""The directory that holds everything of one `zea up`: owned, locked, with space left."""

import fcntl
import json
import os
import pwd
import shutil
from collections.abc import Mapping
from pathlib import Path

from zea.config import CONNECTION_FILE
from zea.errors import ConfigurationError
from zea.stack import child
from zea.stack.private_files import Remembered, write_private
from zea.stack.servers import REMEMBERED_FILE

LOCK_FILE = "lock"
NEEDED_BYTES = 500_000_000
CLEARED_WITHIN = 10.0  # seconds for the guardian of a killed `zea up`, which holds the lock until all is ended
FOLDERS = ("logs", "beat", "flower")


class DataDirectory:
    """ZEA_DATA_DIR while `zea up` runs in it."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.lock: int | None = None

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def remembered(self) -> Remembered:
        return Remembered(self.path / REMEMBERED_FILE)

    def open(self) -> None:
        """Make the directory if there is none, and take it for this process.

        Raises:
            ConfigurationError: it belongs to another user, cannot be written, is full, or is in use.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._require_ownership()
            self.path.chmod(0o700)
            self._require_space()
            self._take_lock()
            for folder in FOLDERS:
                (self.path / folder).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"The data directory {self.path} cannot be used ({error.strerror}): "
                "correct its permissions, or set ZEA_DATA_DIR to another one."
            ) from None

    def close(self) -> None:
        """Forget the connection and release the lock; nothing happens if it was never taken."""
        if self.lock is None:
            return
        (self.path / CONNECTION_FILE).unlink(missing_ok=True)
        os.close(self.lock)
        self.lock = None

    def publish(self, connection: Mapping[str, str]) -> None:
        """Say where the running system is; every `zea` command reads it there."""
        write_private(self.path / CONNECTION_FILE, json.dumps(connection, indent=2))

    def _require_ownership(self) -> None:
        owner = self.path.stat().st_uid
        if owner != os.geteuid():
            raise ConfigurationError(
                f"The data directory {self.path} belongs to {_user_name(owner)}: "
                "run zea as that user, or set ZEA_DATA_DIR to another directory."
            )

    def _require_space(self) -> None:
        free = shutil.disk_usage(self.path).free
        if free < NEEDED_BYTES:
            raise ConfigurationError(
                f"Only {free // 1_000_000} MB are free in {self.path}, zea needs {NEEDED_BYTES // 1_000_000}: "
                "free some, or set ZEA_DATA_DIR to another disk."
            )

    def _take_lock(self) -> None:
        lock = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        if not (_locked(lock) or (not _holder_lives(lock) and _locked_in_time(lock))):
            holder = _holder(lock)
            os.close(lock)
            raise ConfigurationError(
                f"`zea up` runs already in {self.path} (process {holder}): "
                "stop it, or set ZEA_DATA_DIR to another directory."
            )
        os.truncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        self.lock = lock


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _locked_in_time(lock: int) -> bool:
    return child.wait_until(lambda: _locked(lock), CLEARED_WITHIN)


def _holder(lock: int) -> int | None:
    """The process that wrote itself into the lock; None just before it did."""
    written = os.pread(lock, 20, 0)
    return int(written) if written.isdigit() else None


def _holder_lives(lock: int) -> bool:
    holder = _holder(lock)
    return holder is None or child.alive(holder)


def _user_name(user_id: int) -> str:
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return f"user {user_id}"
