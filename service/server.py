"""The server's side of a connection, for clients that take their time: uvicorn's HTTP/1.1 protocol with limits.

uvicorn bounds how large the head of a request is, not how long it may take: who connects and stays silent, or sends a
header a minute, would hold a connection indefinitely. The pace of a body is limited in
`service.middleware.body_limits`.
"""

import asyncio
from typing import Any

import h11
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.http.event_streams import ABORT
from service.middleware.overload import Crowded


def protocol(head_seconds: float, most: int) -> type[H11Protocol]:
    """The protocol class for `http=` of uvicorn.

    Parameters
    ----------
    head_seconds
        How long the head of a request may take, from the connection or from its first byte on. As long may take what
        is left of a body that was answered before its end.
    most
        Connections that are served. What is beyond gets 503, but for the health checks; what is beyond by a quarter
        more is closed without an answer.
    """

    class Limited(H11Protocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._alarm: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > most:
                if len(self.connections) > most + max(most // 4, 1):
                    transport.abort()
                    return
                app: Any = Crowded(self.app, most)
                self.app = app
            self.app = _abortable(self.app, transport)
            self._set_alarm()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if not self._owes():
                self._stop_alarm()
            elif self._alarm is None:
                self._set_alarm()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_alarm()
            super().connection_lost(exc)

        def _owes(self) -> bool:
            """Whether the client is to send something that no reader waits for."""
            state = self.conn.their_state
            return state is h11.IDLE or (state is h11.SEND_BODY and self.cycle.response_complete)

        def _set_alarm(self) -> None:
            self._alarm = self.loop.call_later(head_seconds, self._give_up)

        def _stop_alarm(self) -> None:
            if self._alarm is not None:
                self._alarm.cancel()
                self._alarm = None

        def _give_up(self) -> None:
            self._alarm = None
            if self._owes():
                self.transport.abort()

    return Limited


def _abortable(app: Any, transport: asyncio.Transport) -> Any:
    """Tell the application how to close the connection without waiting until the client has read what was written."""

    async def called(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("extensions", {})[ABORT] = transport.abort
        await app(scope, receive, send)

    return called
