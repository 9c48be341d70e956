"""The application: routes, problems and the guard around a service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from cortexwire.api import problems
from cortexwire.api.documents import describe
from cortexwire.api.guard import Guard
from cortexwire.api.problems import ProblemError
from cortexwire.api.routes import bundles, control, health, live, reading, recording
from cortexwire.api.service import Service
from cortexwire.api.tokens import Tokens

STATIC: Final = Path(__file__).with_name("static")
"""Files of the page."""


def create_app(service: Service, tokens: Tokens | None = None, names: frozenset[str] | None = frozenset()) -> ASGIApp:
    """Make the application.

    Args:
        service: What it serves; begun and ended with it.
        tokens: Who may do what, or None where nobody needs a token.
        names: Names by which it may be called, besides loopback's; None for any.
    """
    app = make_routes(service, tokens=tokens is not None)
    settings = service.config.api
    return Guard(
        app,
        tokens=tokens,
        audit=service.audit,
        names=names,
        read_rate=settings.read_rate,
        control_rate=settings.control_rate,
        insecure=service.insecure,
    )


def make_routes(service: Service, *, tokens: bool = False) -> FastAPI:
    """The application without its guard."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.close()

    app = FastAPI(
        title="cortexwire",
        version=metadata.version("cortexwire"),
        summary="What an engine does, and what it is told.",
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    problems.install(app)
    for theme in (reading, control, bundles, recording, live, health):
        app.include_router(theme.router(service))
    _add_page(app)
    describe(app, tokens=tokens)
    return app


def _add_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        index = STATIC / "index.html"
        if not index.is_file():
            raise ProblemError(404, "there is no page here; see /v1/openapi.json for what there is")
        return FileResponse(index, headers={"cache-control": "no-cache"})

    if STATIC.is_dir():
        app.mount("/static", StaticFiles(directory=STATIC), name="static")
