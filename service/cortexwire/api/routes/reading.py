"""What can be read: state, channels, latency, outputs, configuration, bundles, recorder, jobs."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from cortexwire.api import answers
from cortexwire.api.latencies import WINDOW_S
from cortexwire.api.picture import describe_output
from cortexwire.api.service import Service, answer


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1", tags=["state"])
    monitor, picture = service.monitor, service.picture

    @routes.get("/state", response_model=answers.StateAnswer, summary="How things stand")
    async def state() -> Response:
        monitor.refresh()
        return answer(picture.state())

    @routes.get("/channels", response_model=answers.ChannelsAnswer, summary="Rates, noise and health of every channel")
    async def channels() -> Response:
        monitor.refresh()
        return answer(picture.channels())

    @routes.get("/latency", response_model=answers.LatencyAnswer, summary="Latency of every stage")
    async def latency() -> Response:
        monitor.refresh()
        head = picture.head()
        shown = {name: head[name] for name in ("latency", "latency_window", "budgets")}
        return answer(shown | {"window_s": WINDOW_S})

    @routes.get("/outputs", response_model=answers.OutputList, summary="The newest outputs")
    async def outputs(
        last: Annotated[int, Query(ge=1, le=500, description="How many at most.", examples=[50])] = 50,
    ) -> Response:
        messages = list(monitor.tail.outputs.messages)[-last:]
        return answer({"outputs": [describe_output(output) for output in messages]})

    @routes.get("/config", response_model=answers.ConfigAnswer, summary="What the engine was told")
    async def config() -> Response:
        monitor.refresh()
        start = monitor.start
        return answer(
            {
                "config": monitor.configuration(),
                "bundle": None if start is None else start.bundle,
                "bundle_sha256": None if start is None else start.bundle_sha256,
                "overlay": None if start is None else start.overlay,
                "fingerprint": None if start is None else start.fingerprint,
                "software": {} if start is None else start.software,
            }
        )

    @routes.get("/bundles", response_model=answers.BundleList, summary="Bundles and overlays that may be loaded")
    async def bundles() -> Response:
        monitor.refresh()
        active = f"{monitor.bundle_hash:016x}"
        offered = service.catalogue.bundles(monitor.start)
        return answer(
            {
                "bundles": [
                    {
                        "name": bundle.name,
                        "path": str(bundle.path),
                        "hash": bundle.hash,
                        "sha256": bundle.sha256,
                        "family": bundle.manifest.family,
                        "unit": bundle.manifest.velocity.unit,
                        "bin_ms": bundle.manifest.stream.bin_ms,
                        "rate_hz": bundle.manifest.stream.rate_num / bundle.manifest.stream.rate_den,
                        "n_channels": bundle.manifest.stream.n_channels,
                        "active": bundle.hash == active,
                    }
                    for bundle in offered
                ],
                "overlays": [path.stem for path in service.catalogue.overlays()],
                "candidate": monitor.facts.get("candidate"),
                "previous": monitor.facts.get("previous"),
            }
        )

    @routes.get("/recorder", response_model=answers.RecorderAnswer, summary="What the recorder does")
    async def recorder() -> Response:
        monitor.refresh()
        return answer({"recorder": monitor.recorder})

    @routes.get("/jobs", response_model=answers.JobList, summary="What takes its time, the newest first")
    async def jobs() -> Response:
        return answer({"jobs": [asdict(job) for job in service.jobs.all()]})

    @routes.get("/jobs/{job_id}", response_model=answers.JobAnswer, summary="How far one has come")
    async def job(
        job_id: Annotated[str, Path(max_length=64, description="As the answer that began it says.")],
    ) -> Response:
        return answer(asdict(service.jobs.job(job_id)))

    return routes
