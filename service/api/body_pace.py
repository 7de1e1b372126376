"""Middleware: a body whose sender falls silent is given up, with 408."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.core.errors import BodyStalled


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
