"""Recording: begun and ended by the recorder, a process of its own."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from cortexwire.api import answers, requests
from cortexwire.api.problems import ProblemError
from cortexwire.api.recorder import ask_recorder
from cortexwire.api.service import Control, Service, answer


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1/recording", tags=["recording"])

    async def ask(request: Request, command: str, values: dict[str, Any]) -> Response:
        control = Control(service, request, f"{command}_recording", values)
        reply = await asyncio.to_thread(ask_recorder, service.monitor.run_dir, {"command": command, **values})
        if reply is None:
            problem = ProblemError(503, "expected a running recorder (cortexwire record), nobody answers")
        elif reply.get("problem") is not None:
            problem = ProblemError(409, str(reply["problem"]))
        else:
            control.done(200)
            return answer({"recorder": reply.get("status")})
        control.refused(problem)
        raise problem

    @routes.post("/start", response_model=answers.RecorderAnswer, summary="Begin a recording")
    async def start(request: Request, body: requests.RecordingStart) -> Response:
        return await ask(request, "start", body.model_dump(exclude_none=True))

    @routes.post("/stop", response_model=answers.RecorderAnswer, summary="End the recording")
    async def stop(request: Request) -> Response:
        return await ask(request, "stop", {})

    return routes
