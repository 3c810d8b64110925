"""docs/execution-client.md: what it shows is what happens, with a real worker at the other end."""

import doctest
from datetime import datetime
from pathlib import Path
from uuid import UUID

from pytest_celery import CeleryWorkerCluster
from sqlalchemy import text

from tests.benchmarks.seeding import customer
from zea.accounts import tokens
from zea.credits import service as credits
from zea.db import transaction

DOCUMENT = Path(__file__).parents[2] / "docs" / "execution-client.md"


def test_what_the_document_shows_is_what_happens(celery_worker_cluster: CeleryWorkerCluster) -> None:
    athlete = customer(2)
    requests = list(athlete.requests)
    athlete_id = tokens.identify(athlete.token).user_id
    with transaction() as db:
        # For one of the two.
        db.execute(text("UPDATE credit_accounts SET balance = 1 WHERE athlete_id = :id"), {"id": athlete_id})
    given = {
        "athlete_id": athlete_id,
        "coach_id": UUID(requests[0]["coach_id"]),
        "slots": [datetime.fromisoformat(each["slot_datetime"]) for each in requests],
        "credits": credits,
    }
    shown = doctest.DocTestParser().get_doctest(DOCUMENT.read_text(), given, DOCUMENT.name, str(DOCUMENT), 0)
    assert len(shown.examples) > 25
    said: list[str] = []
    flags = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
    result = doctest.DocTestRunner(optionflags=flags).run(shown, out=said.append)
    assert result.failed == 0, "".join(said)
