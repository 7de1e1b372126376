"""Carries out effects, blocking."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

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


class Driver:
    """Runs procedures over one httpx2.Client."""

    def __init__(self, settings: Settings, http: httpx2.Client, sleep: Callable[[float], None]) -> None:
        self.settings = settings
        self.http = http
        self._sleep = sleep

    def send(self, call: Call[T]) -> T:
        """Carry out one call."""
        return self.run(send(self.settings, call))

    def run(self, procedure: Procedure[T]) -> T:
        """Run a procedure that emits nothing to its end -> its result."""
        stream = _Stream(self)
        try:
            with disk_failures():
                effect = advance(procedure)
                while not isinstance(effect, Finished):
                    effect = self._step(procedure, effect, stream)
                return effect.value
        finally:
            procedure.close()
            stream.close()

    def iterate(self, procedure: Procedure[Any]) -> Iterator[Any]:
        """Run a procedure, handing out what it emits."""
        stream = _Stream(self)
        try:
            effect = advance(procedure)
            while not isinstance(effect, Finished):
                if isinstance(effect, Emit):
                    yield effect.item
                effect = self._step(procedure, effect, stream)
        finally:
            procedure.close()
            stream.close()

    def _step(self, procedure: Procedure[T], effect: Effect, stream: "_Stream") -> Effect | Finished[T]:
        try:
            result = self._perform(effect, stream)
        except Exception as error:
            return advance(procedure, error=error)
        return advance(procedure, result)

    def _perform(self, effect: Effect, stream: "_Stream") -> Any:
        match effect:
            case Exchange(request):
                built = self.build(request)
                with failures(self.settings), client_span(request.method, str(built.url), built.headers) as answered:
                    response = self.http.send(built)
                    answered(response.status_code)
                    return replace(head(response), content=response.content)
            case Open(request):
                return stream.open(request)
            case Read():
                return stream.read()
            case Drain():
                return b"".join(iter(stream.read, None))
            case Sleep(seconds):
                return self._sleep(seconds)
            case Do(function):
                return function()
            case Emit():
                return None

    def build(self, request: Request) -> httpx2.Request:
        content = request.content
        options = request_options(self.settings, request)
        return self.http.build_request(content=_chunks(content) if isinstance(content, Upload) else content, **options)


class _Stream:
    """The one answer whose body is still being read."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._response: httpx2.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def open(self, request: Request) -> Reply:
        self.close()
        built = self._driver.build(request)
        with failures(self._driver.settings), client_span(request.method, str(built.url), built.headers) as answered:
            self._response = self._driver.http.send(built, stream=True)
            answered(self._response.status_code)
        self._chunks = self._response.iter_bytes()
        return head(self._response)

    def read(self) -> bytes | None:
        with failures(self._driver.settings):
            return next(self._chunks, None)

    def close(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.close()


def _chunks(upload: Upload) -> Iterator[bytes]:
    done = 0
    with upload.open() as stream:
        upload.report(0)
        while chunk := stream.read(CHUNK):
            yield chunk
            done += len(chunk)
            upload.report(done)
