"""One process of a part: started in a session of its own, heard line by line, and ended."""

import json
import os
import signal
import subprocess
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any, Final

from cortexwire.runtime.children import child_environment, how_it_ended

LAST_LINES: Final = 12
"""Lines kept of what a process said that is no log."""
_LONGEST_LINE: Final = 65_536
_MOST_CHUNKS: Final = 8
"""Pieces of what one process says that are taken at a time: who never stops talking keeps nobody from the others."""
_KILL_S: Final = 5.0


class PartProcess:
    """A started process.

    Attributes:
        ready: What its ready line says; None before it came.
        summary: What its summary says; None before it came.
        said: The last that it said that is no log: why it could not start, a traceback.
        doomed: Whether it was killed for hanging.

    Args:
        name: What it is called.
        command: Its command line.
        started_s: When, on the supervisor's clock.
        told: Whether it waits for a word on its standard input.
    """

    def __init__(self, name: str, command: Sequence[str], started_s: float, *, told: bool = False) -> None:
        self.name = name
        self.started_s = started_s
        self.ready_s: float | None = None
        self.ready: dict[str, Any] | None = None
        self.summary: dict[str, Any] | None = None
        self.said: deque[str] = deque(maxlen=LAST_LINES)
        self.doomed = False
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE if told else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment(os.environ),
            start_new_session=True,
        )
        self._partial: dict[int, bytes] = {}
        self._open = [stream.fileno() for stream in self._streams]
        for fd in self._open:
            os.set_blocking(fd, False)

    @property
    def _streams(self) -> tuple[IO[bytes], IO[bytes]]:
        """Its standard output and its standard error."""
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        return self._process.stdout, self._process.stderr

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def open(self) -> tuple[int, ...]:
        """File descriptors on which it can still say something."""
        return tuple(self._open)

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._process.poll()

    def hear(self) -> list[dict[str, Any]]:
        """Take what it has said since the last time; gives its log, one event each. Does not wait."""
        events = []
        for stream in self._streams:
            for line in self._lines(stream):
                content = _object(line)
                if content is None:
                    self.said.append(line)
                    events.append({"event": line, "level": "info"})
                elif stream is self._streams[0]:
                    self.ready = content.get("ready", self.ready)
                    self.summary = content.get("summary", self.summary)
                else:
                    events.append(content)
        return events

    def _lines(self, stream: IO[bytes]) -> list[str]:
        fd = stream.fileno()
        partial = self._partial.get(fd, b"")
        for _ in range(_MOST_CHUNKS):
            try:
                chunk = os.read(fd, _LONGEST_LINE)
            except BlockingIOError:
                break
            if not chunk:
                if fd in self._open:
                    self._open.remove(fd)
                break
            partial += chunk
        *whole, rest = partial.split(b"\n")
        if fd not in self._open or len(rest) > _LONGEST_LINE:
            whole.append(rest)
            rest = b""
        self._partial[fd] = rest
        return [line.decode(errors="replace") for line in whole if line.strip()]

    def tell(self, line: str) -> None:
        """Give it the word that it waits for.

        Raises:
            OSError: It no longer listens.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.close()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            self._process.send_signal(number)

    def why(self) -> str:
        """How it ended, with the last that it said."""
        code = self.poll()
        how = "it runs" if code is None else how_it_ended(code)
        return how if not self.said else f"{how}: {' | '.join(line.strip() for line in self.said)}"

    def problems(self) -> list[str]:
        """Why it did not start, one sentence each."""
        lines = [line.strip().removeprefix("cortexwire: ") for line in self.said]
        listed = [line.removeprefix("- ") for line in lines if line.startswith("- ")]
        return listed or ["; ".join(lines) or f"ended with {self.why()}"]

    def end(self) -> None:
        """End it by force if it still runs."""
        self.signal(signal.SIGKILL)
        # One that waits for a broken disk ends when the disk lets it; nobody waits for that here.
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILL_S)

    def close(self) -> None:
        """Let go of its pipes; safe to call twice."""
        for stream in (self._process.stdin, *self._streams):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()


def _object(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
