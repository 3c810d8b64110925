"""Beat's task that begins the report of each month that is over, once, however often it runs and by how many beats."""

from datetime import date

from workflows.catalog import registry
from workflows.engine.client import ExecutionClient
from workflows.payment_report import ReportRequest, payment_report
from zea.broker import app
from zea.db import transaction
from zea.reports import months
from zea.reports.periods import last_day

client = ExecutionClient(registry)


@app.task(name="reports.begin")  # type: ignore[untyped-decorator]  # Celery has no types
def begin() -> int:
    """Begin the reports of the months that are over and have none; answers how many."""
    with transaction() as db:
        missing = months.missing_months(db)
    return sum(_begin(month) for month in missing)


def _begin(month: date) -> bool:
    inputs = ReportRequest(month, last_day(month))
    with transaction() as db:
        if not months.take_month(db, month):
            return False
        client.start(payment_report, inputs, actor="beat", start_key=months.start_key(month), db=db)
    return True
