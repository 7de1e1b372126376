"""Requests through the whole application, handed to it as a server hands them over (ASGI), byte for byte."""

import asyncio
import atexit
import json
import shutil
import tempfile
from collections.abc import Coroutine
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import unquote_to_bytes

import structlog
from fastapi import FastAPI

from preceptor.contract.ids import TEACHER, new_id
from preceptor.contract.problem import MEDIA_TYPE, Problem
from service.app import create_app
from service.core.redis.embedded import EmbeddedRedis
from service.core.settings import Settings
from tests.integration.api.seeds import plant

from . import http_inputs as inputs
from .case import Files, LeftBehind, Outcome, Parser, ServerError

T = TypeVar("T")
_PATIENCE: Final = 0.3


class Application:
    """A running application with a Redis-compatible server and a store of its own, and something in them."""

    def __init__(self, **options: Any) -> None:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
        self._folder = Path(tempfile.mkdtemp(prefix="fz-"))
        self._redis = EmbeddedRedis(self._folder / "redis")
        atexit.register(self._stop)
        limits: dict[str, Any] = {
            "data": self._folder / "data",
            "redis_url": self._redis.ensure(),
            "max_wait_seconds": 0.05,
            "max_body_bytes": 2**20,
            "max_probe_bytes": 2**22,
            "max_probe_expanded_bytes": 2**24,
            "max_file_bytes": 2**22,
        }
        self.settings = Settings(**(limits | options))
        planted = plant(self.settings)
        self.names = {f"{{{name}}}": value for name, value in vars(planted).items()} | {"{none}": new_id(TEACHER)}
        self.app: FastAPI = create_app(self.settings)
        self._loop = asyncio.new_event_loop()
        self._lifespan = self.app.router.lifespan_context(self.app)
        self._loop.run_until_complete(self._lifespan.__aenter__())
        self.staging: Path = self.app.state.preceptor.store.staging

    def _stop(self) -> None:
        self._loop.run_until_complete(self._lifespan.__aexit__(None, None, None))
        self._redis.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def wait(self, what: Coroutine[Any, Any, T]) -> T:
        """Run something of the application's own to its end."""
        return self._loop.run_until_complete(what)

    def filled(self, text: str) -> str:
        """The text with the ids of what was planted."""
        for name, value in self.names.items():
            text = text.replace(name, value)
        return text

    def ask(self, files: Files) -> tuple[int, dict[bytes, bytes], bytes]:
        """Status, headers and body of the answer to a request."""
        head: inputs.Head = json.loads(self.filled(files["head"].decode()))
        body = self.filled(files["body"].decode("latin1")).encode("latin1")
        return self._loop.run_until_complete(asyncio.wait_for(self._ask(head, body), 60))

    async def _ask(self, head: inputs.Head, body: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
        raw_path = head["path"].encode()
        headers = [(name.encode(), value.encode("latin1")) for name, value in head["headers"]]
        if all(name != b"host" for name, _ in headers):  # every client sends one
            headers.insert(0, (b"host", b"127.0.0.1"))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": head["method"],
            "scheme": "http",
            "path": unquote_to_bytes(raw_path).decode(errors="replace"),
            "raw_path": raw_path,
            "root_path": "",
            "query_string": head["query"].encode(),
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        parts: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]
        if len(body) > 10:
            parts.insert(0, {"type": "http.request", "body": body[:10], "more_body": True})
            parts[1]["body"] = body[10:]
        sent: list[Any] = []

        async def receive() -> Any:
            if parts:
                return parts.pop(0)
            await asyncio.sleep(_PATIENCE)  # streams of events end when the caller goes
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        start = sent[0]
        content = b"".join(message.get("body", b"") for message in sent[1:])
        return start["status"], dict(start["headers"]), content


@cache
def _application() -> Application:
    return Application()


def _request(files: Files, folder: Path) -> Outcome:
    application = _application()
    before = set(application.staging.iterdir())
    status, headers, body = application.ask(files)
    if extra := set(application.staging.iterdir()) - before:
        raise LeftBehind(f"left in the staging folder: {sorted(path.name for path in extra)[:5]}")
    head = json.loads(files["head"])
    told = f"{head['method']} {head['path'][:60]}: {status}"
    if status >= 500 and status not in (503, 507):
        raise ServerError(told)
    if status < 400:
        return "accepted"
    if head["method"] != "HEAD" and not (status == 503 and "/health/ready" in head["path"]):  # that tells a state
        if not headers.get(b"content-type", b"").startswith(MEDIA_TYPE.encode()):
            raise ServerError(f"{told}, not a problem document")
        problem = Problem.model_validate_json(body)
        if problem.status != status:
            raise ServerError(f"{told}, but the problem document says {problem.status}")
        assert len(body) < 20_000, f"an answer of {len(body)} bytes"
    return "refused"


PARSERS: Final = [
    Parser("http json", inputs.json_seeds, inputs.spoil_json_request, _request),
    Parser("http uploads", inputs.upload_seeds, inputs.spoil_upload, _request),
    Parser("http requests", inputs.plain_seeds, inputs.spoil_plain, _request),
]
