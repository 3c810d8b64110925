"""The OpenAPI document against the API: whatever is sent, no 500, no status and no body that it does not tell of."""

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.integration.conftest import Person
from zea.accounts.models import Role
from zea.api.access import entry_for
from zea.api.app import create_app

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
# A stream that ends with its execution is tested by hand.
ENDLESS = "/api/executions/{execution_id}/watch"
EXAMPLES = 10

document = schemathesis.openapi.from_dict(create_app().openapi())
OPERATIONS = {operation.ok().label: operation.ok() for operation in document.get_all_operations()}


def test_every_route_is_in_the_document() -> None:
    assert len(OPERATIONS) >= 38
    assert f"GET {ENDLESS}" in OPERATIONS


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, sweeps_run: None) -> None:
    """There is no worker: nobody waits for one."""
    from zea import config

    monkeypatch.setenv("ZEA_BOOKING_WAIT", "0")
    monkeypatch.setattr("workflows.engine.dispatch._publish", lambda signature, delay: None)
    config.settings.cache_clear()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("label", [label for label in OPERATIONS if ENDLESS not in label])
def test_whatever_is_sent_the_answer_is_documented(
    label: str, api: httpx.Client, athlete: Person, coach: Person, admin: Person
) -> None:
    """By everybody who may call; that others are kept out is walked in test_access.py."""
    people = {Role.ATHLETE: athlete, Role.COACH: coach, Role.ADMIN: admin}
    callers = [people[role].headers for role in sorted(entry_for(*label.split(" ")).who.roles)] or [{}]

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=OPERATIONS[label].as_strategy())
    def check(case: Case) -> None:
        for headers in callers:
            sent = {**headers, "Prefer": "wait=0"}
            response = case.call(base_url=str(api.base_url), headers=sent, timeout=20)
            case.validate_response(response, checks=CHECKS)

    check()
