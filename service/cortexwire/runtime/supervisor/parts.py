"""The parts of the service: how each is started, first and again, and how it shows that it works."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from cortexwire.runtime.children import command_line
from cortexwire.runtime.rundir import RunDir
from cortexwire.runtime.supervisor.asking import Asking
from cortexwire.runtime.supervisor.lastgood import LastGood
from cortexwire.runtime.supervisor.pulse import Beat, EngineView

START_S: Final = 180.0
"""Longest wait for a part to be ready; the first start on a machine compiles the kernels."""
STOP_S: Final = 10.0
"""Longest wait for a part that was asked to end."""
WEB_HUNG_S: Final = 15.0
"""A web server without an answer for so long hangs; a busy one may take seconds."""


class Part:
    """A part that is one command line, the same each time.

    It says on standard output that it is ready, `{"ready": {...}}` on one line, logs JSON lines on standard error, and
    ends at SIGINT.

    Args:
        name: What it is called in messages.
        command: Its command line; `cortexwire.runtime.children.command_line` makes one of our own.
        vital: Whether the service ends when this part is given up, or ends by itself in good order.
        beat: Its heartbeat, if it has one.
        hung_after_s: Silence of the heartbeat by which it counts as hung; as the settings say by default.
        start_s: Longest wait for its ready line.
        stop_s: Longest wait for its end, before it is ended by force.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        vital: bool = False,
        beat: Beat | None = None,
        hung_after_s: float | None = None,
        start_s: float = START_S,
        stop_s: float = STOP_S,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.vital = vital
        self.beat = beat
        self.hung_after_s = hung_after_s
        self.start_s = start_s
        self.stop_s = stop_s

    def first(self) -> list[str]:
        """The command line of its first start."""
        return self.command

    def again(self) -> list[str]:
        """The command line of a start after a death."""
        return self.command

    def standby(self) -> list[str] | None:
        """The command line of a second process that waits for its turn; None for a part without one."""
        return None

    def word(self) -> str:
        """What a process that waits is told when its turn has come."""
        return ""

    def is_ready(self, said: Mapping[str, Any]) -> None:
        """It is ready, and said this."""

    def look(self) -> None:
        """Called ten times a second while it is ready, and once after it died."""

    def close(self, orderly: bool) -> None:
        """The supervisor lets go of it; `orderly` if all ended as it was asked to."""


class EnginePart(Part):
    """The engine: started again with the last good settings.

    Args:
        command: Its command line after `cortexwire engine`.
        run_dir: Its run directory.
        rearm: Whether it is armed again if it was armed when it died.
        standby: Whether a second engine waits for its turn.
        resume: Whether to begin with what a supervisor that was killed has left.
    """

    def __init__(
        self,
        command: Sequence[str],
        run_dir: RunDir,
        *,
        rearm: bool = False,
        standby: bool = False,
        resume: bool = False,
    ) -> None:
        self._view = EngineView(run_dir.telemetry)
        self._last_good = LastGood(run_dir, rearm, resume)
        self._wants_standby = standby
        super().__init__("engine", command_line(["engine", "--json", *command]), vital=True, beat=self._view.beat)

    def first(self) -> list[str]:
        """Its own command line, or after a supervisor that was killed that of a start again."""
        return self.again() if self._last_good.resumed else self.command

    def again(self) -> list[str]:
        """With the last good settings, which go before all others."""
        sets = [part for text in self._last_good.assignments() for part in ("--set", text)]
        return [*self.command, *sets]

    def standby(self) -> list[str] | None:
        """An engine that is compiled, and waits."""
        return [*self.command, "--standby"] if self._wants_standby else None

    def word(self) -> str:
        """The last good settings, a JSON list of assignments."""
        return msgspec.json.encode(self._last_good.assignments()).decode()

    def is_ready(self, said: Mapping[str, Any]) -> None:
        """Remember where it listens and publishes."""
        self._last_good.ready(said)

    def look(self) -> None:
        """Remember what is in force."""
        self._last_good.look(self._view.read())

    def close(self, orderly: bool) -> None:
        """Forget what is in force, unless somebody may want to go on with it."""
        self._view.close()
        if orderly:
            self._last_good.forget()


class WebPart(Part):
    """A part that answers HTTP: it works as long as it answers anything at all.

    Its ready line names its `url`.

    Args:
        name: What it is called in messages.
        command: Its command line.
        path: What it is asked for.
    """

    def __init__(self, name: str, command: Sequence[str], path: str = "/healthz") -> None:
        self._path = path
        self._asking: Asking | None = None
        super().__init__(name, command, beat=self._answers, hung_after_s=WEB_HUNG_S)

    def _answers(self, pid: int) -> int | None:
        return None if self._asking is None else self._asking.answers

    def is_ready(self, said: Mapping[str, Any]) -> None:
        """Ask it again and again from now on."""
        self.close(orderly=True)
        if isinstance(url := said.get("url"), str):
            self._asking = Asking(url + self._path)

    def close(self, orderly: bool) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.close()
            self._asking = None
