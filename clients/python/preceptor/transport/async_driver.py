"""Carries out effects without blocking the event loop: files are read, written and hashed in threads."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

import anyio.to_thread
import httpx2

from ..core.calls import Call, send
from ..core.effects import (
    Do,
    Drain,
    Effect,
    Emit,
    Exchange,
    Finished,
    Open,
    Procedure,
    Read,
    Reply,
    Request,
    Sleep,
    advance,
)
from ..core.files.disk import disk_failures
from ..core.files.transfer import CHUNK, Upload
from ..core.settings import Settings
from ..core.tracing import client_span
from .httpx_options import failures, head, request_options

T = TypeVar("T")


class AsyncDriver:
    """Runs procedures over one httpx2.AsyncClient."""

    def __init__(self, settings: Settings, http: httpx2.AsyncClient, sleep: Callable[[float], Awaitable[None]]) -> None:
        self.settings = settings
        self.http = http
        self._sleep = sleep

    async def send(self, call: Call[T]) -> T:
        """Carry out one call."""
        return await self.run(send(self.settings, call))

    async def run(self, procedure: Procedure[T]) -> T:
        """Run a procedure that emits nothing to its end -> its result."""
        stream = _Stream(self)
        try:
            with disk_failures():
                effect = advance(procedure)
                while not isinstance(effect, Finished):
                    effect = await self._step(procedure, effect, stream)
                return effect.value
        finally:
            procedure.close()
            await stream.close()

    async def iterate(self, procedure: Procedure[Any]) -> AsyncIterator[Any]:
        """Run a procedure, handing out what it emits."""
        stream = _Stream(self)
        try:
            effect = advance(procedure)
            while not isinstance(effect, Finished):
                if isinstance(effect, Emit):
                    yield effect.item
                effect = await self._step(procedure, effect, stream)
        finally:
            procedure.close()
            await stream.close()

    async def _step(self, procedure: Procedure[T], effect: Effect, stream: "_Stream") -> Effect | Finished[T]:
        try:
            result = await self._perform(effect, stream)
        except Exception as error:
            return advance(procedure, error=error)
        return advance(procedure, result)

    async def _perform(self, effect: Effect, stream: "_Stream") -> Any:
        match effect:
            case Exchange(request):
                built = self.build(request)
                with failures(self.settings), client_span(request.method, str(built.url), built.headers) as answered:
                    response = await self.http.send(built)
                    answered(response.status_code)
                    return replace(head(response), content=response.content)
            case Open(request):
                return await stream.open(request)
            case Read():
                return await stream.read()
            case Drain():
                return await stream.drain()
            case Sleep(seconds):
                return await self._sleep(seconds)
            case Do(function):
                return await anyio.to_thread.run_sync(function)
            case Emit():
                return None

    def build(self, request: Request) -> httpx2.Request:
        content = request.content
        options = request_options(self.settings, request)
        return self.http.build_request(content=_chunks(content) if isinstance(content, Upload) else content, **options)


class _Stream:
    """The one answer whose body is still being read."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver
        self._response: httpx2.Response | None = None
        self._chunks: AsyncIterator[bytes] = _no_chunks()

    async def open(self, request: Request) -> Reply:
        await self.close()
        built = self._driver.build(request)
        with failures(self._driver.settings), client_span(request.method, str(built.url), built.headers) as answered:
            self._response = await self._driver.http.send(built, stream=True)
            answered(self._response.status_code)
        self._chunks = self._response.aiter_bytes()
        return head(self._response)

    async def read(self) -> bytes | None:
        with failures(self._driver.settings):
            return await anext(self._chunks, None)

    async def drain(self) -> bytes:
        parts: list[bytes] = []
        while (chunk := await self.read()) is not None:
            parts.append(chunk)
        return b"".join(parts)

    async def close(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            await response.aclose()


async def _no_chunks() -> AsyncIterator[bytes]:
    return
    yield


async def _chunks(upload: Upload) -> AsyncIterator[bytes]:
    done = 0
    with await anyio.to_thread.run_sync(upload.open) as stream:
        upload.report(0)
        while chunk := await anyio.to_thread.run_sync(stream.read, CHUNK):
            yield chunk
            done += len(chunk)
            upload.report(done)
