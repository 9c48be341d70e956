"""The OpenAPI document: every status of every operation, errors as problems, and the token where one is needed."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from cortexwire.api import answers
from cortexwire.api.guard import OPEN
from cortexwire.api.problems import KINDS, MEDIA_TYPE

_SECURITY: Final[list[dict[str, list[str]]]] = [{"token": []}]
_EVERYWHERE: Final = (421, 429, 500)
_GUARDED: Final = (401, 403)
_CHANGES: Final = (400, 403, 413, 503)
_CHOOSING: Final = ("/v1/overlay", "/v1/bundle/stage")
_WITH_503: Final = ("/readyz", "/v1/events")


def describe(app: FastAPI, *, tokens: bool) -> None:
    """Have the app describe itself so; computed once.

    Args:
        app: The application.
        tokens: Whether requests need a token.
    """

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, tokens)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # the way that FastAPI gives


def _document(app: FastAPI, tokens: bool) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    components = document.setdefault("components", {})
    shapes = components.setdefault("schemas", {})
    shapes["Problem"] = answers.ProblemAnswer.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        shapes.pop(unused, None)
    if tokens:
        components["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": "As `cortexwire keys token` makes it."}
        }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _complete(path, method, operation, tokens)
    return document


def _complete(path: str, method: str, operation: dict[str, Any], tokens: bool) -> None:
    changes = method == "post"
    guarded = tokens and path not in OPEN
    responses = operation["responses"]
    statuses = {*_EVERYWHERE, *(_GUARDED if guarded else ()), *(_CHANGES if changes else ())}
    if changes:
        statuses.add(409)
    if "{" in path or path in _CHOOSING:
        statuses.add(404)
    if "422" in responses or "requestBody" in operation:
        statuses.add(422)
    if path in _WITH_503:
        statuses.add(503)
    for status in sorted(statuses):
        responses[str(status)] = {
            "description": KINDS[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    if responses.get("202"):
        responses["202"]["headers"] = {
            "Location": {"schema": {"type": "string"}, "description": "Where to see how far it has come."}
        }
    if guarded:
        operation["security"] = _SECURITY
