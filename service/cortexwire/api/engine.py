"""The engine's control socket from an event loop: commands wait in threads, and what makes safe waits behind nothing.

`ControlClient` is for one thread, so each thread has its own. Disarming and the neutral stop have one to themselves:
an overlay that takes seconds to load, or an engine that lets others wait, does not hold them up.
"""

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from cortexwire.api.monitor import Monitor
from cortexwire.api.problems import ProblemError
from cortexwire.clients.curve import CurveClient
from cortexwire.runtime.control import ControlClient, ControlReply

_THREADS: Final = 4
_UNANSWERED: Final = ("no answer", "busy:", "withdrawn:", "the engine stopped")


class EngineLink:
    """Sends commands.

    Args:
        monitor: Tells whether there is an engine.
        endpoint: Where it listens.
        curve: Keys, for an engine that wants them.
    """

    def __init__(self, monitor: Monitor, endpoint: str, curve: CurveClient | None = None) -> None:
        self._monitor = monitor
        self._endpoint = endpoint
        self._curve = curve
        self._clients: list[ControlClient] = []
        self._mine = threading.local()
        self._pool = ThreadPoolExecutor(_THREADS, "cortexwire-api-control")
        self._urgent = ThreadPoolExecutor(1, "cortexwire-api-urgent")

    async def command(self, request: Mapping[str, Any], *, urgent: bool = False) -> int:
        """Have the engine do something; returns the first bin on which it acts, -1 where it acts on none.

        Raises:
            ProblemError: There is no engine (503), it does not answer (503), or it refuses (409).
        """
        self._monitor.refresh()
        if self._monitor.writer not in ("live", "stale"):
            raise ProblemError(503, f"expected a running engine, its telemetry is {self._monitor.writer}")
        pool = self._urgent if urgent else self._pool
        reply = await asyncio.get_running_loop().run_in_executor(pool, self._send, request)
        if reply.problem is None:
            return -1 if reply.bin is None else reply.bin
        raise ProblemError(503 if reply.problem.startswith(_UNANSWERED) else 409, reply.problem)

    def _send(self, request: Mapping[str, Any]) -> ControlReply:
        return self._client().send(request)

    def _client(self) -> ControlClient:
        client: ControlClient | None = getattr(self._mine, "client", None)
        if client is None:
            client = self._mine.client = ControlClient(self._endpoint, curve=self._curve)
            self._clients.append(client)
        return client

    def close(self) -> None:
        """End the threads, which may take as long as an answer may, and close their sockets."""
        for pool in (self._pool, self._urgent):
            pool.shutdown(wait=True, cancel_futures=True)
        for client in self._clients:
            client.close()
