"""The supervisor: starts the parts, starts again what dies or hangs, and ends them in order.

One thread waits for what the parts say and for their ends. Parts are ended in the order in which they are given: the
engine first, so that nothing moves any more, and the recorder last, so that it writes all that the engine left.
"""

import selectors
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from cortexwire.config import SupervisorSettings
from cortexwire.errors import StartupError
from cortexwire.runtime.children import ChildError
from cortexwire.runtime.supervisor.notify import Notifier
from cortexwire.runtime.supervisor.parts import Part
from cortexwire.runtime.supervisor.process import PartProcess
from cortexwire.runtime.supervisor.pulse import Pulse
from cortexwire.runtime.supervisor.restarts import Restarts

LOOK_S: Final = 0.1
"""How often heartbeats are looked at."""
_WAIT_S: Final = 0.05
_REAP_S: Final = 0.002


@dataclass(frozen=True)
class Outcome:
    """How a service ended.

    Attributes:
        code: Exit code: that of the vital part, as a shell says it.
        summaries: What each part said at its end, by name.
        restarts: How often each part was started again, by name.
    """

    code: int
    summaries: dict[str, dict[str, Any]] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)


class _Watched:
    """A part with what runs of it."""

    def __init__(self, part: Part, settings: SupervisorSettings) -> None:
        self.part = part
        self.process: PartProcess | None = None
        self.spare: PartProcess | None = None
        self.pulse = None if part.beat is None else Pulse(part.beat)
        self.restarts = Restarts(settings.most_restarts, settings.settled_s)
        self.again_at_s: float | None = None
        self.died_s = 0.0
        self.given_up: str | None = None
        self.code = 0

    @property
    def processes(self) -> list[PartProcess]:
        return [process for process in (self.process, self.spare) if process is not None]

    @property
    def in_words(self) -> str:
        if self.given_up is not None:
            return "given up"
        if self.process is None or self.process.ready is None:
            return "starting"
        return "running"


class Supervisor:
    """Runs parts until it is told to stop, on the calling thread.

    Args:
        parts: The parts in the order in which they are to be ended.
        settings: What is done about deaths.
        notifier: Who is told how the service does; nobody by default.
    """

    def __init__(
        self, parts: Sequence[Part], settings: SupervisorSettings | None = None, notifier: Notifier | None = None
    ) -> None:
        self._settings = settings or SupervisorSettings()
        self._all = [_Watched(part, self._settings) for part in parts]
        self._notifier = notifier or Notifier({})
        self._selector = selectors.DefaultSelector()
        self._summaries: dict[str, dict[str, Any]] = {}
        self._looked_s = 0.0
        # What parts say before they are ready and that is no log: of one that does not start, it is the error itself.
        self._held: list[tuple[str, dict[str, Any]]] | None = []
        self._log = structlog.get_logger("cortexwire.supervisor")

    def run(
        self,
        stop: threading.Event,
        force: threading.Event | None = None,
        on_ready: Callable[[dict[str, dict[str, Any]]], None] | None = None,
    ) -> Outcome:
        """Start all parts, and keep them going until `stop` is set or a vital part has ended.

        Args:
            stop: Ends the parts in order.
            force: Ends what still runs at once.
            on_ready: Called with what each part said when all of them are ready.

        Raises:
            StartupError: With all that kept parts from starting; none of them runs then.
            ChildError: A vital part was given up; with the reason.
        """
        force = force or threading.Event()
        orderly = False
        try:
            self._start(stop)
            if not stop.is_set():
                said = {watched.part.name: watched.process.ready or {} for watched in self._all if watched.process}
                if on_ready is not None:
                    on_ready(said)
                self._notifier.ready(self._in_words())
                self._keep(stop)
            self._notifier.stopping()
            self._end(force)
            orderly = True
        finally:
            for watched in self._all:
                for process in watched.processes:
                    self._close(process)
                watched.part.close(orderly)
            self._selector.close()
            self._notifier.close()
        self._raise_given_up()
        code = next((watched.code for watched in self._all if watched.part.vital), 0)
        restarts = {watched.part.name: watched.restarts.total for watched in self._all}
        return Outcome(code, self._summaries, restarts)

    def _start(self, stop: threading.Event) -> None:
        for watched in self._all:
            watched.process = self._process(watched.part, watched.part.first())
        while not stop.is_set():
            self._hear()
            waiting = [watched for watched in self._all if self._is_starting(watched)]
            if not waiting:
                break
        problems = [
            f"{watched.part.name}: {problem}"
            for watched in self._all
            if not stop.is_set() and watched.process is not None and watched.process.ready is None
            for problem in watched.process.problems()
        ]
        if problems:
            raise StartupError(problems)
        held, self._held = self._held or [], None
        for name, event in held:
            self._pass_on(name, event)
        for watched in self._all:
            self._greet(watched)

    def _is_starting(self, watched: _Watched) -> bool:
        """Whether a part may still become ready; one that takes too long is ended, and says so."""
        process = watched.process
        if process is None or process.ready is not None or process.poll() is not None:
            return False
        if time.monotonic() - process.started_s > watched.part.start_s:
            self._give_up_on(process, f"not ready within {watched.part.start_s:g} s")
        return True

    def _greet(self, watched: _Watched) -> None:
        """A part has become ready."""
        process = watched.process
        if process is None or process.ready is None or process.ready_s is not None:
            return
        now = process.ready_s = time.monotonic()
        watched.part.is_ready(process.ready)
        if watched.pulse is not None:
            watched.pulse.begin(now)
        if watched.died_s:
            took = round(1000 * (now - watched.died_s))
            self._log.info("started again", part=watched.part.name, pid=process.pid, after_ms=took)
        else:
            self._log.info("ready", part=watched.part.name, pid=process.pid)
        command = watched.part.standby()
        if command is not None and watched.spare is None:
            watched.spare = self._process(watched.part, command, standby=True)

    def _keep(self, stop: threading.Event) -> None:
        """Watch over the parts until it is over."""
        while not stop.is_set():
            self._hear()
            now = time.monotonic()
            look = now - self._looked_s >= LOOK_S
            for watched in self._all:
                if self._is_over(watched, now, look=look):
                    return
            if look:
                self._looked_s = now
                self._tell_systemd(now)

    def _is_over(self, watched: _Watched, now: float, *, look: bool) -> bool:
        """Look after one part; whether the service ends with it."""
        process, spare = watched.process, watched.spare
        if spare is not None and spare.poll() is not None:
            self._log.warning("standby ended", part=watched.part.name, why=spare.why())
            self._close(spare)
            watched.spare = None
        if process is None:
            if watched.again_at_s is not None and now >= watched.again_at_s:
                self._again(watched)
            return False
        if process.poll() is not None:
            return self._died(watched, process, now)
        if process.ready is None:
            self._is_starting(watched)
            return False
        self._greet(watched)
        if look:
            watched.part.look()
            silent_s = 0.0 if watched.pulse is None else watched.pulse.silent_s(process.pid, now)
            limit_s = watched.part.hung_after_s or self._settings.hung_after_ms / 1000
            if silent_s > limit_s:
                self._give_up_on(process, f"hung: no heartbeat for {silent_s:.1f} s")
        return False

    def _give_up_on(self, process: PartProcess, why: str) -> None:
        """Kill a process, once, and say why; that it is dead is noticed as with any other."""
        if not process.doomed:
            process.doomed = True
            process.said.append(why)
            process.signal(signal.SIGKILL)

    def _died(self, watched: _Watched, process: PartProcess, now: float) -> bool:
        name, why, code = watched.part.name, process.why(), process.poll() or 0
        watched.died_s, watched.process = now, None
        self._close(process)
        watched.part.look()
        watched.code = code if code >= 0 else 128 - code
        if watched.part.vital and code == 0:
            self._log.warning("ended by itself in good order; so does the service", part=name)
            return True
        ready_s = 0.0 if process.ready_s is None else now - process.ready_s
        pause = watched.restarts.died(ready_s)
        if pause is None:
            watched.given_up = f"died {watched.restarts.in_a_row} times in a row; the last time: {why}"
            self._log.error("given up", part=name, why=watched.given_up)
            return watched.part.vital
        self._log.error("died", part=name, pid=process.pid, why=why, starts_again_in_s=pause)
        watched.again_at_s = now + pause
        if not pause:
            self._again(watched)
        return False

    def _again(self, watched: _Watched) -> None:
        watched.again_at_s = None
        spare, watched.spare = watched.spare, None
        if spare is not None:
            try:
                spare.tell(watched.part.word())
            except OSError:
                self._close(spare)
            else:
                spare.name, spare.started_s = watched.part.name, time.monotonic()
                watched.process = spare
                return
        watched.process = self._process(watched.part, watched.part.again())

    def _process(self, part: Part, command: Sequence[str], *, standby: bool = False) -> PartProcess:
        name = f"{part.name} standby" if standby else part.name
        process = PartProcess(name, command, time.monotonic(), told=standby)
        for fd in process.open:
            self._selector.register(fd, selectors.EVENT_READ, process)
        return process

    def _hear(self, seconds: float = _WAIT_S) -> None:
        """Wait until a part says something or ends, and pass on what it says."""
        every = [process for watched in self._all for process in watched.processes]
        # One whose streams have ended is about to end itself.
        ending = any(len(process.open) < 2 for process in every)
        for key, _ in self._selector.select(_REAP_S if ending else seconds):
            self._take(key.data)

    def _take(self, process: PartProcess) -> None:
        before = process.open
        for event in process.hear():
            if self._held is not None and "timestamp" not in event:
                self._held.append((process.name, event))
            else:
                self._pass_on(process.name, event)
        for fd in set(before) - set(process.open):
            self._selector.unregister(fd)
        if process.summary is not None:
            self._summaries[process.name] = process.summary

    def _pass_on(self, part: str, event: dict[str, Any]) -> None:
        level = event.pop("level", "info")
        text = event.pop("event", "")
        event.pop("part", None)
        self._log.log(_number(level), text, part=part, **event)

    def _close(self, process: PartProcess) -> None:
        """End a process by force if it still runs, hear its last, and forget it."""
        process.end()
        self._take(process)
        for fd in process.open:
            self._selector.unregister(fd)
        process.close()

    def _end(self, force: threading.Event) -> None:
        """End the parts in order, and by force where they do not."""
        for watched in self._all:
            if watched.spare is not None:
                self._close(watched.spare)
                watched.spare = None
            process = watched.process
            if process is None:
                continue
            process.signal(signal.SIGINT)
            give_up = time.monotonic() + watched.part.stop_s
            while process.poll() is None:
                self._hear()
                if force.is_set() or time.monotonic() > give_up:
                    self._log.warning("ended by force", part=watched.part.name)
                    process.end()
                    break
            self._take(process)
            code = process.poll() or 0
            watched.code = code if code >= 0 else 128 - code

    def _raise_given_up(self) -> None:
        for watched in self._all:
            if watched.part.vital and watched.given_up is not None:
                raise ChildError(f"the {watched.part.name} {watched.given_up}")

    def _tell_systemd(self, now: float) -> None:
        self._notifier.status(self._in_words())
        if all(watched.in_words == "running" for watched in self._all if watched.part.vital):
            self._notifier.alive(now)

    def _in_words(self) -> str:
        parts = []
        for watched in self._all:
            again = f", started again {watched.restarts.total} times" if watched.restarts.total else ""
            parts.append(f"{watched.part.name} {watched.in_words}{again}")
        return "; ".join(parts)


def _number(level: object) -> int:
    return {"debug": 10, "warning": 30, "error": 40, "critical": 50}.get(str(level), 20)
