"""Middleware: a limit on every body that is not a file upload; those have their own, and are streamed."""

import asyncio
import re
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.core.errors import BodyStalled, TooLarge
from service.http import problems
from service.http.bodies import announced_length


class BodyPace:
    """Watches how long a reader waits for the next bytes of a body (pure ASGI).

    The time that the service itself takes between two reads does not count.

    Parameters
    ----------
    seconds
        Longest silence in a body.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or scope["method"] == "GET":
            await self.app(scope, receive, send)
            return
        whole = False

        async def awaited() -> Message:
            nonlocal whole
            if whole:  # Who reads on waits for the end of the connection, however long that takes.
                return await receive()
            try:
                async with asyncio.timeout(self._seconds):
                    message = await receive()
            except TimeoutError as error:
                raise BodyStalled(
                    f"The rest of the body did not come for {self._seconds:g} seconds. Nothing was accepted; send the "
                    "request again",
                    headers={"Connection": "close"},
                ) from error
            whole = not message.get("more_body", False)
            return message

        await self.app(scope, awaited, send)


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
