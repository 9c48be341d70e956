"""A service that answers as the API does, with a scene in place of an engine: for the page alone.

It sends the same security headers, asks for a token if told to, and keeps what it was asked to do.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from importlib.resources import files
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from cortexwire.bench.dashboard.scenes import Scene, Stage

POLICY: Final = "default-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'"
_START_S: Final = 20.0


class StandIn:
    """The application and what it was asked.

    Args:
        scene: What to show.
        token: The token that is wanted, or none.
        look_back_s: As of `Stage`.

    Attributes:
        stage: Plays the scene.
        asked: Changes asked for: path and body.
        refuse: Problems to answer with, by path.
        jobs: Answers to come for a job, by id; the last one stays.
        viewers: Live streams now open.
        cut: Whether live streams are ended.
        garbled: Whether they carry nonsense.
    """

    def __init__(self, scene: Scene, token: str | None = None, look_back_s: float = 2.0) -> None:
        self.stage = Stage(scene, look_back_s)
        self.token = token
        self.asked: list[tuple[str, Any]] = []
        self.refuse: dict[str, tuple[int, str, str]] = {}
        self.jobs: dict[str, list[dict[str, Any]]] = {}
        self.viewers = 0
        self.cut = self.garbled = False
        static = files("cortexwire.api").joinpath("static")
        self.app = Starlette(
            routes=[
                Route("/", lambda _: FileResponse(str(static.joinpath("index.html")))),
                Mount("/static", StaticFiles(directory=str(static))),
                Route("/v1/state", self._state),
                Route("/v1/bundles", self._bundles),
                Route("/v1/jobs/{id}", self._job),
                Route("/v1/{path:path}", self._change, methods=["POST"]),
                WebSocketRoute("/v1/live", self._live),
            ],
            middleware=[Middleware(_Headed), Middleware(_Asking, stand_in=self)],
        )

    async def _state(self, _: Request) -> Response:
        return JSONResponse({"t_ns": time.monotonic_ns(), "notes": self.stage.notes})

    async def _bundles(self, _: Request) -> Response:
        names = ("reference", "kalman-day-12")
        bundles = [{"name": name, "path": f"bundles/{name}"} for name in names]
        return JSONResponse({"bundles": bundles, "overlays": ["day-11", "day-12"]})

    async def _job(self, request: Request) -> Response:
        answers = self.jobs[request.path_params["id"]]
        return JSONResponse(answers.pop(0) if len(answers) > 1 else answers[0])

    async def _change(self, request: Request) -> Response:
        path = request.url.path
        self.asked.append((path, await request.json()))
        if path in self.refuse:
            return _problem(path, *self.refuse[path])
        effect = {
            "/v1/arm": {"armed": True},
            "/v1/disarm": {"armed": False},
            "/v1/neutral": {"neutral": bool(self.asked[-1][1].get("on"))},
        }.get(path)
        if effect:
            self.stage.set(**effect)
        if path in ("/v1/bundle/stage", "/v1/thresholds/recalibrate"):
            self.jobs["j1"] = [
                {"id": "j1", "state": "running", "progress": 0.4, "phase": "warming", "problem": None},
                {"id": "j1", "state": "done", "progress": 1.0, "phase": "done", "problem": None},
            ]
            return JSONResponse(self.jobs["j1"][0], 202)
        return JSONResponse({"bin": self.stage.bin})

    async def _live(self, socket: WebSocket) -> None:
        if self.token is not None and socket.query_params.get("token") != self.token:
            await socket.close()
            return
        await socket.accept()
        self.viewers += 1
        due, fps = time.monotonic(), float(socket.query_params.get("fps", 20))
        sequence, first = 0, 0
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            while not self.cut:
                if not self.stage.scene.silent:
                    message, first = self.stage.frame(sequence, first)
                    await socket.send_bytes(b"\xff" * 64 if self.garbled else message)
                    sequence += 1
                due = max(due + 1 / fps, time.monotonic() - 1 / fps)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            await socket.close()
        self.viewers -= 1


def _problem(path: str, status: int, title: str, detail: str) -> Response:
    body = {"type": f"/problems#{status}", "title": title, "status": status, "detail": detail, "instance": path}
    return JSONResponse(body, status, media_type="application/problem+json")


class _Headed:
    """Adds the headers that bind the page."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [
                    (b"content-security-policy", POLICY.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        await self._app(scope, receive, headed)


class _Asking:
    """Answers 401 to what needs a token and has none."""

    def __init__(self, app: ASGIApp, stand_in: StandIn) -> None:
        self._app = app
        self._stand_in = stand_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = self._stand_in.token
        if scope["type"] == "http" and scope["path"].startswith("/v1/") and token is not None:
            given = dict(scope["headers"]).get(b"authorization", b"").decode()
            if given != f"Bearer {token}":
                answer = _problem(
                    scope["path"], 401, "a token is needed", "expected a token: Authorization: Bearer TOKEN"
                )
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


@contextlib.contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """Serve an application on loopback from a thread of its own; gives its address.

    Raises:
        RuntimeError: It does not start.
    """
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="websockets-sansio", lifespan="off"))
    thread = threading.Thread(target=server.run, name="stand-in")
    thread.start()
    try:
        until = time.monotonic() + _START_S
        while not server.started:
            if time.monotonic() > until or not thread.is_alive():
                raise RuntimeError("the server did not start")
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join()
