"""The service: everything that routes need, made together and ended together."""

import asyncio
from dataclasses import asdict
from typing import Any

import msgspec
from starlette.requests import HTTPConnection
from starlette.responses import Response

from cortexwire.api.audit import Audit
from cortexwire.api.catalogue import Catalogue
from cortexwire.api.engine import EngineLink
from cortexwire.api.frames import Frames
from cortexwire.api.guard import LOCAL
from cortexwire.api.jobs import Job, Jobs
from cortexwire.api.metrics import Metrics
from cortexwire.api.monitor import Monitor
from cortexwire.api.picture import Picture
from cortexwire.api.problems import ProblemError
from cortexwire.api.tokens import Grant
from cortexwire.clients.sockets import is_local
from cortexwire.config import EngineConfig
from cortexwire.runtime.curve import curve_server
from cortexwire.runtime.rundir import RunDir


class Service:
    """One API.

    Attributes:
        config: Its configuration, the same tree as the engine's.
        monitor: What is known of the engine.
        link: The way to the engine.
        catalogue: What may be loaded.
        picture: Describes what is known.
        frames: The live stream's messages.
        metrics: What Prometheus scrapes.
        jobs: What takes long.
        audit: The log of changes.
        viewers: Live streams that are open.

    Args:
        config: Its configuration.
        insecure: Whether it runs without the protection that its address needs.
    """

    def __init__(self, config: EngineConfig, *, insecure: bool = False) -> None:
        run_dir = RunDir(config.run_dir)
        self.config = config
        self.insecure = insecure
        self.monitor = Monitor(run_dir)
        endpoint = config.control or run_dir.control_endpoint
        curve = None if is_local(endpoint) else curve_server(config)
        keys = None if curve is None else curve.as_client()
        self.link = EngineLink(self.monitor, endpoint, keys)
        self.catalogue = Catalogue(config.api.bundles)
        self.picture = Picture(self.monitor, self.catalogue, insecure=insecure)
        self.frames = Frames(self.monitor, self.picture)
        self.metrics = Metrics(self.monitor)
        self.jobs = Jobs()
        self.audit = Audit(config.api.audit or config.run_dir / "audit.jsonl")
        self.viewers = 0
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to follow the engine."""
        self.monitor.refresh()
        self._following = asyncio.get_running_loop().create_task(self.monitor.run())

    async def close(self) -> None:
        """End what runs."""
        await self.jobs.close()
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        await asyncio.to_thread(self.link.close)
        self.monitor.close()


class Control:
    """One changing request: carries it out and writes into the audit log what came of it.

    Args:
        service: The service.
        connection: The request.
        action: What it is.
        request: With which values.
    """

    def __init__(self, service: Service, connection: HTTPConnection, action: str, request: dict[str, Any]) -> None:
        self._service = service
        self._grant: Grant = getattr(connection.state, "grant", LOCAL)
        self._client: str = getattr(connection.state, "client", "")
        self._action = action
        self._request = request

    async def apply(self, command: dict[str, Any], *, urgent: bool = False) -> int:
        """Have the engine carry out a command; returns the first bin on which it acts."""
        try:
            bin_index = await self._service.link.command(command, urgent=urgent)
        except ProblemError as problem:
            self.refused(problem)
            raise
        self.done(200, bin=bin_index)
        return bin_index

    def refused(self, problem: ProblemError) -> None:
        """Note a refusal."""
        self._write(problem.status, detail=problem.detail)

    def done(self, status: int, **came: Any) -> None:
        """Note what was done."""
        self._write(status, **came)

    def _write(self, status: int, **came: Any) -> None:
        self._service.audit.write(self._grant.name, self._client, self._action, self._request, status, **came)


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer in JSON; numbers that are not finite are null."""
    return Response(msgspec.json.encode(value, enc_hook=_plain), status, headers, "application/json")


def answer_job(job: Job) -> Response:
    """The answer to what takes long: where to see how far it has come."""
    return answer(asdict(job), 202, {"Location": f"/v1/jobs/{job.id}"})


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
