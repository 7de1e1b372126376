"""Middleware: refuses jobs before their bodies are read while as many are being written as fit."""

from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from preceptor.contract.job_kinds import JOB_KINDS
from service.core.errors import QueueFull, TooManyConnections
from service.core.state import State
from service.http import problems
from service.middleware.authentication import OPEN

_HEADERS: Final = {"Connection": "close", "Retry-After": "1"}


class Crowded:
    """Stands in for the application on one connection that came when there were enough (pure ASGI)."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"] in OPEN:
            # A supervisor would end a busy service that does not answer.
            await self.app(scope, receive, send)
            return
        error = TooManyConnections(
            f"{self._most:,} connections are open, as many as the service takes (PRECEPTOR_MAX_CONNECTIONS). Nothing "
            "was accepted; try again in a second",
            headers=_HEADERS,
        )
        await problems.answer(error, Request(scope))(scope, receive, send)


_COLLECTIONS: Final = frozenset(f"/v1/{spec.path}" for spec in JOB_KINDS.values())


class OverloadLimit:
    """Looks at POST of jobs (pure ASGI)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in _COLLECTIONS:
            state: State = scope["app"].state.preceptor
            try:
                state.intake.refuse_if_full()
            except QueueFull as error:
                await problems.answer(error, Request(scope))(scope, receive, send)
                return
        await self.app(scope, receive, send)
