"""Control: commands from other processes, taken by a thread of its own and handed to the hot loop one by one.

A request is one JSON object: a command of `cortexwire.pipeline.commands`, or `{"command": "state"}`, which is
answered from the telemetry map and never reaches the hot loop, or `{"command": "stage_bundle", ...}`, which is answered
at once with `{}` and becomes a command when the bundle is loaded. The reply is one JSON object too: `{"bin":
1234}` with the bin at which the command took effect, `{"problem": "..."}`, or `{"state": {...}}`. The hot
loop looks into a queue between two packets, which costs nothing when it is empty, and waits for nobody; a
command that it has not taken in time is withdrawn, so what was answered with a timeout never takes effect
later.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import structlog
import zmq

from cortexwire.clients.curve import CurveClient
from cortexwire.errors import ConfigError, CortexwireError
from cortexwire.pipeline.commands import (
    AttachBundle,
    Command,
    StageBundle,
    UnstageBundle,
    decode_request,
    encode_command,
)
from cortexwire.runtime.curve import CurveServer
from cortexwire.runtime.recorder.status import recorder_state
from cortexwire.runtime.staging import Stager, Staging
from cortexwire.runtime.telemetry import TelemetryReader, TelemetrySnapshot

STATE_REQUEST = b'{"command":"state"}'
"""The request that only reads."""
MOST_WAITING = 32
"""Commands that may wait for the hot loop; more are turned away."""

_FACTS: dict[str, Any] = {
    "bundle_name": "",
    "unit": "",
    "bin_ms": None,
    "executor": "",
    "provider": "",
    "neutral": None,
    "gain": None,
    "identity": None,
    "blocked": None,
    "scheduling": None,
    "candidate": None,
    "previous": None,
}
"""Facts that a state has in any case, as they are while an engine has not told them."""
_LONGEST_REQUEST_BYTES = 4 * 1024 * 1024
_IDLE_POLL_MS = 50
_BUSY_POLL_MS = 2
_LAST_REPLY_MS = 500


class ControlReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """Answer to one request; `problem` is None when it was carried out.

    Attributes:
        bin: The bin from which on a command took effect.
        problem: Why it was not carried out.
        state: What `describe_state` gives, for a state request.
    """

    bin: int | None = None
    problem: str | None = None
    state: dict[str, Any] | None = None


class PendingCommand:
    """A command on its way to the hot loop and its answer on the way back.

    Attributes:
        command: The command.
        payload: Its canonical JSON, for the log.
    """

    __slots__ = ("_claim", "command", "deadline_ns", "payload", "reply")

    def __init__(self, command: Command, deadline_ns: int) -> None:
        self.command = command
        self.payload = encode_command(command)
        self.deadline_ns = deadline_ns
        self.reply: ControlReply | None = None
        self._claim = threading.Lock()

    def claim(self) -> bool:
        """Take the command, or withdraw it: whoever comes first gets True, the other False. Never waits."""
        return self._claim.acquire(blocking=False)

    def answer(self, bin_index: int, problem: str | None) -> None:
        """Say when it took effect, or why it did not."""
        self.reply = ControlReply(problem=problem) if problem is not None else ControlReply(bin=bin_index)


class ControlServer:
    """The engine's side: binds at once, serves between `start` and `close`.

    Args:
        endpoint: Where to listen.
        telemetry: The map from which state requests are answered.
        prepare: Loads in the control thread what a command needs (an overlay's file), so that the hot loop
            does not; it raises a `CortexwireError` to turn the command down.
        timeout_s: How long a command may wait for the hot loop.
        curve: Protects it where other machines reach it.
        carried_out: Told in the control thread of each command that was carried out, before it is answered.

    Raises:
        ConfigError: The endpoint cannot be bound.
    """

    def __init__(
        self,
        endpoint: str,
        telemetry: Path,
        prepare: Callable[[Command], None] | None = None,
        timeout_s: float = 2.0,
        curve: CurveServer | None = None,
        carried_out: Callable[[Command], None] | None = None,
    ) -> None:
        self._telemetry = telemetry
        self._prepare = prepare
        self._carried_out = carried_out
        self._timeout_ns = int(timeout_s * 1e9)
        self._queue: deque[PendingCommand] = deque()
        self._waiting: list[tuple[list[bytes], PendingCommand]] = []
        self._reader: TelemetryReader | None = None
        self._stop = threading.Event()
        self._context = zmq.Context()
        self._attendant = None if curve is None else curve.attend(self._context)
        self._socket = self._context.socket(zmq.ROUTER)
        if curve is not None:
            curve.secure(self._socket, endpoint)
        self._socket.set(zmq.LINGER, _LAST_REPLY_MS)
        self._socket.set(zmq.MAXMSGSIZE, _LONGEST_REQUEST_BYTES)
        try:
            self._socket.bind(endpoint)
        except zmq.ZMQError as error:
            self._end()
            raise ConfigError(f"control: cannot bind {endpoint}: {error.strerror}") from error
        self.endpoint = endpoint
        self._thread = threading.Thread(target=self._serve, name="cortexwire-control", daemon=True)
        self._stager = Stager(prepare or _nothing, self._submit)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def take(self) -> PendingCommand | None:
        """Give the hot loop the next command that nobody has withdrawn."""
        queue = self._queue
        while queue:
            pending = queue.popleft()
            if pending.claim():
                return pending
        return None

    @property
    def staging(self) -> Staging | None:
        """What is being staged, or was refused."""
        return self._stager.status

    @property
    def is_waiting(self) -> bool:
        """Whether a command waits for its answer."""
        return bool(self._waiting)

    def close(self) -> None:
        """Answer what is still waiting, end the thread and close the socket."""
        self._stop.set()
        self._stager.close()
        if self._thread.is_alive():
            self._thread.join()
        if self._reader is not None:
            self._reader.close()
        self._end()

    def _end(self) -> None:
        if self._attendant is not None:
            self._attendant.close()
        self._context.destroy()

    def _serve(self) -> None:
        log = structlog.get_logger("cortexwire.control")
        while not self._stop.is_set():
            try:
                if self._socket.poll(_BUSY_POLL_MS if self._waiting else _IDLE_POLL_MS):
                    self._take_request(self._socket.recv_multipart())
                self._send_answers()
            # The thread outlives whatever one request does to it: without it nobody could disarm the engine.
            except Exception:
                log.exception("control request failed")
        self._withdraw_all()

    def _take_request(self, frames: list[bytes]) -> None:
        *route, request = frames
        try:
            reply = self._consider(route, request)
        except CortexwireError as error:
            reply = ControlReply(problem=str(error))
        except Exception as error:
            reply = ControlReply(problem=f"request failed: {type(error).__name__}: {error}")
        if reply is not None:
            self._reply(route, reply)

    def _consider(self, route: list[bytes], request: bytes) -> ControlReply | None:
        """Answer at once, or put a command into the queue and return None."""
        if _is_state_request(request):
            if self._reader is None:
                self._reader = TelemetryReader(self._telemetry)
            recorder = recorder_state(self._telemetry.with_name("recorder.map"))
            state = describe_state(self._reader.read(), recorder)
            # The map has it only once the hot loop has told it.
            if (staging := self._stager.status) is not None:
                state["candidate"] = staging.describe()
            return ControlReply(state=state)
        command = decode_request(request)
        if isinstance(command, StageBundle):
            self._stager.stage(command)
            return ControlReply()
        if isinstance(command, AttachBundle):
            raise ConfigError("attach_bundle: expected a request to stage_bundle, which attaches it when it is loaded")
        if isinstance(command, UnstageBundle) and command.which == "candidate" and self._stager.forget():
            return ControlReply()
        if len(self._waiting) >= MOST_WAITING:
            return ControlReply(problem=f"busy: {MOST_WAITING} commands are waiting already")
        if self._prepare is not None:
            self._prepare(command)
        pending = PendingCommand(command, time.monotonic_ns() + self._timeout_ns)
        self._waiting.append((route, pending))
        self._queue.append(pending)
        return None

    def _submit(self, command: Command) -> str | None:
        """Put a command of our own into the queue, and wait until it is carried out or withdrawn."""
        pending = PendingCommand(command, time.monotonic_ns() + self._timeout_ns)
        self._queue.append(pending)
        while pending.reply is None:
            late = time.monotonic_ns() > pending.deadline_ns or self._stop.is_set()
            if late and pending.claim():
                return f"withdrawn: the engine did not take it in {self._timeout_ns / 1e9:g} s"
            time.sleep(_BUSY_POLL_MS / 1000)
        self._tell(pending)
        return pending.reply.problem

    def _send_answers(self) -> None:
        now = time.monotonic_ns()
        still: list[tuple[list[bytes], PendingCommand]] = []
        for route, pending in self._waiting:
            if pending.reply is not None:
                self._tell(pending)
                self._reply(route, pending.reply)
            elif now > pending.deadline_ns and pending.claim():
                waited = self._timeout_ns / 1e9
                self._reply(route, ControlReply(problem=f"withdrawn: the engine did not take it in {waited:g} s"))
            else:
                still.append((route, pending))
        self._waiting = still

    def _tell(self, pending: PendingCommand) -> None:
        if self._carried_out is None or pending.reply is None or pending.reply.problem is not None:
            return
        try:
            self._carried_out(pending.command)
        # Whoever is told may fail; the command was carried out, and its sender is told so.
        except Exception:
            structlog.get_logger("cortexwire.control").exception("command not kept")

    def _withdraw_all(self) -> None:
        for route, pending in self._waiting:
            self._tell(pending)
            withdrawn = ControlReply(problem="the engine stopped before it answered")
            self._reply(route, pending.reply or withdrawn)

    def _reply(self, route: list[bytes], reply: ControlReply) -> None:
        self._socket.send_multipart([*route, msgspec.json.encode(reply)], zmq.NOBLOCK)


def _nothing(_command: Command) -> None:
    """No command needs preparation."""


def _is_state_request(request: bytes) -> bool:
    try:
        return bool(msgspec.json.decode(request) == {"command": "state"})
    except msgspec.MsgspecError:
        return False


def describe_state(snapshot: TelemetrySnapshot, recorder: dict[str, Any] | None = None) -> dict[str, Any]:
    """Turn a telemetry snapshot into plain JSON values; hashes and the epoch are 16 hexadecimal digits.

    Args:
        snapshot: What the engine says of itself.
        recorder: What the recorder says of itself, if there is one.
    """
    status = snapshot.status
    return {
        "pid": snapshot.pid,
        "writer": snapshot.writer,
        "started_realtime_ns": snapshot.started_realtime_ns,
        "heartbeat_age_ms": snapshot.age_ns / 1e6,
        "state": status.state,
        "armed": status.armed,
        "epoch": f"{status.epoch:016x}",
        "restart": status.restart,
        "bin": status.bin,
        "sample_index": status.sample_index,
        "rate": list(status.rate),
        "bundle_hash": f"{status.bundle_hash:016x}",
        "overlay_hash": f"{status.overlay_hash:016x}",
        "velocity": list(status.velocity),
        "notes": status.notes,
        "last_note": status.last_note,
        **_FACTS,
        **snapshot.facts,
        "budgets": {line: "over" if over else "within" for line, over in snapshot.budgets.items()},
        "counters": snapshot.counters,
        "latency": {name: histogram.summary()._asdict() for name, histogram in snapshot.latency.items()},
        "channels": {
            "rate_hz": status.rate_hz.tolist(),
            "rms_uv": status.rms_uv.tolist(),
            "threshold_uv": status.threshold_uv.tolist(),
            "status": status.status.tolist(),
        },
        "recorder": recorder,
    }


class ControlClient:
    """An operator's side, for one thread; a request that is not answered is given up.

    Args:
        endpoint: Where the engine listens (`RunDir.control_endpoint`).
        timeout_s: How long to wait for an answer.
        curve: Keys, for an engine that wants them.
    """

    def __init__(self, endpoint: str, timeout_s: float = 5.0, curve: CurveClient | None = None) -> None:
        self.endpoint = endpoint
        self._timeout_s = timeout_s
        self._curve = curve
        self._context = zmq.Context()
        self._socket = self._connect()

    def _connect(self) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.REQ)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.RCVTIMEO, int(self._timeout_s * 1000))
        if self._curve is not None:
            self._curve.secure(socket)
        socket.connect(self.endpoint)
        return socket

    def send(self, command: Command | StageBundle | Mapping[str, Any]) -> ControlReply:
        """Send a command, given as such or as its JSON object, and return the engine's answer."""
        if isinstance(command, Mapping | StageBundle):
            payload = msgspec.json.encode(command)
        else:
            payload = encode_command(command)
        return self._ask(payload)

    def state(self) -> ControlReply:
        """Ask for the engine's state."""
        return self._ask(STATE_REQUEST)

    def _ask(self, payload: bytes) -> ControlReply:
        self._socket.send(payload)
        try:
            answer = self._socket.recv()
        except zmq.Again:
            # A REQ socket that was not answered can send nothing more.
            self._socket.close()
            self._socket = self._connect()
            return ControlReply(problem=f"no answer within {self._timeout_s:g} s from {self.endpoint}")
        return msgspec.json.decode(answer, type=ControlReply)

    def close(self) -> None:
        """Close the socket."""
        self._context.destroy()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
