"""Whether the service lives, and whether it does what it is for."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from cortexwire.api import answers
from cortexwire.api.problems import ProblemError
from cortexwire.api.service import Service, answer


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz", response_model=answers.Health, summary="Whether the API lives")
    async def healthz() -> Response:
        return answer({"status": "ok", "reasons": []})

    @routes.get("/readyz", response_model=answers.Health, summary="Whether an engine decodes")
    async def readyz() -> Response:
        reasons = not_ready(service)
        if reasons:
            raise ProblemError(503, "; ".join(reasons), more={"reasons": reasons})
        return answer({"status": "ok", "reasons": []})

    @routes.get(
        "/metrics",
        response_class=Response,
        summary="Metrics for Prometheus",
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return routes


def not_ready(service: Service) -> list[str]:
    """Why no engine decodes; empty where one does."""
    service.monitor.refresh()
    engine = service.monitor.engine
    if engine is None or engine.writer != "live":
        return [f"expected a live engine, its telemetry is {service.monitor.writer}"]
    if engine.status.state not in ("running", "calibrating"):
        return [f"expected a running engine, it is {engine.status.state}"]
    return []
