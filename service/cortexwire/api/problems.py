"""Problem details (RFC 9457): one form for whatever goes wrong, and one table of what it may be.

`type` is a relative reference, resolved against the address of the request: `/problems#unavailable` and so on; `detail`
says what was expected and what came.
"""

from http import HTTPStatus
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from cortexwire.errors import BundleError, ConfigError, CortexwireError

MEDIA_TYPE: Final = "application/problem+json"

KINDS: Final[dict[int, str]] = {
    400: "malformed request",
    401: "a token is needed",
    403: "not allowed",
    404: "no such thing",
    405: "method not allowed here",
    409: "refused by the engine or recorder",
    413: "request too large",
    421: "called by a name that is not ours",
    422: "a value that cannot be",
    429: "too many requests",
    500: "a fault of ours",
    503: "engine or recorder does not answer",
}
"""Title by status."""

OUR_FAULT: Final = "the request could not be answered; the log says why"
"""All that is said of a fault of ours."""

STATUS_OF: Final[dict[type[CortexwireError], int]] = {ConfigError: 422, BundleError: 422, CortexwireError: 500}
"""Status of an error of this package that a route lets through."""


class ProblemError(Exception):
    """What a route raises to answer with a problem.

    Attributes:
        status: Status of the answer.
        detail: What was expected, and what came.
        headers: More headers of the answer.
        more: More members of the problem.
    """

    def __init__(
        self, status: int, detail: str, *, headers: dict[str, str] | None = None, more: dict[str, Any] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}
        self.more = more or {}

    def body(self, path: str) -> bytes:
        """The JSON of the problem that a request to `path` met."""
        title = KINDS.get(self.status) or HTTPStatus(self.status).phrase
        return msgspec.json.encode(
            {
                "type": f"/problems#{self.status}",
                "title": title,
                "status": self.status,
                "detail": self.detail,
                "instance": path,
                **self.more,
            }
        )

    def response(self, path: str) -> Response:
        """The answer to a request to `path`."""
        return Response(self.body(path), self.status, self.headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Make every error of the app a problem."""
    app.add_exception_handler(ProblemError, _problem)
    app.add_exception_handler(CortexwireError, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _fault)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return error.response(request.url.path)


async def _ours(request: Request, error: Exception) -> Response:
    status = next(status for kind, status in STATUS_OF.items() if isinstance(error, kind))
    return ProblemError(status, str(error)).response(request.url.path)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    details = {404: f"there is nothing at {path}", 405: f"{request.method} is not possible at {path}"}
    detail = details.get(error.status_code, str(error.detail))
    return ProblemError(error.status_code, detail, headers=dict(error.headers or {})).response(path)


async def _fault(request: Request, _error: Exception) -> Response:
    return ProblemError(500, OUR_FAULT).response(request.url.path)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [{"where": ".".join(map(str, fault["loc"])), "what": str(fault["msg"])} for fault in error.errors()]
    detail = "; ".join(f"{fault['where']}: {fault['what']}" for fault in faults)
    return ProblemError(422, detail, more={"faults": faults}).response(request.url.path)
