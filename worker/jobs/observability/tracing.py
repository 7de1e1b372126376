"""A delivery as a span: queue time, duration of its stages, outcome."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog
from pydantic import BaseModel

from service.core.errors import StateUnavailable
from service.core.lanes import Lane
from service.core.observability import tracing

from ..context import JobContext


@asynccontextmanager
async def traced_delivery(context: JobContext, deliveries: int, lane: Lane) -> AsyncIterator[None]:
    """Trace one delivery until its outcome is written; a process that exits during it leaves no span."""
    jobs, id = context.state.jobs, context.job_id
    summary, traceparent = None, ""
    if tracing.on():
        with suppress(StateUnavailable):
            traceparent = await jobs.records.trace(id)
            summary = await jobs.get(id)
    if summary is None:
        yield
        return
    # A delivery that was interrupted by an outage does not count as one; every delivery raises the fence.
    counts = {"preceptor.job.delivery": deliveries, "preceptor.job.fence": context.fence}
    attributes = {**tracing.job_attributes(id, summary.kind, lane), **counts}
    begun = summary.started_at
    first = (
        begun is not None and round(begun.timestamp() * 1000) == context.fence
    )  # Fences are timestamps of Redis' clock.
    waited_since = summary.created_at if first else None
    with tracing.delivery_span(traceparent, attributes, waited_since) as span:
        if trace := tracing.trace_id():
            structlog.contextvars.bind_contextvars(trace_id=trace)
        try:
            yield
        finally:
            span.set_attribute(tracing.OUTCOME, context.outcome)
            if context.outcome == "failed":
                tracing.mark_failed(span, context.problem)
            structlog.contextvars.unbind_contextvars("trace_id")


def trace_stages(result: BaseModel, started_ns: int) -> None:
    """Spans of the stages in a result, under its delivery."""
    timings = getattr(result, "timings", None)
    if timings is not None and tracing.on():
        tracing.stage_spans(started_ns, timings.stages)
