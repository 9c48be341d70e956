"""The recorder as the API sees it: its status map, and requests to its control socket."""

from dataclasses import asdict, is_dataclass
from importlib import import_module, util
from typing import Any, Final

import msgspec
import zmq

from cortexwire.errors import CortexwireError
from cortexwire.runtime.rundir import RunDir

RecorderStatus = dict[str, Any]
"""What a recorder says of itself: state, folder, lost_records, lost_samples, and so on."""

_MODULE: Final = "cortexwire.runtime.recorder"
_TIMEOUT_MS: Final = 5000
_CONNECT_MS: Final = 500


def read_recorder(run_dir: RunDir) -> RecorderStatus | None:
    """The status map in plain values; None where no recorder ever ran, or this one cannot be read."""
    if util.find_spec(_MODULE) is None or not run_dir.recorder.is_file():
        return None
    try:
        status = import_module(_MODULE).read_status(run_dir.recorder)
    except (CortexwireError, OSError, ValueError):
        return None
    plain = asdict(status) if is_dataclass(status) and not isinstance(status, type) else msgspec.to_builtins(status)
    return dict(plain)


def ask_recorder(run_dir: RunDir, request: dict[str, Any]) -> dict[str, Any] | None:
    """Send one request to the recorder and wait for the answer; None where nobody answers."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        socket = context.socket(zmq.REQ)
        socket.set(zmq.LINGER, 0)
        # Without a recorder there is nobody to send to, which is known at once.
        socket.set(zmq.IMMEDIATE, 1)
        socket.set(zmq.SNDTIMEO, _CONNECT_MS)
        socket.set(zmq.RCVTIMEO, _TIMEOUT_MS)
        socket.connect(f"ipc://{run_dir.path / 'recorder.sock'}")
        socket.send(msgspec.json.encode(request))
        return dict(msgspec.json.decode(socket.recv()))
    except zmq.Again:
        return None
    finally:
        context.destroy(linger=0)
