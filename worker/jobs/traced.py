"""A delivery as a span: how long the job waited, what its stages took, how it ended."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from opentelemetry.trace import Span, StatusCode
from pydantic import BaseModel

from preceptor.contract.jobs import JobSummary
from service import telemetry
from service.state import traces
from service.state.lanes import Lane
from service.state.state import State

from .context import Stopped

OUTCOME = "preceptor.job.outcome"


class Delivery:
    """The span of a delivery that is under way."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._started = time.time_ns()

    def succeeded(self, result: BaseModel) -> None:
        """It has its result, whose timings become spans."""
        timings = getattr(result, "timings", None)
        if timings is not None:
            traces.stage_spans(self._started, timings.stages)
        self._span.set_attribute(OUTCOME, "succeeded")


@asynccontextmanager
async def traced_delivery(state: State, job: JobSummary, lane: Lane) -> AsyncIterator[Delivery]:
    """Around the work on a job. An error is named by its kind alone."""
    traceparent = await state.jobs.trace(job.id) if telemetry.wanted() else ""
    attributes: dict[str, str | int] = {
        "preceptor.job.id": job.id,
        "preceptor.job.kind": job.kind,
        "preceptor.job.lane": lane,
        "preceptor.job.delivery": job.deliveries,
    }
    created = job.created_at if job.deliveries <= 1 else None
    with traces.delivery_span(traceparent, created, attributes) as span:
        if trace := traces.trace_id():
            structlog.contextvars.bind_contextvars(trace_id=trace)
        try:
            yield Delivery(span)
        except Stopped as stopped:
            span.set_attribute(OUTCOME, stopped.reason)
            raise
        except BaseException as error:
            span.set_attribute(OUTCOME, "failed")
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(StatusCode.ERROR)
            raise
        finally:
            structlog.contextvars.unbind_contextvars("trace_id")
