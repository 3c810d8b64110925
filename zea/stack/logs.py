"""The children's log files: bounded, one previous part kept."""

import os
import shutil
from pathlib import Path

LIMIT_BYTES = 20_000_000


def rotate(log: Path, limit: int = LIMIT_BYTES) -> None:
    """Move a log past its limit to ``NAME.log.1``, replacing that.

    It is copied and emptied, not renamed: the process that appends to it goes on with the same file.
    """
    if log.exists() and log.stat().st_size > limit:
        previous = log.with_name(f"{log.name}.1")
        shutil.copyfile(log, previous)
        previous.chmod(0o600)
        os.truncate(log, 0)


def size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def written_since(log: Path, offset: int) -> str:
    """What was written to the log after ``offset`` bytes; all of it if it was emptied since."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(offset if offset <= size(log) else 0)
        return file.read().decode(errors="replace")


def last_line(log: Path, offset: int = 0) -> str:
    """The last line written after ``offset``: where a program says why it gave up."""
    lines = written_since(log, offset).strip().splitlines()
    return lines[-1].strip() if lines else ""
