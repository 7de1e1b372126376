"""Middleware: a limit on every body that is not a file upload; those have their own, and are streamed."""

import re
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.core.errors import TooLarge
from service.http import problems
from service.http.bodies import announced_length

_UPLOADS: Final = re.compile(r"/v1/probes|/v1/teachers/[^/]+/(files|predictions)/[^/]+")

_ADVICE: Final = "Send less at a time, or have the operator raise PRECEPTOR_MAX_BODY_BYTES"


class BodyLimit:
    """Refuses larger bodies: by the announced length before a byte is read, else by counting (pure ASGI)."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or _UPLOADS.fullmatch(scope["path"]):
            await self.app(scope, receive, send)
            return
        announced = announced_length(dict(scope["headers"]).get(b"content-length", b"").decode("latin-1"))
        if announced > self._limit:
            error = TooLarge(f"The body has {announced:,} bytes; at most {self._limit:,} are taken here. {_ADVICE}")
            await problems.answer(error, Request(scope))(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._limit:
                raise TooLarge(f"More than {self._limit:,} bytes were sent; at most so many are taken here. {_ADVICE}")
            return message

        await self.app(scope, counted, send)
