"""An API around an engine: the real server on a free port, in a thread, and the real engine around a fake pipeline."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from cortexwire.api.server import ApiServer
from cortexwire.config import ApiSettings, EngineConfig
from tests.runtime.fakes import Rig, config, running

GENEROUS = {"read_rate": 1e6, "control_rate": 1e6}


def settings(folder: Path, *, api: dict[str, Any] | None = None, **changes: object) -> EngineConfig:
    """An engine and its API on free ports, that lets a test ask as often as it likes."""
    return config(folder, api=ApiSettings(**{"bind": "127.0.0.1:0", **GENEROUS, **(api or {})}), **changes)


class Served:
    """An API that serves.

    Attributes:
        url: Where.
        client: Asks it.
        rig: The engine, if there is one.
    """

    def __init__(self, url: str, client: httpx.Client, folder: Path, rig: Rig | None) -> None:
        self.url, self.client, self.folder = url, client, folder
        self._rig = rig

    @property
    def rig(self) -> Rig:
        """The engine's rig."""
        assert self._rig is not None
        return self._rig

    def get(self, path: str, **more: Any) -> httpx.Response:
        """Ask."""
        return self.client.get(path, **more)

    def post(self, path: str, body: object = None, **more: Any) -> httpx.Response:
        """Ask for a change."""
        return self.client.post(path, json=body, **more)

    def until(self, path: str, good: Callable[[Any], bool], seconds: float = 30.0) -> Any:
        """Ask until the answer is good; returns it."""
        give_up = time.monotonic() + seconds
        while True:
            seen = self.get(path).json()
            if good(seen):
                return seen
            assert time.monotonic() < give_up, seen
            time.sleep(0.05)


@contextmanager
def serving(settings: EngineConfig, rig: Rig | None = None, headers: dict[str, str] | None = None) -> Iterator[Served]:
    """An API in a thread of its own; `rig` is the engine that runs beside it."""
    server = ApiServer(settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        with httpx.Client(base_url=server.url, timeout=30, headers=headers, trust_env=False) as client:
            give_up = time.monotonic() + 30
            while True:
                try:
                    client.get("/healthz")
                    break
                except httpx.ConnectError:
                    assert time.monotonic() < give_up
                    time.sleep(0.02)
            yield Served(server.url, client, settings.run_dir, rig)
    finally:
        server.stop()
        thread.join()


@contextmanager
def engine_and_api(
    folder: Path, *, api: dict[str, Any] | None = None, headers: dict[str, str] | None = None, **changes: object
) -> Iterator[Served]:
    """An engine around a fake pipeline, and its API."""
    chosen = settings(folder, api=api, **changes)
    with running(chosen) as rig, serving(chosen, rig, headers) as served:
        # Behind all that woke the engine up, so that no bin comes unasked from here on.
        rig.push.send(b"silent")
        give_up = time.monotonic() + 30
        while ("packet", b"silent") not in rig.pipeline.taken:
            assert time.monotonic() < give_up
            time.sleep(0.01)
        served.until("/v1/state", lambda state: state["engine"]["writer"] == "live")
        yield served
