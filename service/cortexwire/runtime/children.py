"""Processes of this package that another one starts, listens to, and ends; none outlives its parent.

A child is started with `python -m cortexwire.cli`, never by import, in a session of its own: a Ctrl-C in the
terminal reaches the parent only, which then ends its children in the order that it wants.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from cortexwire.errors import CortexwireError
from cortexwire.runtime.parent import PARENT_VARIABLE

_LAST_LINES = 12
_LAST_BYTES = 16_384


class ChildError(CortexwireError):
    """A child ended by itself."""


def command_line(arguments: Sequence[str]) -> list[str]:
    """The command that runs `cortexwire` with these arguments in this interpreter.

    `-P` keeps the working directory, whatever lies in it, out of the module search.
    """
    return [sys.executable, "-P", "-m", "cortexwire.cli", *arguments]


def child_environment(env: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child of this process."""
    return {**env, PARENT_VARIABLE: str(os.getpid())}


class Child:
    """A running child whose standard output is read line by line and whose errors are kept.

    Args:
        name: What to call it in messages.
        arguments: Its command line after `cortexwire`.
        env: Its environment; this process's own by default.
    """

    def __init__(self, name: str, arguments: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the child
        self._process = subprocess.Popen(
            command_line(arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=child_environment(os.environ if env is None else env),
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout
        os.set_blocking(self._output.fileno(), False)
        self._partial = b""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def lines(self) -> list[str]:
        """Lines that it has written since the last call; does not wait."""
        self._partial += self._output.read() or b""
        *whole, self._partial = self._partial.split(b"\n")
        return [line.decode(errors="replace") for line in whole]

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._process.poll()

    def check(self) -> None:
        """Make sure that it runs.

        Raises:
            ChildError: It does not; with its exit code and the last that it said.
        """
        code = self.poll()
        if code is not None:
            raise ChildError(f"the {self.name} ended by itself ({how_it_ended(code)}); it said:\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of its standard error."""
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - _LAST_BYTES))
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return "\n".join(f"  {line}" for line in lines[-_LAST_LINES:]) or "  nothing"

    def stop(self, seconds: float = 5.0) -> int:
        """End it as Ctrl-C would, and by force where that takes longer than `seconds`; return its exit code."""
        if self.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def close(self) -> None:
        """End it and let go of its pipes; safe to call twice."""
        self.stop()
        self._output.close()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def how_it_ended(code: int) -> str:
    """An exit code as `subprocess` gives it, in words."""
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
