"""The guard: what every request passes before any route sees it.

Bounds on rate and size, the name that it was sent to (a page that rebinds its name to loopback is not answered), the
page that it comes from, and the token that it needs. What falls through all nets below becomes a problem here.
"""

import asyncio
import time
import traceback
from collections import OrderedDict
from contextlib import suppress
from typing import Any, Final
from urllib.parse import parse_qs

import structlog
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cortexwire.api.audit import Audit
from cortexwire.api.problems import OUR_FAULT, ProblemError
from cortexwire.api.tokens import Grant, Tokens

LONGEST_BODY_BYTES: Final = 64 * 1024
"""A request with more is refused."""
URGENT: Final = frozenset({"/v1/disarm", "/v1/neutral"})
"""What is never slowed down for having asked much: it makes safe."""
OPEN: Final = frozenset({"/", "/healthz", "/readyz", "/v1/openapi.json", "/favicon.ico"})
"""What needs no token: it tells nothing of the recording."""
_OPEN_BELOW: Final = "/static/"
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_MOST_CLIENTS: Final = 4096
_BURST_S: Final = 2.0
_DRAIN_S: Final = 1.0
_MOST_DRAINED: Final = 1024 * 1024
LOCAL: Final = Grant("local", "control")
"""Who calls where no token is needed."""

_HEADERS: Final = [
    (b"content-security-policy", b"default-src 'self'; img-src 'self' data:; style-src 'self'; "
     b"connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; object-src 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]  # fmt: skip


class Guard:
    """An ASGI application around another.

    Args:
        app: The application within.
        tokens: Who may do what, or None where nobody needs a token.
        audit: Where refused changes are written.
        names: Names by which it may be called, besides loopback's; None for any.
        read_rate: Reading requests a second of one client.
        control_rate: Changing requests a second of one client.
        insecure: Whether to say in every answer that nothing protects it.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        tokens: Tokens | None,
        audit: Audit,
        names: frozenset[str] | None,
        read_rate: float,
        control_rate: float,
        insecure: bool = False,
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._audit = audit
        self._names = None if names is None else names | _LOOPBACK_NAMES
        self._buckets = {"read": Buckets(read_rate), "control": Buckets(control_rate), "urgent": Buckets(read_rate)}
        self._headers = [*_HEADERS, (b"x-cortexwire-insecure", b"1")] if insecure else _HEADERS
        self._log = structlog.get_logger("cortexwire.api")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request in, or answer it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, self._headers)
        try:
            self._admit(scope)
            await self._app(scope, _Bounded(receive) if scope["type"] == "http" else receive, answer)
        except ProblemError as problem:
            self._note_refusal(scope, problem)
            await answer.problem(scope, receive, problem)
        except Exception:
            # Without the values of variables, which may be secrets.
            self._log.error("request failed", path=scope["path"], traceback=traceback.format_exc())
            await answer.problem(scope, receive, ProblemError(500, OUR_FAULT))

    def _admit(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        self._check_name(headers)
        changes = scope["type"] == "http" and scope["method"] not in _READS
        path = scope["path"]
        wanted = ("urgent" if path in URGENT else "control") if changes else "read"
        client = scope["client"][0] if scope.get("client") else ""
        wait_s = self._buckets[wanted].take(client)
        if wait_s:
            raise ProblemError(
                429, f"expected fewer {wanted} requests, try again in {wait_s:.2f} s", headers={"Retry-After": "1"}
            )
        if changes or scope["type"] == "websocket":
            _check_origin(headers)
        _check_length(headers)
        scope["state"] = {**scope.get("state", {}), "grant": self._grant(scope, headers, changes), "client": client}

    def _check_name(self, headers: Headers) -> None:
        if self._names is None:
            return
        host = headers.get("host", "")
        name = host[: host.rfind("]") + 1] or host.partition(":")[0]
        if name.lower() not in self._names:
            raise ProblemError(421, f"expected one of the names {sorted(self._names)} as host, got {host!r}")

    def _grant(self, scope: Scope, headers: Headers, changes: bool) -> Grant:
        path = scope["path"]
        if self._tokens is None:
            return LOCAL
        token = _token(scope, headers)
        grant = self._tokens.check(token) if token else None
        if grant is None and not changes and (path in OPEN or path.startswith(_OPEN_BELOW)):
            return Grant("", "read")
        if grant is None:
            what = "a token that is known and not expired" if token else "a token: Authorization: Bearer TOKEN"
            raise ProblemError(401, f"expected {what}", headers={"WWW-Authenticate": 'Bearer realm="cortexwire"'})
        if changes and grant.scope != "control":
            raise ProblemError(403, f"expected a token of scope control, got one of scope {grant.scope}: {grant.name}")
        return grant

    def _note_refusal(self, scope: Scope, problem: ProblemError) -> None:
        if scope["type"] == "http" and scope["method"] not in _READS:
            client = scope["client"][0] if scope.get("client") else ""
            self._audit.write("", client, scope["path"], None, problem.status, detail=problem.detail)


class Buckets:
    """Token buckets, one a client, of bounded number: who has been away longest is forgotten first.

    Args:
        rate: Requests a second; two seconds' worth may come at once.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._most = max(1.0, rate * _BURST_S)
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float:
        """Take one request; returns 0, or how long to wait for the next in seconds."""
        now = time.monotonic()
        level, then = self._levels.pop(client, (self._most, now))
        level = min(self._most, level + (now - then) * self._rate)
        allowed = level >= 1
        self._levels[client] = (level - 1 if allowed else level, now)
        if len(self._levels) > _MOST_CLIENTS:
            self._levels.popitem(last=False)
        return 0.0 if allowed else (1 - level) / self._rate


def _check_origin(headers: Headers) -> None:
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower():
        raise ProblemError(403, f"expected a request from our own page, got one from {origin!r}")


def _check_length(headers: Headers) -> None:
    length = headers.get("content-length", "0")
    if not length.isdecimal():
        raise ProblemError(400, f"expected a number as content-length, got {length!r}")
    if int(length) > LONGEST_BODY_BYTES:
        raise ProblemError(413, f"expected at most {LONGEST_BODY_BYTES} bytes, got {length}")


def _token(scope: Scope, headers: Headers) -> str:
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    # A browser can set no header on these two.
    if scope["path"] in ("/v1/live", "/v1/events"):
        query: str = scope["query_string"].decode("latin-1")
        return parse_qs(query).get("token", [""])[0]
    return ""


class _Bounded:
    """Receives a request's body, no more of it than is allowed."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._left = LONGEST_BODY_BYTES

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            # FastAPI makes a malformed body of any other error that comes while it reads.
            raise HTTPException(413, f"expected at most {LONGEST_BODY_BYTES} bytes, got more")
        return message


async def _drain(receive: Receive) -> None:
    """Take what of a body has not been read, within bounds: with some of it unread, the answer might be lost."""
    left = _MOST_DRAINED
    while left > 0:
        message = await receive()
        left -= len(message.get("body", b""))
        if not message.get("more_body", False):
            return


class _Answer:
    """Sends an answer with the headers that every answer has, or a problem where none has begun."""

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._headers = headers
        self._begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.accept"):
            self._begun = True
            message = {**message, "headers": [*message.get("headers", ()), *self._headers]}
        await self._send(message)

    async def problem(self, scope: Scope, receive: Receive, problem: ProblemError) -> None:
        if self._begun:
            return
        if scope["type"] == "http":
            with suppress(TimeoutError):
                await asyncio.wait_for(_drain(receive), _DRAIN_S)
        names: Any = {"http": "http.response", "websocket": "websocket.http.response"}[scope["type"]]
        response = problem.response(scope["path"])
        headers = [*response.raw_headers, *self._headers, (b"connection", b"close")]
        await self._send({"type": f"{names}.start", "status": problem.status, "headers": headers})
        await self._send({"type": f"{names}.body", "body": bytes(response.body)})
