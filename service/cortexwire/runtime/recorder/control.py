"""How other processes tell a recorder to begin and to end: one JSON object each way over a local socket.

`{"command": "start", "name": ..., "about": ...}`, `{"command": "stop"}` and `{"command": "status"}` are answered with
`{"problem": null or text, "status": {...}}`, the status being that of `cortexwire.runtime.recorder.status`.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Literal, Self

import msgspec
import zmq

from cortexwire.errors import ConfigError

LONGEST_REQUEST_BYTES: Final = 64 * 1024


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a recorder is told.

    Attributes:
        command: What to do.
        name: Of the recording that begins.
        about: The user's own words about it.
    """

    command: Literal["start", "stop", "status"]
    name: str = ""
    about: str = ""


def decode_request(payload: bytes) -> Request:
    """Read a request.

    Raises:
        ConfigError: It is none.
    """
    try:
        return msgspec.json.decode(payload, type=Request)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"recorder: not a request: {error}") from error


class RecorderClient:
    """An operator's side, for one thread; a request that is not answered is given up.

    Args:
        endpoint: Where the recorder listens (`RunDir.recorder_endpoint`).
        timeout_s: How long to wait for an answer; ending a recording takes as long as the disk takes.
    """

    def __init__(self, endpoint: str, timeout_s: float = 30.0) -> None:
        self.endpoint = endpoint
        self._timeout_s = timeout_s
        self._context = zmq.Context()

    def send(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request as its JSON object, and return the answer's: `problem` and, of a live recorder, `status`."""
        with self._context.socket(zmq.REQ) as socket:
            socket.set(zmq.LINGER, 0)
            socket.set(zmq.RCVTIMEO, int(self._timeout_s * 1000))
            socket.connect(self.endpoint)
            socket.send(msgspec.json.encode(request))
            try:
                answer = socket.recv()
            except zmq.Again:
                return {"problem": f"no answer within {self._timeout_s:g} s from {self.endpoint}", "status": None}
        return msgspec.json.decode(answer, type=dict[str, Any])

    def close(self) -> None:
        """Close the socket; safe to call twice."""
        self._context.destroy()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
