"""The recorder process: waits for an engine's tap, records it, and does what it is told over its socket.

It first goes on with a recording that a recorder before it left unfinished. It ends only when it is told to: an engine
that dies and comes back goes on in the same recording, and one that comes back with another ring begins another one.
"""

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import structlog
import zmq

from cortexwire.config import RecorderSettings
from cortexwire.errors import ConfigError, CortexwireError
from cortexwire.runtime.recorder.control import LONGEST_REQUEST_BYTES, Request, decode_request
from cortexwire.runtime.recorder.recording import Recording, begin_new, left_unfinished
from cortexwire.runtime.recorder.status import RecorderStatus, StatusMap
from cortexwire.runtime.rundir import RunDir

HEARTBEAT_MS: Final = 100
"""How often the status is written, whatever happens."""
AGAIN_S: Final = 1.0
"""How long to wait before a recording that could not begin is tried again."""


class Recorder:
    """One recorder of one run directory, its only one.

    Args:
        run_dir: The run directory; made if it is not there.
        settings: The recorder's settings.

    Raises:
        ConfigError: The run directory cannot be used, or another recorder is in it.
    """

    def __init__(self, run_dir: Path, settings: RecorderSettings) -> None:
        self.run_dir = RunDir(run_dir, role="recorder")
        # What it says of folders is for processes that run elsewhere.
        self.settings = settings.model_copy(update={"folder": settings.folder.absolute()})
        self.endpoint = self.run_dir.recorder_endpoint
        self._recording: Recording | None = None
        self._wanted: Request | None = Request("start") if settings.autostart else None
        self._may_go_on = True
        self._try_at = 0.0
        self._told = ""
        self._log = structlog.get_logger("cortexwire.recorder")
        self.run_dir.acquire()
        try:
            self._status = StatusMap(self.run_dir.recorder)
            self._context = zmq.Context()
            self._socket = self._context.socket(zmq.REP)
            self._socket.set(zmq.LINGER, 500)
            self._socket.set(zmq.MAXMSGSIZE, LONGEST_REQUEST_BYTES)
            self._socket.bind(self.endpoint)
        except zmq.ZMQError as error:
            self._context.destroy()
            self.run_dir.close()
            raise ConfigError(f"recorder: cannot bind {self.endpoint}: {error.strerror}") from error
        except ConfigError:
            self.run_dir.close()
            raise

    def run(self, stop: threading.Event) -> RecorderStatus:
        """Record and answer until `stop` is set; then what the ring holds is written, and the recording ended.

        Returns:
            The last status.
        """
        try:
            while not stop.is_set():
                if self._socket.poll(HEARTBEAT_MS):
                    self._answer(self._socket.recv())
                self._look()
        finally:
            self._end()
        return self._status.get()

    def _look(self) -> None:
        if self._recording is not None and self._recording.is_over:
            recording = self._recording
            self._end()
            recording.discard_empty()
            self._try_at = time.monotonic() + AGAIN_S
        if self._recording is not None:
            self._recording.look()
            return
        self._status.update()
        if (self._may_go_on or self._wanted is not None) and time.monotonic() >= self._try_at:
            self._try_at = time.monotonic() + AGAIN_S
            self._attempt()

    def _attempt(self) -> None:
        """Begin what is wanted, if an engine has been here; else wait for it."""
        if not self.run_dir.tap.exists():
            self._try_at = time.monotonic() + HEARTBEAT_MS / 1000
            return
        try:
            self._begin(from_now=False)
        except (CortexwireError, OSError) as error:
            self._status.update(state="failed", note=str(error))
            if str(error) != self._told:
                self._log.error("recording not begun", why=str(error))
                self._told = str(error)

    def _begin(self, *, from_now: bool) -> None:
        settings, wanted = self.settings, self._wanted
        plan = left_unfinished(settings.folder, self.run_dir) if self._may_go_on else None
        self._may_go_on = False
        if plan is None:
            if wanted is None:
                return
            plan = begin_new(settings.folder, self.run_dir, wanted.name, wanted.about, from_now=from_now)
        recording = Recording(plan, self.run_dir.tap, settings, self._status)
        recording.start()
        self._recording, self._told = recording, ""
        self._wanted = wanted or Request("start")

    def _end(self) -> None:
        if self._recording is not None:
            self._recording.stop()
            self._recording = None

    def _answer(self, payload: bytes) -> None:
        problem: str | None = None
        try:
            self._do(decode_request(payload))
        except CortexwireError as error:
            problem = str(error)
        except Exception as error:
            self._log.exception("request failed")
            problem = f"request failed: {type(error).__name__}: {error}"
        answer: dict[str, Any] = {"problem": problem, "status": self._status.get()}
        self._socket.send(msgspec.json.encode(answer), zmq.NOBLOCK)

    def _do(self, request: Request) -> None:
        match request.command:
            case "start":
                if self._recording is not None:
                    raise ConfigError(f"recorder: recording already, in {self._recording.plan.folder}")
                self._wanted, self._may_go_on = request, False
                try:
                    self._begin(from_now=True)
                except CortexwireError:
                    self._wanted = None
                    raise
            case "stop":
                self._wanted, self._may_go_on = None, False
                if self._recording is None:
                    raise ConfigError("recorder: nothing is being recorded")
                self._end()

    def close(self) -> None:
        """Close everything; safe to call twice. The files stay."""
        if not self._context.closed:
            self._end()
            self._context.destroy()
            self._status.close()
            self.run_dir.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
