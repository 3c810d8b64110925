"""Payment reports: making one, and reading those that were made."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from workflows.engine.models import ENDED
from workflows.engine.status import Standing
from workflows.payment_report import ReportRequest, payment_report
from zea import errors
from zea.accounts.models import User
from zea.api import description, routing
from zea.api.deps import CurrentUser, Db, IdempotencyKey
from zea.api.description import CREATED, refusals
from zea.api.executions import PreferredWait, Waiting, client, undecided
from zea.api.idempotency import KeyedRequest, claim
from zea.api.paging import Page, Paging, page
from zea.api.parties import actor_of
from zea.api.schemas import Day, Request
from zea.db import new_id, transaction
from zea.reports import archive
from zea.reports.models import PaymentReport
from zea.reports.schemas import ReportSummary, ReportView, Summary
from zea.reports.service import check_request

router = routing.router("/api/admin/reports", "reports")

EXAMPLE = "booking_id,coach_id,date,duration_minutes,coach_name,week,start_time,end_time,status\r\n"
Revision = Annotated[int | None, Query(ge=1, le=2**31 - 1, description="the current one, unless given")]


class WantedReport(Request):
    """A period, both days included, on the business zone's calendar; of one coach, or of all."""

    start_date: Day
    end_date: Day
    coach_id: UUID | None = None


class MadeReport(BaseModel):
    """The report is saved, and its file can be fetched."""

    report_id: str
    revision: int
    execution_id: UUID
    summary: Summary


@router.post(
    "/payment",
    status_code=201,
    response_model=MadeReport,
    responses={201: CREATED, **description.accepted("made"), **refusals(errors.Cancelled)},
)
async def make_report(
    wanted: WantedReport, admin: CurrentUser, wait: PreferredWait, waiting: Waiting, key: IdempotencyKey = None
) -> Response:
    """Make a payment report; for a period that has one already, its next revision."""
    with waiting.expecting(new_id()) as waiter:
        waiter.follow(await run_in_threadpool(_begin, wanted, admin, key, waiter.execution_id))
        return _answer(await waiter.until(_is_made, wait))


def _begin(wanted: WantedReport, admin: User, key: str | None, execution_id: UUID) -> UUID:
    """The execution that this request stands for: a new one, or the one that its key began before."""
    actor = actor_of(admin)
    with transaction() as db:
        known_id = claim(db, KeyedRequest(key, actor, "admin.make_report", wanted), execution_id)
        if known_id == execution_id:
            check_request(db, wanted.start_date, wanted.end_date, wanted.coach_id)
            inputs = ReportRequest(wanted.start_date, wanted.end_date, wanted.coach_id)
            client.start(payment_report, inputs, actor=actor, execution_id=execution_id, db=db)
    return known_id


def _is_made(standing: Standing) -> bool:
    """Once its file is there; the mail about it is not waited for."""
    return standing.status in ENDED or _is_exported(standing)


def _is_exported(standing: Standing) -> bool:
    return "csv_name" in standing.output


def _answer(standing: Standing) -> Response:
    execution_id, made = standing.execution_id, standing.output
    if not _is_exported(standing):
        return undecided(standing)
    report = MadeReport(
        report_id=made["report_id"], revision=made["revision"], execution_id=execution_id, summary=made["summary"]
    )
    location = f"/api/admin/reports/{report.report_id}?revision={report.revision}"
    return JSONResponse(report.model_dump(mode="json"), 201, headers={"Location": location})


@router.get("")
def list_reports(db: Db, paging: Paging) -> Page[ReportSummary]:
    """Every report with its current revision: the one with the newest data."""
    return page(db, archive.reports(), PaymentReport.created_at, PaymentReport.id, paging, ReportSummary.of)


# Before the report itself, whose path fits this one too.
@router.get(
    "/{report_id}.csv",
    response_class=Response,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}, "example": EXAMPLE}}}},
)
def get_report_file(report_id: str, db: Db, revision: Revision = None) -> Response:
    """The report's sessions, one a line, as a spreadsheet program opens them."""
    found = archive.get_file(db, report_id, revision)
    headers = {
        "Content-Disposition": f'attachment; filename="{found.name}"',
        "Content-Length": str(found.size),
        "ETag": f'"{found.sha256}"',
    }
    return StreamingResponse(found.content(), media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/{report_id}")
def get_report(report_id: str, db: Db, revision: Revision = None) -> ReportView:
    """A report: its current revision, or the one that is named."""
    return ReportView.of(*archive.get_report(db, report_id, revision))
