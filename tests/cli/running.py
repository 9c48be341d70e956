"""How tests run commands: inside this process where that is enough, else as the processes that they are."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from cortexwire.cli import main


class Ran(NamedTuple):
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


class Command:
    """Runs commands in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str | Path) -> Ran:
        """Run one command line."""
        self._monkeypatch.setattr(sys, "argv", ["cortexwire", *map(str, arguments)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self._capsys.readouterr()
        code = ended.value.code
        return Ran(code if isinstance(code, int) else 0, out, err)


def run_process(code: str, **changes: str | None) -> subprocess.CompletedProcess[str]:
    """Run Python code in a fresh interpreter, with changes of its environment (None takes a variable out)."""
    env = {name: value for name, value in (os.environ | changes).items() if value is not None}
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False, timeout=120
    )
