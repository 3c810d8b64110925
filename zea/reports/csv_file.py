"""The file of a report: lines as CSV (RFC 4180) that Excel and LibreOffice open right, compressed in parts."""

import csv
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from io import StringIO
from typing import Final

COLUMNS: Final = (
    "booking_id",
    "coach_id",
    "date",
    "duration_minutes",
    "coach_name",
    "week",
    "start_time",
    "end_time",
    "status",
)
# Without it Excel takes UTF-8 for its own code page, and garbles accents.
BYTE_ORDER_MARK: Final = "\ufeff"
# What a spreadsheet runs if a cell begins with it (OWASP, CSV Injection), and the wide forms of the same characters.
# Where a list separator is a semicolon, as in Spanish, or lines are torn, what follows one begins a cell as well.
BEGINS_FORMULA: Final = re.compile(r"(^|[;\t\r\n])(?=[=+\-@＝＋－＠])|^(?=[\t\r\n])")
PART_BYTES: Final = 1024 * 1024

Row = Sequence[object]


def cell(value: object) -> object:
    """The value as it stands in the file. Only text can be a formula: a number stays one, a negative one too."""
    return BEGINS_FORMULA.sub(r"\1'", value) if isinstance(value, str) else value


def render(pages: Iterable[Sequence[Row]]) -> Iterator[bytes]:
    """The file, a page of rows at a time."""
    yield _encoded([COLUMNS], BYTE_ORDER_MARK)
    for rows in pages:
        yield _encoded([[cell(value) for value in row] for row in rows])


def _encoded(rows: Iterable[Row], before: str = "") -> bytes:
    written = StringIO(before, newline="")
    written.seek(0, 2)
    csv.writer(written).writerows(rows)
    return written.getvalue().encode()


class Packer:
    """Compresses what it is given into parts of about a megabyte, and knows the size and hash of what that was."""

    def __init__(self) -> None:
        self.size = 0
        self._hash = sha256()

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def parts(self, content: Iterable[bytes]) -> Iterator[bytes]:
        """The parts, in order: together one zlib stream."""
        # Level 1: random ids leave little more to the levels that take three times as long.
        compressor = zlib.compressobj(1)
        packed = bytearray()
        for chunk in content:
            self.size += len(chunk)
            self._hash.update(chunk)
            packed += compressor.compress(chunk)
            if len(packed) >= PART_BYTES:
                yield bytes(packed)
                packed.clear()
        yield bytes(packed + compressor.flush())


def unpacked(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The content of these parts again.

    Raises:
        EOFError: the last ones are missing.
    """
    decompressor = zlib.decompressobj()
    for part in parts:
        yield decompressor.decompress(part)
    if not decompressor.eof:
        raise EOFError("The file's last part is missing.")
