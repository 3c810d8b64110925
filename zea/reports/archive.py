"""Reports that were made: what admins find, and their files."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from zea.db import transaction
from zea.errors import NotFound
from zea.reports.csv_file import unpacked
from zea.reports.models import PaymentReport, ReportFilePart, ReportRevision
from zea.reports.periods import csv_name_of


class Report(NamedTuple):
    """A report and one of its revisions."""

    report: PaymentReport
    revision: ReportRevision


def reports() -> Select[PaymentReport, ReportRevision]:
    """Every report with its current revision."""
    is_current = (ReportRevision.report_id == PaymentReport.report_id) & (
        ReportRevision.revision == PaymentReport.current_revision
    )
    return select(PaymentReport, ReportRevision).join(ReportRevision, is_current)


def get_report(db: Session, report_id: str, revision: int | None = None) -> Report:
    """That revision of a report, the current one if none is named.

    Raises:
        NotFound: there is no such report, or no such revision of it.
    """
    wanted = select(PaymentReport, ReportRevision).join(
        ReportRevision, ReportRevision.report_id == PaymentReport.report_id
    )
    number = PaymentReport.current_revision if revision is None else revision
    found = db.execute(
        wanted.where(PaymentReport.report_id == report_id, ReportRevision.revision == number)
    ).one_or_none()
    if found is None:
        raise NotFound("There is no such report, or no such revision of it: GET /api/admin/reports lists them.")
    return Report(*found)


@dataclass(frozen=True, slots=True)
class ReportFile:
    """A revision's CSV. Sizes are in bytes."""

    report_id: str
    revision: int
    size: int
    compressed_size: int
    sha256: str

    @property
    def name(self) -> str:
        return csv_name_of(self.report_id)

    def content(self) -> Iterator[bytes]:
        """A few megabytes at a time; no connection is held between two of them."""
        return unpacked(_parts(self.report_id, self.revision))


def get_file(db: Session, report_id: str, revision: int | None = None) -> ReportFile:
    """The file of that revision, of the current one if none is named.

    Raises:
        NotFound: there is no such report or revision, or it is only being written.
    """
    found = get_report(db, report_id, revision).revision
    if found.csv_bytes is None or found.csv_compressed_bytes is None or found.csv_sha256 is None:
        raise NotFound("The file of this revision is not written yet: try again in a moment.")
    return ReportFile(report_id, found.revision, found.csv_bytes, found.csv_compressed_bytes, found.csv_sha256)


def _parts(report_id: str, revision: int) -> Iterator[bytes]:
    number = 0
    while (part := _part(report_id, revision, number)) is not None:
        yield part
        number += 1


def _part(report_id: str, revision: int, number: int) -> bytes | None:
    wanted = (ReportFilePart.report_id == report_id, ReportFilePart.revision == revision, ReportFilePart.part == number)
    with transaction() as db:
        return db.scalar(select(ReportFilePart.content).where(*wanted))
