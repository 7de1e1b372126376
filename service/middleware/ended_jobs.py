"""Middleware: jobs that have ended are answered from memory, before the router and its checks look at the request.

Most of what is read are ended jobs, by callers who poll. Nothing of such an answer depends on what the checks find:
the path is exactly that of a known job, and a request with a query goes the long way.
"""

from collections.abc import Iterable
from typing import Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from preceptor.contract.ids import JOB_PREFIXES
from preceptor.contract.job_kinds import JOB_KINDS
from service.core.state import State
from service.http.responses import IF_NONE_MATCH_LENGTH, conditional

_BEGINNINGS: Final = {
    **{f"/v1/{spec.path}": f"{JOB_PREFIXES[kind]}_" for kind, spec in JOB_KINDS.items()},
    "/v1/jobs": "",
}
"""The collections that show jobs, and how the ids of their jobs begin: `/v1/jobs` shows all."""


class Finished:
    """Answers GET of a job whose document is kept (pure ASGI).

    Parameters
    ----------
    routes
        Those of the application: metrics and traces name a request by its route.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self.app = app
        shown = {
            route.path: route for route in routes if isinstance(route, APIRoute) and "GET" in (route.methods or ())
        }
        self._routes = {collection: shown[f"{collection}/{{id}}"] for collection in _BEGINNINGS}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "http" and scope["method"] == "GET" and not scope["query_string"]:
            collection, _, id = scope["path"].rpartition("/")
            begin = _BEGINNINGS.get(collection)
            if begin is not None and id.startswith(begin):
                recent = _state(scope["app"]).recent
                known = recent.get(id)
                tags = [value for name, value in scope["headers"] if name == b"if-none-match"]
                if known is not None and sum(map(len, tags)) <= IF_NONE_MATCH_LENGTH and len(tags) < 2:
                    scope["route"] = self._routes[collection]
                    given = tags[0].decode("latin-1") if tags else None
                    await conditional(known, given, recent.tag(id))(scope, receive, send)
                    return
        await self.app(scope, receive, send)


def _state(app: FastAPI) -> State:
    state: State = app.state.preceptor
    return state
