"""Uploads: streamed to a staging file with a byte limit and a digest, never held in memory."""

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import anyio.to_thread

from service.core.async_helpers import ended
from service.core.errors import InvalidRequest, TooLarge
from service.core.storage.object_store import Store, translated

_BUFFER: Final = 2**20
P = ParamSpec("P")
R = TypeVar("R")
Gone = Callable[[], Awaitable[None]]
"""Waits until the caller has gone, and raises then."""


@dataclass(frozen=True)
class Staged:
    """An upload on disk: path, bytes, SHA-256."""

    path: Path
    size: int
    sha256: str


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run blocking code outside the event loop."""
    return await anyio.to_thread.run_sync(lambda: function(*args, **kwargs))


async def while_wanted(work: Coroutine[Any, Any, R], gone: Gone | None) -> R:
    """Do some work, which is cancelled when the caller goes. Raises what `gone` does then."""
    if gone is None:
        return await work
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(gone())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            leaving.result()
        return await working
    finally:
        leaving.cancel()
        await ended(working)


@asynccontextmanager
async def staged(store: Store, chunks: AsyncIterator[bytes], limit: int, what: str) -> AsyncIterator[Staged]:
    """Stream an upload to a file that is removed at the end unless it was moved into the store.

    Raises
    ------
    TooLarge
        More than `limit` bytes came.
    InvalidRequest
        Nothing came.
    StoreFull, StoreUnavailable
    """
    digest = hashlib.sha256()
    size = 0
    buffer = bytearray()
    folder = await in_thread(lambda: store.staging)
    try:
        descriptor, name = await in_thread(tempfile.mkstemp, dir=folder)
    except OSError as error:
        raise translated(error) from error
    path = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            async for chunk in chunks:
                size += len(chunk)
                if size > limit:
                    raise TooLarge(f"{what} may have at most {limit:,} bytes; more than that was sent")
                buffer += chunk
                if len(buffer) >= _BUFFER:
                    await _write(file.write, digest.update, bytes(buffer))
                    buffer.clear()
            await _write(file.write, digest.update, bytes(buffer))
            await _flush(file.flush)
        if size == 0:
            raise InvalidRequest(
                f"{what}: the body was empty. Send the file's bytes as the body (curl --data-binary @file)"
            )
        yield Staged(path, size, digest.hexdigest())
    finally:
        path.unlink(missing_ok=True)


async def _write(write: Callable[[bytes], int], update: Callable[[bytes], None], data: bytes) -> None:
    def both() -> None:
        update(data)
        write(data)

    try:
        await in_thread(both)
    except OSError as error:
        raise translated(error) from error


async def _flush(flush: Callable[[], None]) -> None:
    try:
        await in_thread(flush)
    except OSError as error:
        raise translated(error) from error
