"""The file that goes with a mail: as it is, compressed, or not at all, so that every mail server takes it."""

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO

from sqlalchemy.orm import Session

from zea.reports import archive

# A mail is a third larger than what is attached, and common servers take 25 MB.
LARGEST_PLAIN = 10 * 1024 * 1024  # bytes
LARGEST_COMPRESSED = 15 * 1024 * 1024  # bytes


class Form(StrEnum):
    """How a file goes with a mail."""

    CSV = "csv"
    ZIP = "zip"
    LEFT_OUT = "left out"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file, in whole: it is small enough for a mail."""

    name: str
    media_type: str
    content: bytes


def form_of(csv_bytes: int, csv_compressed_bytes: int) -> Form:
    """How a file of this size goes with a mail."""
    if csv_bytes <= LARGEST_PLAIN:
        return Form.CSV
    return Form.ZIP if csv_compressed_bytes <= LARGEST_COMPRESSED else Form.LEFT_OUT


def of_report(db: Session, report_id: str, revision: int | None) -> Attachment | None:
    """What goes with a mail about this revision of a report."""
    file = archive.get_file(db, report_id, revision)
    match form_of(file.size, file.compressed_size):
        case Form.CSV:
            return Attachment(file.name, "text/csv", b"".join(file.content()))
        case Form.ZIP:
            return Attachment(f"{file.name}.zip", "application/zip", _zipped(file.name, file.content()))
    return None


def _zipped(name: str, content: Iterable[bytes]) -> bytes:
    """The file, compressed a megabyte at a time. Without a date of its own: a second mail is the same."""
    written = BytesIO()
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(written, "w") as packed, packed.open(entry, "w", force_zip64=True) as file:
        for chunk in content:
            file.write(chunk)
    return written.getvalue()
