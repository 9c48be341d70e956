"""What changes the engine: arming, the neutral stop, gain, thresholds, channels, overlays, marks."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from cortexwire.api import answers, requests
from cortexwire.api.following import recalibration
from cortexwire.api.problems import ProblemError
from cortexwire.api.service import Control, Service, answer, answer_job
from cortexwire.errors import ConfigError


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1", tags=["control"])

    async def apply(request: Request, command: dict[str, Any], *, urgent: bool = False) -> Response:
        values = {name: value for name, value in command.items() if name != "command"}
        control = Control(service, request, command["command"], values)
        return answer({"bin": await control.apply(command, urgent=urgent)})

    @routes.post("/arm", response_model=answers.Applied, summary="Let decoded bins be commands")
    async def arm(request: Request) -> Response:
        return await apply(request, {"command": "arm"})

    @routes.post("/disarm", response_model=answers.Applied, summary="Go on decoding, without commands")
    async def disarm(request: Request) -> Response:
        return await apply(request, {"command": "disarm"}, urgent=True)

    @routes.post("/neutral", response_model=answers.Applied, summary="Begin or release the neutral stop")
    async def neutral(request: Request, body: requests.NeutralStop) -> Response:
        return await apply(request, {"command": "neutral", "on": body.on}, urgent=True)

    @routes.post("/gain", response_model=answers.Applied, summary="Change the output gain")
    async def gain(request: Request, body: requests.Gain) -> Response:
        return await apply(request, {"command": "set_gain", "gain": body.gain})

    @routes.post("/channels/mask", response_model=answers.Applied, summary="Take channels out, or back in")
    async def mask(request: Request, body: requests.Masking) -> Response:
        return await apply(request, {"command": "mask", "channels": body.channels, "masked": body.masked})

    @routes.post("/identity/confirm", response_model=answers.Applied, summary="Say that it is the right array")
    async def confirm(request: Request) -> Response:
        return await apply(request, {"command": "confirm_identity"})

    @routes.post("/marks", response_model=answers.Applied, summary="Mark an event in the log")
    async def mark(request: Request, body: requests.Mark) -> Response:
        return await apply(request, {"command": "mark", "code": body.code, "value": body.value})

    @routes.post("/overlay", response_model=answers.Applied, summary="Apply an overlay on offer")
    async def overlay(request: Request, body: requests.OverlayChoice) -> Response:
        try:
            path, digest = service.catalogue.overlay(body.asked)
        except ConfigError as error:
            problem = ProblemError(404, str(error))
            Control(service, request, "apply_overlay", {"asked": body.asked}).refused(problem)
            raise problem from error
        return await apply(request, {"command": "apply_overlay", "path": str(path.absolute()), "hash": digest})

    @routes.post("/overlay/rollback", response_model=answers.Applied, summary="Go back before the last overlay")
    async def rollback(request: Request) -> Response:
        return await apply(request, {"command": "rollback_overlay"})

    @routes.post(
        "/thresholds/recalibrate",
        response_model=answers.JobAnswer,
        status_code=202,
        summary="Measure thresholds anew",
    )
    async def recalibrate(request: Request, body: requests.Recalibration) -> Response:
        service.jobs.check_room()
        control = Control(service, request, "recalibrate", {"seconds": body.seconds})
        from_bin = await control.apply({"command": "recalibrate", "seconds": body.seconds})
        monitor = service.monitor
        following = recalibration(monitor, from_bin, body.seconds, monitor.bundle.bin_ms)
        return answer_job(service.jobs.begin("recalibrate", following))

    return routes
