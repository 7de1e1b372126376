"""Middleware: a request id in the answer, the log and the problem document; one log line and metrics a request."""

import re
import time
import uuid
from typing import Any, Final

import structlog
from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.core.observability import tracing

REQUESTS: Final = Counter("preceptor_http_requests_total", "HTTP requests", ["method", "route", "status"])
SECONDS: Final = Histogram(
    "preceptor_http_request_seconds",
    "Time to the first byte of an answer",
    ["method", "route"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)


log = structlog.stdlib.get_logger("service.access")
_PROBED = ("/health", "/metrics")
"""Asked for every few seconds by machines: no traces."""
_ACCEPTED_ID = re.compile(rb"[A-Za-z0-9._:-]{1,100}")


_NO_SNIFFING = (b"x-content-type-options", b"nosniff")
"""What callers send comes back in documents and files: a browser must not take any of it for a page or a script."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestLog:
    """Wraps the application (pure ASGI, so that streams pass through untouched)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if _ACCEPTED_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        if not tracing.on() or scope["path"].startswith(_PROBED):
            await self._handle(scope, receive, send, request_id, {})
            return
        traceparent = headers.get(b"traceparent", b"").decode("latin-1")
        with tracing.server_span(scope["method"], scope["scheme"], traceparent) as span:
            if trace := tracing.trace_id():
                structlog.contextvars.bind_contextvars(trace_id=trace)
            seen: dict[str, Any] = {}
            try:
                await self._handle(scope, receive, send, request_id, seen)
            finally:
                route = getattr(scope.get("route"), "path", None)
                tracing.name_request(span, scope["method"], route, seen["status"])

    async def _handle(self, scope: Scope, receive: Receive, send: Send, request_id: str, seen: dict[str, Any]) -> None:
        started = time.perf_counter()
        seen.update(status=500, seconds=0.0)

        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
                seen["seconds"] = time.perf_counter() - started
                message.setdefault("headers", []).extend(((b"x-request-id", request_id.encode()), _NO_SNIFFING))
            await send(message)

        try:
            await self.app(scope, receive, tagged)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            # A client may send any word as method: each would be a series that is kept indefinitely.
            method = scope["method"] if scope["method"] in _METHODS else "other"
            REQUESTS.labels(method, route, str(seen["status"])).inc()
            SECONDS.labels(method, route).observe(seen["seconds"])
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=seen["status"],
                milliseconds=round(seen["seconds"] * 1000, 1),
            )
