"""The live stream: frames over a WebSocket, the same without arrays as server-sent events.

A viewer gets the newest frame at its rate, and the next one only when it has taken that: whoever is slow misses
frames, not rows, and holds up nobody. One that takes nothing for a while is let go.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Final

from fastapi import APIRouter, Query, WebSocket
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect, WebSocketState

from cortexwire.api.frames import FIRST, event
from cortexwire.api.picture import describe_output
from cortexwire.api.problems import ProblemError
from cortexwire.api.service import Service

STUCK_S: Final = 10.0
"""A viewer that takes nothing for so long is let go."""
_TRY_AGAIN: Final = 1013

Fps = Annotated[int | None, Query(ge=1, le=60, description="Frames a second.", examples=[20])]


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1", tags=["live"])

    @routes.websocket("/live")
    async def live(socket: WebSocket, fps: Fps = None) -> None:
        await socket.accept()
        if service.viewers >= service.config.api.viewers:
            await socket.close(_TRY_AGAIN, f"expected at most {service.config.api.viewers} viewers")
            return
        async with _watching(service):
            await _send_frames(service, socket, fps or service.config.api.fps)

    @routes.get(
        "/events",
        response_class=Response,
        summary="The live stream as server-sent events",
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    )
    async def events(request: Request, fps: Fps = None) -> Response:
        if service.viewers >= service.config.api.viewers:
            raise ProblemError(
                503, f"expected at most {service.config.api.viewers} viewers", headers={"Retry-After": "5"}
            )
        return _Events(service, fps or service.config.api.fps)

    return routes


@asynccontextmanager
async def _watching(service: Service) -> AsyncIterator[None]:
    service.viewers += 1
    try:
        yield
    finally:
        service.viewers -= 1


async def _ticks(fps: int) -> AsyncIterator[int]:
    """Numbers of the ticks of a class of viewers, which all of them share; those that have passed are left out."""
    while True:
        tick = int(time.monotonic() * fps) + 1
        await asyncio.sleep(tick / fps - time.monotonic())
        yield tick


async def _send_frames(service: Service, socket: WebSocket, fps: int) -> None:
    place = FIRST
    gone = asyncio.ensure_future(_until_gone(socket))
    try:
        async for tick in _ticks(fps):
            if gone.done():
                return
            frame = service.frames.frame(fps, tick, place)
            await asyncio.wait_for(socket.send_bytes(frame.message), STUCK_S)
            place = frame.place
    except (TimeoutError, WebSocketDisconnect, RuntimeError):
        # What it has not taken stands in the kernel, which gives it up by itself.
        return
    finally:
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone


async def _until_gone(socket: WebSocket) -> None:
    """Read what a viewer sends, which is of no interest, until it leaves."""
    with suppress(WebSocketDisconnect, RuntimeError):
        while socket.client_state is WebSocketState.CONNECTED:
            await socket.receive()


class _Events(Response):
    """An endless answer of server-sent events."""

    media_type = "text/event-stream"

    def __init__(self, service: Service, fps: int) -> None:
        super().__init__(headers={"cache-control": "no-store"})
        del self.headers["content-length"]
        self._service = service
        self._fps = fps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        sending = asyncio.ensure_future(self._send(send))
        gone = asyncio.ensure_future(_disconnected(receive))
        async with _watching(self._service):
            try:
                await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (sending, gone):
                    task.cancel()
                await asyncio.gather(sending, gone, return_exceptions=True)

    async def _send(self, send: Send) -> None:
        service = self._service
        async for _ in _ticks(self._fps):
            service.monitor.refresh()
            last = service.monitor.tail.outputs.last
            message = event(service.picture.head(), None if last is None else describe_output(last))
            await asyncio.wait_for(send({"type": "http.response.body", "body": message, "more_body": True}), STUCK_S)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
