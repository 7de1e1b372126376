"""Middleware: how a body may be framed, how slowly it may come, and how large one may be that is no file upload.

File uploads have their own limits, and are streamed.
"""

import asyncio
import re
import time
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.core.errors import BodyStalled, MalformedRequest, TooLarge
from service.http import problems
from service.http.bodies import announced_length

_CLOSE: Final = {"Connection": "close"}


class Framing:
    """Refuses a request whose end two readers could see in different places (RFC 9112, 6.1; pure ASGI).

    A proxy in front that goes by the other header would take the rest of the body for a second request.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "http":
            names = {name for name, _ in scope["headers"]}
            if b"transfer-encoding" in names and (b"content-length" in names or scope["http_version"] == "1.0"):
                found = (
                    "Content-Length and Transfer-Encoding" if b"content-length" in names
                    else "Transfer-Encoding in HTTP/1.0"
                )  # fmt: skip
                error = MalformedRequest(
                    f"The request has {found}: where its body ends is not certain. Send one of the two, by HTTP/1.1",
                    headers=_CLOSE,
                )
                await problems.answer(error, Request(scope))(scope, receive, send)
                return
        await self.app(scope, receive, send)


class BodyPace:
    """Watches how long a reader waits for the next bytes of a body, and for all so far (pure ASGI).

    The time that the service itself takes between two reads does not count.

    Parameters
    ----------
    seconds
        Longest silence in a body.
    rate
        Least bytes a second, on average over the time that was waited for them; 0 for no limit.
    grace
        Seconds of waiting that do not count towards the rate.
    """

    def __init__(self, app: ASGIApp, seconds: float, rate: int = 0, grace: float = 30.0) -> None:
        self.app = app
        self._seconds = seconds
        self._rate = rate
        self._grace = grace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or scope["method"] == "GET":
            await self.app(scope, receive, send)
            return
        whole = False
        read = 0
        waited = 0.0

        async def awaited() -> Message:
            nonlocal whole, read, waited
            if whole:  # Who reads on waits for the end of the connection, however long that takes.
                return await receive()
            # Without the rate, a byte now and then would keep a connection open.
            left = self._grace + read / self._rate - waited if self._rate else self._seconds
            started = time.monotonic()
            try:
                async with asyncio.timeout(min(self._seconds, left)):
                    message = await receive()
            except TimeoutError as error:
                raise BodyStalled(self._too_slow(slowly=left < self._seconds), headers=_CLOSE) from error
            waited += time.monotonic() - started
            read += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            return message

        await self.app(scope, awaited, send)

    def _too_slow(self, *, slowly: bool) -> str:
        if slowly:
            return (
                f"The body came at less than {self._rate:,} bytes a second (PRECEPTOR_BODY_RATE). Nothing was "
                "accepted; send the request again over a faster connection"
            )
        return (
            f"The rest of the body did not come for {self._seconds:g} seconds. Nothing was accepted; send the request "
            "again"
        )


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
