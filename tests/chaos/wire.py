"""The network between one worker and Redis, which can fall silent: what is sent meanwhile arrives late, as with TCP."""

import asyncio
import threading
from contextlib import suppress
from typing import Final

from service.core.redis.embedded import EmbeddedRedis

_CHUNK: Final = 65_536


class Wire:
    """A TCP port that leads to Redis' socket, served by a thread of its own.

    Parameters
    ----------
    redis
        May be away: connections are closed then, as by a host that is up.
    """

    def __init__(self, redis: EmbeddedRedis) -> None:
        self._redis = redis
        self._loop = asyncio.new_event_loop()
        self._passing = asyncio.Event()
        self._passing.set()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._connect, "127.0.0.1", 0))
        self.port = int(self._server.sockets[0].getsockname()[1])
        self._thread = threading.Thread(target=self._loop.run_forever, name="wire", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Redis' address at this end."""
        return f"redis://127.0.0.1:{self.port}"

    def silence(self) -> None:
        """Hold back every byte in both directions. Connections stay open, and new ones are taken."""
        self._loop.call_soon_threadsafe(self._passing.clear)

    def heal(self) -> None:
        """Let pass what was held back, and all that follows."""
        self._loop.call_soon_threadsafe(self._passing.set)

    def close(self) -> None:
        """Close the port and all connections."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            await self._passing.wait()
            from_redis, to_redis = await asyncio.open_unix_connection(str(self._redis.socket))
            await asyncio.gather(self._pump(reader, to_redis), self._pump(from_redis, writer))
        writer.close()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(_CHUNK):
                await self._passing.wait()
                target.write(data)
                await target.drain()
        finally:
            target.close()  # Whoever has hung up ends the other half too.

    async def _end(self) -> None:
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
