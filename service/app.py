"""The application: routes, errors, lifespan."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from importlib.metadata import version

import structlog
from fastapi import FastAPI
from fastapi.routing import APIRoute

from service import openapi
from service.core.async_helpers import ended
from service.core.settings import Settings
from service.core.state import State
from service.http import problems
from service.http.event_streams import EventStreams
from service.http.route_methods import Methods
from service.http.stream_limit import Streams
from service.middleware.authentication import Authentication, keys_are_required
from service.middleware.body_limits import BodyLimit, BodyPace, Framing
from service.middleware.ended_jobs import Finished
from service.middleware.host_check import HostCheck
from service.middleware.overload import OverloadLimit
from service.middleware.request_log import RequestLog
from service.network.egress import Egress
from service.network.host_names import Hosts
from service.oidc.optional import tokens_of
from service.readiness import Readiness
from service.routes import modules
from service.webhooks.dispatcher import Dispatcher
from service.webhooks.sender import Post

log = structlog.stdlib.get_logger(__name__)


def create_app(settings: Settings) -> FastAPI:
    """The ASGI application for these settings.

    Raises
    ------
    LibraryMissing
        The settings name an issuer of tokens, and what checks them is not installed.
    """
    tokens = tokens_of(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            State(settings, limited=True) as state,
            Post(Egress.of(settings.egress_allow)) as post,
            tokens or nullcontext(),
        ):
            app.state.preceptor = state
            app.state.readiness = Readiness(state)
            app.state.tokens = tokens
            app.state.requires_keys = await keys_are_required(settings, state.api_keys)
            background = [asyncio.create_task(state.reap_indefinitely(), name="reaper")]
            if settings.webhooks == "on":
                background.append(asyncio.create_task(Dispatcher(state, post).run_until_cancelled(), name="webhooks"))
            else:
                log.warning("webhooks are off: deliveries are kept, nothing is sent (PRECEPTOR_WEBHOOKS)")
            try:
                yield
            finally:
                await ended(*background)

    app = FastAPI(
        title="Preceptor",
        version=version("preceptor-server"),
        summary=openapi.SUMMARY,
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=_operation_id,
    )
    app.state.streams = Streams(settings.max_streams, settings.max_streams_per_caller)
    app.state.event_streams = EventStreams()
    routers = [module.router for module in modules()]
    for router in routers:
        app.include_router(router)
    methods = Methods(routers)
    methods.answer_head(app)
    problems.install(app, methods)
    openapi.install(app)
    app.add_middleware(Finished, routes=[route for router in routers for route in router.routes])
    app.add_middleware(OverloadLimit)
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    app.add_middleware(BodyPace, seconds=settings.body_seconds, rate=settings.body_rate)
    app.add_middleware(Authentication)
    app.add_middleware(HostCheck, hosts=Hosts.of(settings.hosts, settings.host, settings.published_at))
    app.add_middleware(Framing)
    app.add_middleware(RequestLog)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name
