"""What a test can leave behind: threads, processes, ZeroMQ sockets and contexts.

`Census` lists those that are alive; the guard in `conftest.py` fails a test after which more are alive than
before. Sockets are found through a weak register of all that were made, so the guard keeps nothing alive (of
what nobody holds any more pyzmq itself warns, and warnings are errors here). Processes are found in `/proc`,
as children of this one or by an environment variable that all descendants inherit, so that an engine that
outlives its supervisor is found too; where there is no `/proc`, processes are not checked.
"""

import os
import threading
import uuid
import weakref
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import zmq

MARK = "PYTEST_RUN_MARK"
"""Environment variable that marks what descends from this run (the engine refuses unknown `CORTEXWIRE_*`)."""
OURS = ("cortexwire", "tests")
"""Packages whose daemon threads count too; those of libraries serve the whole run."""
HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
"""Processes that the standard library keeps for the whole run."""

_made: weakref.WeakSet[zmq.Context[Any] | zmq.Socket[Any]] = weakref.WeakSet()


class Census(NamedTuple):
    """What is alive now, each with the words in which a failing test names it."""

    alive: dict[object, str]

    @classmethod
    def take(cls) -> "Census":
        """List the threads, processes, sockets and contexts that are alive now."""
        return cls(_threads() | _processes() | _zeromq())

    def since(self, before: "Census") -> list[str]:
        """Name what is alive in this census and was not in the earlier one."""
        return sorted(name for key, name in self.alive.items() if key not in before.alive)


def watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, mark every descendant of this process and register every ZeroMQ socket and context."""
    monkeypatch.setenv(MARK, uuid.uuid4().hex)
    for kind in (zmq.Context, zmq.Socket):
        monkeypatch.setattr(kind, "__init__", _registering(kind.__init__))


def _registering(initialise: Any) -> Any:
    def registering(self: zmq.Context[Any] | zmq.Socket[Any], *args: Any, **kwargs: Any) -> None:
        initialise(self, *args, **kwargs)
        _made.add(self)

    return registering


def _threads() -> dict[object, str]:
    return {
        thread: f"thread {thread.name!r}"
        for thread in threading.enumerate()
        if thread.is_alive() and not (thread.daemon and not _is_ours(thread))
    }


def _is_ours(thread: threading.Thread) -> bool:
    target = getattr(thread, "_target", None)
    module = getattr(target, "__module__", None) or type(thread).__module__
    return module.partition(".")[0] in OURS


def _zeromq() -> dict[object, str]:
    return {
        thing: f"ZeroMQ {type(thing).__name__} {thing!r}"
        for thing in list(_made)
        if not thing.closed and not getattr(thing, "_shadow", False) and not _is_shared_context(thing)
    }


def _is_shared_context(thing: object) -> bool:
    return getattr(type(thing), "_instance", None) is thing


def _processes() -> dict[object, str]:
    mark = f"{MARK}={os.environ.get(MARK)}".encode()
    found: dict[object, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent != os.getpid() and mark not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:  # it ended while we looked, or is someone else's
            continue
        if not any(helper in command for helper in HELPERS):
            found[int(folder.name)] = f"process {folder.name} ({command or 'ended, not waited for'})"
    return found
