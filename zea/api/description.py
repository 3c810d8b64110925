"""The API's description: what FastAPI says of each operation, completed with its examples and its problems.

A route states only its own refusals, with ``refusals``. All other problems follow from the table of access and from
what the operation takes, so that none is forgotten; tests/integration/test_contract.py finds what is answered and not
described.
"""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from zea import errors
from zea.api.access import ANYONE, EVERY_ROLE, Access, entry_for
from zea.api.errors import KINDS, status_of
from zea.api.examples import example_of
from zea.api.schemas import PROBLEM_MEDIA_TYPE, Accepted, Problem

Json = dict[str, Any]
Responses = dict[int | str, Json]

PROBLEM = {"$ref": "#/components/schemas/Problem"}
LOCATION: Json = {"Location": {"description": "Where it is.", "schema": {"type": "string", "format": "uri-reference"}}}
# A 201 that says where to find what was made, and a 202 that says where to see how it stands.
CREATED: Json = {"headers": LOCATION}


def accepted(what: str) -> Responses:
    """The answer while what was asked for is not decided within the time to wait."""
    return {202: {"model": Accepted, "description": f"Accepted, and not {what} within the time to wait.", **CREATED}}


def refusals(*kinds: type[errors.ZeaError]) -> Responses:
    """What a route may refuse beside what every route does."""
    responses: Responses = {}
    for kind in kinds:
        status = status_of(kind)
        said = responses.setdefault(status.value, _problem(status))
        said["content"][PROBLEM_MEDIA_TYPE]["examples"][kind.kind] = {"value": _example(status, kind.kind, _text(kind))}
    return responses


def _problem(status: HTTPStatus) -> Json:
    return {
        "description": status.phrase,
        "content": {PROBLEM_MEDIA_TYPE: {"schema": PROBLEM, "examples": {}}},
    }


def _text(kind: type[errors.ZeaError]) -> str:
    return (kind.__doc__ or "").strip().partition("\n")[0]


def _example(status: int, kind: str, detail: str) -> Json:
    return {
        "type": f"urn:zea:problem:{kind.replace('_', '-')}",
        "title": kind.replace("_", " ").capitalize(),
        "status": int(status),
        "detail": detail,
        "instance": "/api/…",
    }


def described(app: FastAPI) -> Json:
    """The application's OpenAPI document; made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
        )
        app.openapi_schema = _completed(document)
    return app.openapi_schema


def _completed(document: Json) -> Json:
    schemas = document["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs"), Problem=problem)
    document["components"]["responses"] = _shared()
    for method, path, operation in _operations(document):
        operation["responses"] = _in_order({**_general(entry_for(method, path), path, operation), **_own(operation)})
        _add_examples(operation, document)
    return document


def _operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _own(operation: Json) -> Json:
    """What the route says itself; FastAPI's own idea of a 422 is none of this API's."""
    return {
        status: response
        for status, response in operation["responses"].items()
        if status != "422" or PROBLEM_MEDIA_TYPE in response.get("content", {})
    }


def _in_order(responses: Mapping[str, Json]) -> Json:
    return dict(sorted(responses.items()))


def _general(entry: Access, path: str, operation: Json) -> Json:
    """The problems that follow from who may call, whose objects they find, and what they send."""
    kinds: list[type[errors.ZeaError]] = [errors.ZeaError, errors.Unreachable]
    if entry.who is not ANYONE:
        kinds.append(errors.Unauthenticated)
    if entry.who.roles not in (EVERY_ROLE, ANYONE.roles):
        kinds.append(errors.Forbidden)
    if "{" in path:
        kinds.append(errors.NotFound)
    found = {str(status_of(kind).value): _reference(kind.__name__) for kind in kinds}
    if "requestBody" in operation:
        found["413"] = _reference(TOO_LARGE)
    if "requestBody" in operation or "parameters" in operation:
        keyed = any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", ()))
        found["422"] = _reference(INVALID_OR_REUSED if keyed else errors.InvalidInput.__name__)
    return found


def _reference(name: str) -> Json:
    return {"$ref": f"#/components/responses/{name}"}


TOO_LARGE, INVALID_OR_REUSED = "TooLarge", "InvalidInputOrIdempotencyKeyReused"


def _shared() -> Json:
    """The responses that many operations have, by name."""
    kinds = (errors.ZeaError, errors.Unreachable, errors.Unauthenticated, errors.Forbidden, errors.NotFound)
    named = {kind.__name__: refusals(kind)[status_of(kind).value] for kind in kinds}
    invalid, reused = (
        refusals(errors.InvalidInput)[422],
        refusals(errors.InvalidInput, errors.IdempotencyKeyReused)[422],
    )
    for response in (invalid, reused):
        response["content"][PROBLEM_MEDIA_TYPE]["examples"][errors.InvalidInput.kind]["value"] |= INVALID
    return {**named, TOO_LARGE: _too_large(), errors.InvalidInput.__name__: invalid, INVALID_OR_REUSED: reused}


INVALID: Json = {
    "detail": "amount: Input should be a valid integer",
    "errors": [{"field": "amount", "message": "Input should be a valid integer"}],
}


def _too_large() -> Json:
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    problem, kind = _problem(status), KINDS[status]
    problem["content"][PROBLEM_MEDIA_TYPE]["examples"][kind] = {"value": _example(status, kind, "Send at most 256 kB.")}
    return problem


def _add_examples(operation: Json, document: Json) -> None:
    for parameter in operation.get("parameters", ()):
        parameter.setdefault("example", example_of(parameter["schema"], document, parameter["name"]))
    bodies = [operation["requestBody"]] if "requestBody" in operation else []
    answers = [response for status, response in operation["responses"].items() if status.startswith("2")]
    for content in (each for body in (*bodies, *answers) for each in body.get("content", {}).values()):
        if content.get("schema") and not content.keys() & {"example", "examples"}:
            content["example"] = example_of(content["schema"], document)
