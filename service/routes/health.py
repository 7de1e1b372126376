"""`/health`, `/version`, `/metrics`."""

import platform
from importlib.metadata import version
from typing import Annotated, cast

from fastapi import APIRouter, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from preceptor.contract.health import Health, Version
from service.http.dependencies import StateOf
from service.http.problems import problems
from service.http.strict_route import StrictRoute
from service.metrics_page import exposition
from service.readiness import Readiness

router = APIRouter(tags=["health"], route_class=StrictRoute)
_PROBLEMS = problems(422, 500, every=())


@router.get("/health/live", response_model=Health, responses=_PROBLEMS)
async def live() -> Health:
    """The process answers."""
    return Health(status="ok")


@router.get(
    "/health/ready",
    response_model=Health,
    responses={**_PROBLEMS, 503: {"model": Health, "description": "Something is missing; `checks` says what"}},
)
async def ready(
    request: Request,
    workers: Annotated[
        bool, Query(description="Whether a lane without a worker counts; a load balancer says `false`")
    ] = True,
) -> Response:
    """Redis, the store, the index and the workers are there; 503 with what is missing where they are not."""
    checks = await cast(Readiness, request.app.state.readiness).checks()
    if not workers:
        checks = {name: check for name, check in checks.items() if not name.startswith("worker:")}
    failing = any(check.status == "failing" for check in checks.values())
    health = Health(status="failing" if failing else "ok", checks=checks)
    return Response(health.model_dump_json(), status_code=503 if failing else 200, media_type="application/json")


@router.get("/version", response_model=Version, responses=_PROBLEMS)
async def show_version() -> Version:
    """Versions of what answers."""
    return Version(service=version("preceptor-server"), python=platform.python_version())


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **_PROBLEMS},
)
async def metrics(state: StateOf) -> Response:
    """Prometheus metrics."""
    return Response(await exposition(state), media_type=CONTENT_TYPE_LATEST)
