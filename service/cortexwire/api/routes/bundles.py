"""The hot swap: a bundle is staged, runs in shadow, takes over, and may be rolled back."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from cortexwire.api import answers, requests
from cortexwire.api.following import staging, takeover
from cortexwire.api.problems import ProblemError
from cortexwire.api.service import Control, Service, answer, answer_job
from cortexwire.errors import ConfigError


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1/bundle", tags=["bundles"])
    jobs, monitor = service.jobs, service.monitor

    @routes.post("/stage", response_model=answers.JobAnswer, status_code=202, summary="Load a bundle beside the other")
    async def stage(request: Request, body: requests.BundleChoice) -> Response:
        jobs.check_room()
        control = Control(service, request, "stage_bundle", body.model_dump(exclude_defaults=True))
        try:
            bundle = service.catalogue.bundle(body.asked, monitor.start)
            overlay = None if body.overlay is None else str(service.catalogue.overlay(body.overlay)[0].absolute())
        except ConfigError as error:
            problem = ProblemError(404, str(error))
            control.refused(problem)
            raise problem from error
        path = str(bundle.path.absolute())
        await control.apply(
            {
                "command": "stage_bundle",
                "path": path,
                "sha256": body.sha256 or bundle.sha256,
                "overlay": overlay,
            }
        )
        return answer_job(jobs.begin("stage_bundle", staging(monitor, path, bundle.hash)))

    @routes.post("/activate", response_model=answers.JobAnswer, status_code=202, summary="Let the candidate take over")
    async def activate(request: Request, body: requests.Activation) -> Response:
        jobs.check_room()
        values = body.model_dump()
        control = Control(service, request, "activate_bundle", values)
        # The candidate that is there now, and no other that may come meanwhile.
        candidate = monitor.facts.get("candidate") or {}
        wanted = candidate.get("bundle_hash")
        at_bin = await control.apply({"command": "activate_bundle", **values, "bundle_hash": wanted})
        return answer_job(jobs.begin("activate_bundle", takeover(monitor, at_bin, str(wanted))))

    @routes.post("/rollback", response_model=answers.Applied, summary="Go back to the bundle before")
    async def rollback(request: Request) -> Response:
        control = Control(service, request, "rollback_bundle", {})
        return answer({"bin": await control.apply({"command": "rollback_bundle"})})

    @routes.post("/unstage", response_model=answers.Applied, summary="Drop the candidate")
    async def unstage(request: Request) -> Response:
        control = Control(service, request, "unstage_bundle", {})
        return answer({"bin": await control.apply({"command": "unstage_bundle"})})

    return routes
