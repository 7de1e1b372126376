"""Takes part in the caller's OpenTelemetry trace, where the caller has one; the SDK asks for no such package."""

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

try:
    from opentelemetry import propagate, trace
except ImportError:
    propagate = trace = None


@contextmanager
def client_span(method: str, path: str, headers: MutableMapping[str, Any]) -> Iterator[Callable[[int], None]]:
    """One request as a client span, which its headers carry to the service. Yields a function that takes the status.

    Parameters
    ----------
    path
        Of the request, without query.
    """
    if trace is None or propagate is None:
        yield lambda status: None
        return
    attributes = {"http.request.method": method, "url.path": path}
    with trace.get_tracer("preceptor").start_as_current_span(
        method, kind=trace.SpanKind.CLIENT, attributes=attributes
    ) as span:
        propagate.inject(headers)
        yield lambda status: span.set_attribute("http.response.status_code", status)
