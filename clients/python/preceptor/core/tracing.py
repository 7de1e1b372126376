"""Takes part in the caller's OpenTelemetry trace, where the caller has one; the SDK asks for no such package."""

from collections.abc import Callable, Generator, MutableMapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

try:
    from opentelemetry import propagate, trace
except ImportError:
    propagate = trace = None


@contextmanager
def client_span(method: str, url: str, headers: MutableMapping[str, Any]) -> Generator[Callable[[int], None]]:
    """One request as a client span, which its headers carry to the service. Yields a function that takes the status.

    Parameters
    ----------
    url
        Of the request. Of its query, and of a user and password in it, the span does not tell.
    """
    if trace is None or propagate is None:
        yield lambda status: None
        return
    error_status = trace.StatusCode.ERROR
    with trace.get_tracer("preceptor").start_as_current_span(method, kind=trace.SpanKind.CLIENT) as span:
        if span.is_recording():
            span.set_attributes(_attributes(method, url))
        if span.get_span_context().is_valid:
            propagate.inject(headers)

        def answered(status: int) -> None:
            span.set_attribute("http.response.status_code", status)
            if status >= 400:
                span.set_attribute("error.type", str(status))
                span.set_status(error_status)

        try:
            yield answered
        except Exception as error:
            span.set_attribute("error.type", type(error).__name__)
            raise


def _attributes(method: str, url: str) -> dict[str, str | int]:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = parts.hostname or ""
    place = f"[{host}]" if ":" in host else host
    return {
        "http.request.method": method,
        "url.full": f"{parts.scheme}://{place}:{port}{parts.path}",
        "server.address": host,
        "server.port": port,
    }
