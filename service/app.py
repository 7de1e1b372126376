"""The application: routes, errors, lifespan."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from preceptor.contract.problem import Problem
from service.api import (
    distillations,
    health,
    jobs,
    label_sets,
    probes,
    problems,
    recommendations,
    students,
    teachers,
)
from service.api.body_limit import BodyLimit
from service.api.observed import Observed
from service.state.settings import Settings
from service.state.state import State

_ROUTERS = (label_sets, teachers, probes, recommendations, distillations, jobs, students, health)


def create_app(settings: Settings) -> FastAPI:
    """The ASGI application for these settings."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with State(settings) as state:
            app.state.preceptor = state
            reaper = asyncio.create_task(state.reap_for_ever(), name="reaper")
            try:
                yield
            finally:
                reaper.cancel()
                await asyncio.gather(reaper, return_exceptions=True)

    app = FastAPI(
        title="Preceptor",
        version=version("preceptor-server"),
        summary="Ranks a model zoo for a new classification task and distils the best teachers into the student",
        lifespan=lifespan,
        redirect_slashes=False,
    )
    problems.install(app)
    for module in _ROUTERS:
        app.include_router(module.router)
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    app.add_middleware(Observed)
    _declare_problem(app)
    return app


def _declare_problem(app: FastAPI) -> None:
    """Put the Problem schema into the OpenAPI document and take FastAPI's own error schemas out."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(schema.pop("$defs", {}))
            schemas["Problem"] = schema
            schemas.pop("HTTPValidationError", None)
            schemas.pop("ValidationError", None)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi
