"""Traces, as used by the rest of the program. Nothing is traced until `tracing_export` sets a provider.

A job's trace context is stored in its record, not in the queue: the record survives the loss of Redis, and a queue
message may deliver a different job from the one that it was sent for.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, NoOpTracer, Span, SpanKind, StatusCode, Tracer, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

SCOPE: Final = "preceptor"
OUTCOME: Final = "preceptor.job.outcome"
_KIND: Final = "preceptor.job.kind"
_W3C: Final = TraceContextTextMapPropagator()
_HEADER: Final = "traceparent"
_OFF: Final[Tracer] = NoOpTracer()
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_tracer: Tracer = _OFF


def use(provider: TracerProvider | None) -> None:
    """Create spans with this provider from now on; None stops tracing.

    It is not set as the global provider: the queue's own spans would attribute a message to another job.
    """
    global _tracer
    _tracer = _OFF if provider is None else provider.get_tracer(SCOPE)


def on() -> bool:
    """Whether tracing is on."""
    return _tracer is not _OFF


def carried() -> str:
    """The current span as W3C `traceparent`; empty if nothing is traced."""
    carrier: dict[str, str] = {}
    if on():
        _W3C.inject(carrier)
    return carrier.get(_HEADER, "")


def context_of(traceparent: str) -> Context:
    """The context of a `traceparent`; empty if the header is malformed or empty."""
    return _W3C.extract({_HEADER: traceparent}, context=Context())


def trace_id() -> str | None:
    """The current trace id, in the format of the logs; None if nothing is traced."""
    found = trace.get_current_span().get_span_context()
    return format(found.trace_id, "032x") if found.is_valid else None


@contextmanager
def _current(
    name: str, kind: SpanKind, attributes: Mapping[str, str | int], parent: Context | None = None
) -> Generator[Span]:
    # Error messages may contain user input: they stay in the log. The error's type is enough here.
    with _tracer.start_as_current_span(
        name, parent, kind=kind, attributes=dict(attributes), record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except Exception as error:
            mark_failed(span, type(error).__name__)
            raise


def mark_failed(span: Span, why: str) -> None:
    """Mark a span as an error of the given type."""
    span.set_attribute("error.type", why)
    span.set_status(StatusCode.ERROR)


@contextmanager
def server_span(method: str, scheme: str, traceparent: str) -> Generator[Span]:
    """The span of a request, below the caller's span. Unknown methods are untrusted input, recorded as `_OTHER`."""
    known = method if method in _METHODS else "_OTHER"
    attributes = {"http.request.method": known, "url.scheme": scheme}
    with _current(_name_of(known), SpanKind.SERVER, attributes, context_of(traceparent)) as span:
        yield span


def name_request(span: Span, method: str, route: str | None, status: int) -> None:
    """Name a request's span once its route is known (None: no route); a server error marks the span as failed."""
    known = method if method in _METHODS else "_OTHER"
    span.set_attribute("http.response.status_code", status)
    if route is not None:
        span.update_name(f"{_name_of(known)} {route}")
        span.set_attribute("http.route", route)
    if status >= 500:
        mark_failed(span, str(status))


def _name_of(method: str) -> str:
    return "HTTP" if method == "_OTHER" else method


@contextmanager
def submit_span(id: str, kind: str, lane: str) -> Generator[Span]:
    """The span of accepting a job; the spans of its deliveries are below it."""
    if not on():
        yield INVALID_SPAN
        return
    with _current("submit", SpanKind.PRODUCER, job_attributes(id, kind, lane)) as span:
        yield span


@contextmanager
def delivery_span(
    traceparent: str, attributes: Mapping[str, str | int], waited_since: datetime | None
) -> Generator[Span]:
    """The span of one delivery of a job to a worker, below its `submit` span.

    Parameters
    ----------
    attributes
        From `job_attributes`, and further ones.
    waited_since
        When the job was accepted, for its first delivery: the wait becomes a separate span.
    """
    parent = context_of(traceparent)
    if waited_since is not None:
        accepted = int(waited_since.timestamp() * 1e9)
        _tracer.start_span("wait in lane", parent, attributes=attributes, start_time=accepted).end()
    with _current(f"job {attributes[_KIND]}", SpanKind.CONSUMER, attributes, parent) as span:
        yield span


def job_attributes(id: str, kind: str, lane: str) -> dict[str, str | int]:
    """Attributes of all spans of a job."""
    return {"preceptor.job.id": id, _KIND: kind, "preceptor.job.lane": lane}


def stage_spans(started_ns: int, stages: Mapping[str, float]) -> None:
    """Add a span for each stage of a job below the current span, one after the other; `stages` in seconds."""
    for name, seconds in stages.items():
        ended_ns = started_ns + int(seconds * 1e9)
        _tracer.start_span(name, start_time=started_ns).end(ended_ns)
        started_ns = ended_ns
