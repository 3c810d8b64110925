"""What coaches are paid for a period: counted from what was completed in it, kept, exported, and mailed."""

from dataclasses import dataclass
from datetime import date, timedelta
from uuid import UUID

from workflows.engine.definition import Workflow, step
from zea.notifications import payments
from zea.reports import service as reports

# For the steps that wait for other runs of the same period, or write as much as there is. A million sessions take a
# tenth of it.
PATIENCE = timedelta(minutes=10)


@dataclass(frozen=True)
class ReportRequest:
    """The first and the last day, both included, on the business zone's calendar; of one coach, or of all."""

    start_date: date
    end_date: date
    coach_id: UUID | None = None


payment_report = Workflow(
    name="zea_sport.PaymentReport",
    version=1,
    input=ReportRequest,
    subject="report:{report_id}",
    flow=[
        step(reports.fetch_sessions, timeout=PATIENCE),
        step(reports.calculate_hours),
        step(reports.group_by_week),
        step(reports.generate_report),
        step(reports.save_to_db, timeout=PATIENCE),
        step(reports.export_csv, timeout=PATIENCE),
        step(payments.notify_admin),
    ],
)
