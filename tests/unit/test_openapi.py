"""The API's description: it is the committed one, and every operation has examples that fit and its problems."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from zea.api import examples
from zea.api.access import ANYONE, EVERY_ROLE, entry_for
from zea.api.openapi import text

ROOT = Path(__file__).parents[2]
DOCUMENT = json.loads(text())
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
# Anyone may call these, and is refused for what they send.
LOOKS_AT_WHAT_IS_SENT = {"/api/auth/login", "/api/auth/refresh", "/metrics"}
LABELS = pytest.mark.parametrize("label", OPERATIONS)


def test_it_is_the_committed_one() -> None:
    committed = (ROOT / "docs" / "openapi.json").read_text()
    assert committed == text(), "make it anew: make openapi"


def contents(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is sent and answered: the body's and each answer's content, and where that is."""
    parts = {"body": operation.get("requestBody", {}), **operation["responses"]}
    shared = DOCUMENT["components"]["responses"]
    for place, said in parts.items():
        part = shared[said["$ref"].rpartition("/")[2]] if "$ref" in said else said
        for media_type, content in part.get("content", {}).items():
            yield f"{place} {media_type}", content


def fits(value: Any, schema: dict[str, Any]) -> None:
    whole = {**schema, "components": DOCUMENT["components"]}
    jsonschema_rs.Draft202012Validator(whole, validate_formats=True).validate(value)


@LABELS
def test_every_example_fits_its_schema(label: str) -> None:
    operation = OPERATIONS[label]
    for place, content in contents(operation):
        found = [each["value"] for each in content.get("examples", {}).values()] or [content["example"]]
        assert found, f"{label} has no example: {place}"
        for value in found:
            fits(value, content["schema"])
    for parameter in operation.get("parameters", ()):
        fits(parameter["example"], parameter["schema"])


@LABELS
def test_an_operation_says_what_it_is_and_how_it_fails(label: str) -> None:
    operation, entry = OPERATIONS[label], entry_for(*label.split(" "))
    statuses = operation["responses"].keys()
    assert operation["tags"]
    assert operation["summary"]
    assert operation["description"]
    assert {"500", "503"} <= statuses
    assert ("401" in statuses) is (entry.who is not ANYONE or entry.path in LOOKS_AT_WHAT_IS_SENT)
    assert entry.who.roles in (EVERY_ROLE, frozenset()) or "403" in statuses
    assert "{" not in entry.path or "404" in statuses
    assert ("413" in statuses) is ("requestBody" in operation)
    assert not statuses & {"4XX", "5XX", "default"}


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() for name in names)


def test_what_waits_says_so() -> None:
    """A 202 and its Location, and the preference that sets how long."""
    waiting = {label: operation for label, operation in OPERATIONS.items() if "202" in operation["responses"]}
    assert waiting.keys() == {
        "POST /api/bookings",
        "POST /api/bookings/{booking_id}/complete",
        "POST /api/admin/reports/payment",
    }
    for operation in waiting.values():
        assert "Location" in operation["responses"]["202"]["headers"]
        assert "prefer" in {parameter["name"].lower() for parameter in operation["parameters"]}


def test_every_post_that_creates_takes_an_idempotency_key() -> None:
    for label, operation in OPERATIONS.items():
        if label.startswith("POST") and "201" in operation["responses"]:
            assert "Idempotency-Key" in {parameter["name"] for parameter in operation["parameters"]}, label


def test_refusals_are_told_by_their_kinds() -> None:
    responses = OPERATIONS["POST /api/bookings"]["responses"]
    kinds = responses["409"]["content"]["application/problem+json"]["examples"].keys()
    assert kinds == {
        *("slot_unavailable", "insufficient_credits", "onboarding_incomplete", "overlapping_booking"),
        "cancelled",
    }


def test_every_field_has_an_example_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    missing: list[str] = []
    monkeypatch.setattr(examples, "nameless", lambda _, field: missing.append(field))
    text()
    assert not missing, "add them to VALUES in zea/api/examples.py"


def test_no_example_is_left_over() -> None:
    """Each is used: by a field, or by a parameter."""
    fields = {name for schema in DOCUMENT["components"]["schemas"].values() for name in schema.get("properties", {})}
    parameters = {each["name"] for operation in OPERATIONS.values() for each in operation.get("parameters", ())}
    names = {key.rpartition(".")[2] for key in examples.VALUES}
    assert names <= fields | parameters, names - fields - parameters


def test_errors_are_told_as_problems_only() -> None:
    assert "HTTPValidationError" not in text()


def test_nothing_of_this_machine_is_in_it() -> None:
    assert "zea.localhost" not in text()
    assert str(ROOT) not in text()
