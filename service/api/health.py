"""`/health`, `/version`, `/metrics`."""

import platform
from importlib.metadata import version

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from preceptor.contract.health import Check, Health, Version
from service.state.connection import translated
from service.state.errors import PreceptorError
from service.state.lanes import LANES

from .context import StateOf
from .exposition import exposition
from .problems import problems
from .strict_route import StrictRoute

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
async def ready(state: StateOf) -> Response:
    """Redis, the store and the workers answer; 503 with what is missing where they do not."""
    checks: dict[str, Check] = {}
    try:
        with translated():
            await state.client.ping()
        checks["redis"] = Check(status="ok")
    except PreceptorError as error:
        checks["redis"] = Check(status="failing", detail=error.detail)
    try:
        await state.store.check()
        checks["store"] = Check(status="ok")
    except PreceptorError as error:
        checks["store"] = Check(status="failing", detail=error.detail)
    if checks["redis"].status == "ok":
        for lane in LANES:
            count = await state.lane_workers(lane)
            checks[f"worker:{lane}"] = (
                Check(status="ok", detail=f"{count} alive")
                if count
                else Check(
                    status="failing",
                    detail=f"no worker on this lane: start one with `python -m worker --lane {lane}`",
                )
            )
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
