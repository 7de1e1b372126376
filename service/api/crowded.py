"""What connections beyond the most get: 503 for every request but the health checks."""

from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.core.errors import TooManyConnections
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
            # A supervisor that hears nothing from a busy service would end it.
            await self.app(scope, receive, send)
            return
        error = TooManyConnections(
            f"{self._most:,} connections are open, as many as the service takes (PRECEPTOR_MAX_CONNECTIONS). Nothing "
            "was accepted; try again in a second",
            headers=_HEADERS,
        )
        await problems.answer(error, Request(scope))(scope, receive, send)
