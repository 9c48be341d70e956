"""Whether a part that lives still does its work, told from a heartbeat that it leaves in memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from cortexwire.errors import ConfigError
from cortexwire.runtime.telemetry import TelemetryReader, TelemetrySnapshot

LONGEST_LOOK_S: Final = 0.5
"""Time between two looks of which more does not count: whoever was stopped together with the part learns nothing."""

Beat = Callable[[int], int | None]
"""Gives the last heartbeat of the process with this id, any number that changes with each; None where there is none."""


class Pulse:
    """Counts for how long a heartbeat has not changed, by the observer's own looks.

    Args:
        beat: Reads the heartbeat.
    """

    def __init__(self, beat: Beat) -> None:
        self._beat = beat
        self.begin(0.0)

    def begin(self, now_s: float) -> None:
        """Another process is looked at from now on."""
        self._last: int | None = None
        self._looked_s = now_s
        self._silent_s = 0.0

    def silent_s(self, pid: int, now_s: float) -> float:
        """Look; gives for how long nothing has changed, 0 before the first heartbeat."""
        beat = self._beat(pid)
        since, self._looked_s = now_s - self._looked_s, now_s
        if beat is None or beat != self._last:
            self._last, self._silent_s = beat, 0.0
        else:
            self._silent_s += min(since, LONGEST_LOOK_S)
        return self._silent_s


class EngineView:
    """An engine's telemetry map as its supervisor reads it, whichever engine writes it.

    Args:
        path: The map; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader: TelemetryReader | None = None

    def read(self) -> TelemetrySnapshot | None:
        """What the map says now; None without one."""
        try:
            if self._reader is None:
                self._reader = TelemetryReader(self._path)
            return self._reader.read()
        except ConfigError:
            self.close()
            return None

    def beat(self, pid: int) -> int | None:
        """The heartbeat of the engine with this process id, if it is the one that writes."""
        snapshot = self.read()
        return snapshot.heartbeat_ns if snapshot is not None and snapshot.pid == pid else None

    def close(self) -> None:
        """Unmap the file; safe to call twice."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
