"""What a payment report says, as the steps hand it on and as admins see it."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel

from zea.reports.models import PaymentReport, ReportRevision
from zea.reports.periods import csv_name_of


@dataclass(frozen=True, slots=True)
class Period:
    """The first and the last day, both included, on the calendar of ``timezone``."""

    start_date: date
    end_date: date
    timezone: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The report in four numbers; hours are the summed minutes / 60, with two decimals."""

    total_hours: float
    total_sessions: int
    average_session_minutes: float
    sessions_awaiting_feedback: int


@dataclass(frozen=True, slots=True)
class WeekTotal:
    """An ISO week, such as ``2026-W05``: its year is the ISO year."""

    week: str
    sessions: int
    total_minutes: int
    total_hours: float


@dataclass(frozen=True, slots=True)
class CoachTotal:
    """What one coach is paid for."""

    coach_id: UUID
    coach_name: str
    sessions: int
    total_minutes: int
    total_hours: float


class ReportSummary(BaseModel):
    """A report's current revision, in short."""

    report_id: str
    revision: int
    start_date: date
    end_date: date
    coach_id: UUID | None
    summary: Summary
    data_at: datetime
    generated_at: datetime

    @classmethod
    def of(cls, report: PaymentReport, revision: ReportRevision) -> Self:
        return cls(
            report_id=report.report_id,
            revision=revision.revision,
            start_date=report.start_on,
            end_date=report.end_on,
            coach_id=report.coach_id,
            summary=Summary(**revision.summary),
            data_at=revision.data_at,
            generated_at=revision.generated_at,
        )


class ReportView(BaseModel):
    """A revision of a report. The current one is the one with the newest data, which is not always the latest saved."""

    report_id: str
    revision: int
    is_current: bool
    latest_revision: int
    execution_id: UUID
    coach_id: UUID | None
    period: Period
    summary: Summary
    coaches: list[CoachTotal]
    weekly_breakdown: list[WeekTotal]
    data_at: datetime
    generated_at: datetime
    csv_name: str
    csv_bytes: int | None

    @classmethod
    def of(cls, report: PaymentReport, revision: ReportRevision) -> Self:
        return cls.model_validate(
            {
                "report_id": report.report_id,
                "revision": revision.revision,
                "is_current": revision.revision == report.current_revision,
                "latest_revision": report.latest_revision,
                "execution_id": revision.execution_id,
                "coach_id": report.coach_id,
                "period": Period(report.start_on, report.end_on, revision.timezone),
                "summary": revision.summary,
                "coaches": revision.coaches,
                "weekly_breakdown": revision.weekly_breakdown,
                "data_at": revision.data_at,
                "generated_at": revision.generated_at,
                "csv_name": csv_name_of(report.report_id),
                "csv_bytes": revision.csv_bytes,
            }
        )
