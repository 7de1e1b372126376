"""Traces as the rest of the program sees them: spans that cost next to nothing until `service.telemetry` is on.

A job's trace travels in its record, not in the queue: the record outlives the loss of Redis, and the job that a message
brings is not always the one that it was sent for.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

SCOPE: Final = "preceptor"
_TRACER: Final = trace.get_tracer(SCOPE)
_W3C: Final = TraceContextTextMapPropagator()
_HEADER: Final = "traceparent"
_REQUEST: Final[ContextVar[Span | None]] = ContextVar("request span", default=None)


def carried() -> str:
    """The current request's span as W3C `traceparent`; empty where nothing is traced."""
    carrier: dict[str, str] = {}
    span = _REQUEST.get()
    if span is not None:
        # Not whatever span is current: those of libraries are not exported.
        _W3C.inject(carrier, trace.set_span_in_context(span))
    return carrier.get(_HEADER, "")


def context_of(traceparent: str) -> Context:
    """The context that a `traceparent` names; an empty one where it is malformed or empty."""
    return _W3C.extract({_HEADER: traceparent}, context=Context())


def trace_id() -> str | None:
    """The current trace, as logs name it."""
    found = trace.get_current_span().get_span_context()
    return format(found.trace_id, "032x") if found.is_valid else None


@contextmanager
def server_span(method: str, traceparent: str) -> Generator[Span]:
    """One request, beneath the caller's span. Messages of errors may hold what users wrote: they stay in the log."""
    attributes = {"http.request.method": method}
    with _TRACER.start_as_current_span(
        method,
        context_of(traceparent),
        kind=SpanKind.SERVER,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        token = _REQUEST.set(span)
        try:
            yield span
        finally:
            _REQUEST.reset(token)


def name_request(span: Span, method: str, route: str, status: int) -> None:
    """Name a request's span once its route is known; a fault of the service marks it."""
    span.update_name(f"{method} {route}")
    span.set_attributes({"http.route": route, "http.response.status_code": status})
    if status >= 500:
        span.set_status(StatusCode.ERROR)


@contextmanager
def delivery_span(
    traceparent: str, created_at: datetime | None, attributes: Mapping[str, str | int]
) -> Generator[Span]:
    """One delivery of a job to a worker, beneath the request that submitted it, behind its wait in the lane.

    Parameters
    ----------
    created_at
        When the job was accepted, for its first delivery: the wait becomes a span of its own.
    """
    parent = context_of(traceparent)
    if created_at is not None:
        waited = _TRACER.start_span(
            "wait in lane", parent, attributes=dict(attributes), start_time=int(created_at.timestamp() * 1e9)
        )
        waited.end()
    with _TRACER.start_as_current_span(
        f"job {attributes['preceptor.job.kind']}",
        parent,
        kind=SpanKind.CONSUMER,
        attributes=dict(attributes),
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        yield span


def stage_spans(started_ns: int, stages: Mapping[str, float]) -> None:
    """The stages of a job beneath the current span, laid end to end from what each took, in seconds."""
    for name, seconds in stages.items():
        ended_ns = started_ns + int(seconds * 1e9)
        _TRACER.start_span(name, start_time=started_ns).end(ended_ns)
        started_ns = ended_ns
