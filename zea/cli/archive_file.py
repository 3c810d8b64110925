"""A file of archived executions: JSON lines, compressed, a batch at a time.

Each batch is a gzip member of its own (RFC 1952, section 2.2), so the file can be read with `zcat` at any time, also
after its writer was killed: what was on disk then is whole, and a batch that was not is still in the database.
"""

import gzip
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import UUID

from zea import clock
from zea.errors import NotFound, ZeaError


class ArchiveFile:
    """A new file in a folder, made when there is something to write. Only its owner may read it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path: Path | None = None

    def append(self, lines: Sequence[str]) -> None:
        """Write a batch; it is on disk when this returns.

        Raises:
            ZeaError: it cannot be written; the file is as it was before.
        """
        try:
            self.path = self.path or self._new()
            _append(self.path, gzip.compress("".join(f"{line}\n" for line in lines).encode()))
        except OSError as error:
            place = self.path or self._folder
            raise ZeaError(f"{place} cannot be written: {error.strerror}. What is not there was not removed.") from None

    def _new(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder.resolve() / f"executions-{clock.now():%Y%m%dT%H%M%S.%f}Z.jsonl.gz"
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        # A file is there after a power cut once its folder says so on disk.
        for folder in (path.parent, path.parent.parent):
            _sync(folder)
        return path


def _append(path: Path, member: bytes) -> None:
    with path.open("ab", buffering=0) as file:
        before = file.tell()
        try:
            left = memoryview(member)
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(before)
            raise


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def find_line(path: Path, execution_id: UUID) -> bytes:
    """The line of an execution.

    Raises:
        NotFound: it is not in this file.
    """
    wanted = str(execution_id)
    for line in _lines(path):
        # Others may name it: only those that do are read.
        if wanted.encode() in line and json.loads(line)["execution"]["id"] == wanted:
            return line
    raise NotFound(f"There is no execution {execution_id} in {path}.")


def _lines(path: Path) -> Iterator[bytes]:
    """The lines up to the file's end, or to where a batch was cut off."""
    try:
        with gzip.open(path) as file:
            yield from (line for line in file if line.endswith(b"\n"))
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return
