"""Parts of a service that are small scripts, a supervisor that runs them in a thread, and its log."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog

from cortexwire.config import SupervisorSettings
from cortexwire.runtime.supervisor import Notifier, Outcome, Part, Supervisor

PATIENCE_S = 60.0
SAYS_READY = """
import json, os, signal, sys, threading, time
def ready(**more):
    print(json.dumps({"ready": {"pid": os.getpid(), **more}}), flush=True)
def ended(*_):
    print(json.dumps({"summary": {"at": time.monotonic()}}), flush=True)
    sys.exit(0)
signal.signal(signal.SIGINT, ended)
"""
WORKS = SAYS_READY + "ready(); signal.pause()"


def until(happens: Callable[[], Any]) -> Any:
    """Wait for something to become true, and give it."""
    give_up = time.monotonic() + PATIENCE_S
    while not (found := happens()):
        assert time.monotonic() < give_up
        time.sleep(0.01)
    return found


def script(code: str) -> list[str]:
    """The command line that runs this code."""
    return [sys.executable, "-c", code]


class Service:
    """A supervisor in a thread.

    Attributes:
        said: What its parts said when all of them were ready.
        log: Its log, one event each.
        outcome: How it ended.
        error: Why it did not end well.
    """

    def __init__(self, parts: list[Part], settings: SupervisorSettings, notifier: Notifier | None) -> None:
        self.said: dict[str, dict[str, Any]] = {}
        self.log: list[Mapping[str, Any]] = []
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self.stop, self.force = threading.Event(), threading.Event()
        self._supervisor = Supervisor(parts, settings, notifier)
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.outcome = self._supervisor.run(self.stop, self.force, self.said.update)
        except Exception as error:
            self.error = error

    def happened(self, event: str, part: str | None = None) -> list[Mapping[str, Any]]:
        """What the log says of an event."""
        return [line for line in list(self.log) if line["event"] == event and part in (None, line.get("part"))]

    def wait(self) -> None:
        """Wait until it has ended by itself."""
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()

    def end(self) -> Outcome:
        """Ask it to end, and wait."""
        self.stop.set()
        self.wait()
        assert self.error is None
        assert self.outcome is not None
        return self.outcome


@contextmanager
def served(
    parts: list[Part],
    settings: SupervisorSettings | None = None,
    notifier: Notifier | None = None,
    *,
    ready: bool = True,
) -> Iterator[Service]:
    """A service whose parts are ready, unless it is not waited for."""
    service = Service(parts, settings or SupervisorSettings(), notifier)

    def keep(_logger: object, level: str, event: Any) -> Any:
        service.log.append(dict(event) | {"level": level})
        raise structlog.DropEvent

    structlog.configure(processors=[keep], cache_logger_on_first_use=False)
    service.thread.start()
    try:
        if ready:
            until(lambda: service.said or not service.thread.is_alive())
        yield service
    finally:
        service.stop.set()
        service.force.set()
        service.thread.join()
        structlog.reset_defaults()
