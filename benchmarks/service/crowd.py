"""Many listeners on one event stream, in a process apart from the one that measures.

`python -m benchmarks.service.crowd URL PATH LISTENERS` prints a line when all are connected, and, when all streams have
ended, one with how many events each has read: the least and the most.
"""

import asyncio
import sys
from typing import Final
from urllib.parse import urlsplit

_EVENT: Final = b"\ndata: "


class _Listener(asyncio.Protocol):
    """Counts events; parsing them would take the processor from what is measured."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._tail = b""
        self.events = 0
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        seen = self._tail + data
        self.events += seen.count(_EVENT)
        self._tail = seen[-len(_EVENT) + 1 :]
        if self.events:
            self.begun.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.begun.set()
        self.ended.set()


async def _listen(url: str, path: str, count: int) -> None:
    parts = urlsplit(url)
    request = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    listeners: list[_Listener] = []
    for _ in range(count):
        _, listener = await loop.create_connection(
            lambda: _Listener(request), str(parts.hostname), int(parts.port or 80)
        )
        listeners.append(listener)
        if len(listeners) % 50 == 0:  # Not more than the queue of new connections holds.
            await listener.begun.wait()
    for listener in listeners:
        await listener.begun.wait()
    print("ready", flush=True)
    for listener in listeners:
        await listener.ended.wait()
    events = [listener.events for listener in listeners]
    print(min(events), max(events), flush=True)


if __name__ == "__main__":
    asyncio.run(_listen(sys.argv[1], sys.argv[2], int(sys.argv[3])))
