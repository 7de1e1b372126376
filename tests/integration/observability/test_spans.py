"""Which spans requests and deliveries leave, and what they keep to themselves. Real routes, Redis, store and worker."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2
import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from pydantic import BaseModel
from structlog.testing import CapturingLogger

from preceptor.contract.ids import RECOMMENDATION, new_id
from preceptor.contract.jobs import JobStatus
from preceptor.contract.recommendations import RecommendationBody, Timings
from service.app import create_app
from service.core.async_helpers import ended
from service.core.errors import JobFailed, StoreUnavailable
from service.core.observability import tracing
from service.core.redis import keys
from service.core.settings import Settings
from service.core.state import State
from worker.jobs import consumer as consumer_module
from worker.jobs.consumer import Consumer, Task
from worker.jobs.context import JobContext

pytestmark = pytest.mark.anyio
TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT: Final = f"00-{TRACE}-b7ad6b7169203331-01"
REQUEST = RecommendationBody.model_validate({"student": {"labels": ["cat", "dog"]}})
WORDS: Final = "words that a user wrote"


class Answer(BaseModel):
    timings: Timings = Timings(queued=0.0, total=0.3, stages={"load": 0.1, "transport": 0.2})


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """What has been traced so far."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(provider)
    yield exporter
    tracing.use(None)


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return sorted((s for s in spans.get_finished_spans() if s.name == name), key=lambda s: s.start_time or 0)


@asynccontextmanager
async def client(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    app = create_app(settings)

    @app.get("/v1/broken")
    async def broken() -> None:
        raise ZeroDivisionError(WORDS)

    app.router.routes.insert(0, app.router.routes.pop())
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as made:
            yield made


async def test_requests_are_named_by_their_route_and_by_nothing_else(
    settings: Settings, spans: InMemorySpanExporter
) -> None:
    async with client(settings) as http:
        await http.get("/v1/jobs", params={"limit": 3}, headers={"traceparent": TRACEPARENT})
        await http.get("/v1/jobs/words-that-a-user-wrote")
        await http.get("/words-that-a-user-wrote")
        await http.request("WORDS", "/v1/jobs")
        await http.get("/v1/broken", headers={"traceparent": "words that a user wrote"})
        await http.get("/health/live")
        await http.get("/metrics")
    made = spans.get_finished_spans()
    assert [(span.name, attributes(span)["http.response.status_code"]) for span in made] == [
        ("GET /v1/jobs", 200), ("GET /v1/jobs/{id}", 422), ("GET", 404), ("HTTP /v1/jobs", 405), ("GET /v1/broken", 500)
    ]  # fmt: skip
    assert "http.route" not in attributes(made[2])
    assert attributes(made[3])["http.request.method"] == "_OTHER"
    assert made[0].context is not None
    assert format(made[0].context.trace_id, "032x") == TRACE
    assert [span.status.status_code for span in made] == [StatusCode.UNSET] * 4 + [StatusCode.ERROR]
    assert attributes(made[4])["error.type"] == "ZeroDivisionError"
    assert "words" not in "".join(span.to_json() for span in made).lower()


@asynccontextmanager
async def working(settings: Settings, task: Task) -> AsyncIterator[State]:
    """A worker that runs this for every recommendation."""
    async with State(settings) as state:
        await state.ensure_index()
        consumer = Consumer(state, "recommend", {"recommendation": task})
        running = asyncio.create_task(consumer.run())
        reaping = asyncio.create_task(state.reap_indefinitely(0.05))
        try:
            yield state
        finally:
            consumer.drain()
            await asyncio.wait_for(running, 20)
            await ended(reaping)


async def submitted(state: State) -> str:
    """A job that came by a request of the trace."""
    id = new_id(RECOMMENDATION)
    with tracing.server_span("POST", "http", TRACEPARENT):
        await state.jobs.submit(id, "recommendation", REQUEST)
    return id


async def until_ended(state: State, id: str) -> JobStatus:
    async with asyncio.timeout(30):
        async for _ in state.events.wake_ups(id):
            summary = await state.jobs.get(id)
            assert summary is not None
            if summary.status.terminal:
                return summary.status
    raise AssertionError


async def test_each_delivery_is_a_span_beneath_the_submission(settings: Settings, spans: InMemorySpanExporter) -> None:
    """The first delivery meets a store that is away, the second succeeds."""
    met: list[int] = []

    async def task(context: JobContext, request: dict[str, Any]) -> BaseModel:
        met.append(context.fence)
        if len(met) == 1:
            raise StoreUnavailable(WORDS)
        return Answer()

    async with working(settings, task) as state:
        id = await submitted(state)
        assert await until_ended(state, id) == JobStatus.SUCCEEDED
    request, submit, wait = (named(spans, name)[0] for name in ("POST", "submit", "wait in lane"))
    assert len(named(spans, "wait in lane")) == 1
    first, second = named(spans, "job recommendation")
    assert submit.parent is not None
    assert request.context is not None
    assert submit.context is not None
    assert submit.parent.span_id == request.context.span_id
    assert {span.parent.span_id for span in (wait, first, second) if span.parent} == {submit.context.span_id}
    assert all(span.context and format(span.context.trace_id, "032x") == TRACE for span in spans.get_finished_spans())
    told = [attributes(span) for span in (first, second)]
    assert [one[tracing.OUTCOME] for one in told] == ["tried again", "succeeded"]
    assert [one["preceptor.job.fence"] for one in told] == met
    assert [one["preceptor.job.delivery"] for one in told] == [1, 1], "an outage does not count"
    for one in told:
        assert (one["preceptor.job.id"], one["preceptor.job.kind"]) == (id, "recommendation")
        assert one["preceptor.job.lane"] == "recommend"
    for name, seconds in Answer().timings.stages.items():
        (stage,) = named(spans, name)
        assert stage.parent is not None
        assert second.context is not None
        assert stage.parent.span_id == second.context.span_id
        assert stage.start_time is not None
        assert stage.end_time is not None
        assert stage.end_time - stage.start_time == pytest.approx(seconds * 1e9)
    assert WORDS not in "".join(span.to_json() for span in spans.get_finished_spans())


@pytest.mark.parametrize(("error", "kind"), [(JobFailed(WORDS), "job-failed"), (ZeroDivisionError(WORDS), "internal")])
async def test_a_failure_is_marked_and_its_log_lines_name_the_trace(
    settings: Settings,
    spans: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    kind: str,
) -> None:
    logged = CapturingLogger()
    processors = [structlog.contextvars.merge_contextvars, structlog.processors.JSONRenderer()]
    log = structlog.wrap_logger(logged, processors=processors, wrapper_class=structlog.stdlib.BoundLogger)
    monkeypatch.setattr(consumer_module, "log", log)

    async def task(context: JobContext, request: dict[str, Any]) -> BaseModel:
        raise error

    async with working(settings, task) as state:
        assert await until_ended(state, await submitted(state)) == JobStatus.FAILED
    (span,) = named(spans, "job recommendation")
    assert span.status.status_code == StatusCode.ERROR
    assert (attributes(span)[tracing.OUTCOME], attributes(span)["error.type"]) == ("failed", kind)
    assert WORDS not in span.to_json()
    lines = [json.loads(call.args[0]) for call in logged.calls]
    assert {line["event"]: line.get("trace_id") for line in lines if line["event"] in ("job taken", "job failed")} == {
        "job taken": TRACE, "job failed": TRACE
    }  # fmt: skip


async def test_a_write_that_is_refused_did_not_succeed(settings: Settings, spans: InMemorySpanExporter) -> None:
    """While the first delivery works, its lease is lost and the job is taken by another."""
    late: list[JobContext] = []

    async def task(context: JobContext, request: dict[str, Any]) -> BaseModel:
        late.append(context)
        if len(late) == 1:
            taken = await context.state.jobs.leases.take(context.job_id, "another")
            while taken.code == "held":
                await context.state.client.zrem(keys.leases("recommend"), context.job_id)
                taken = await context.state.jobs.leases.take(context.job_id, "another")
        return Answer()

    async with working(settings, task) as state:
        await submitted(state)
        async with asyncio.timeout(20):
            while not named(spans, "job recommendation"):  # noqa: ASYNC110 (nobody tells of a span)
                await asyncio.sleep(0.02)
    assert attributes(named(spans, "job recommendation")[0])[tracing.OUTCOME] == "superseded"


async def test_the_trace_outlives_the_loss_of_redis(settings: Settings, spans: InMemorySpanExporter) -> None:
    async with State(settings) as state:
        await state.ensure_index()
        id = await submitted(state)
        before = await state.jobs.records.trace(id)
        await state.client.flushall()
        await state.ensure_index()
        assert await state.jobs.records.trace(id) == before
    assert before.split("-")[1] == TRACE


async def test_nothing_is_traced_while_it_is_off(settings: Settings, spans: InMemorySpanExporter) -> None:
    tracing.use(None)
    async with client(settings) as http:
        await http.get("/v1/jobs", headers={"traceparent": TRACEPARENT})

    async def task(context: JobContext, request: dict[str, Any]) -> BaseModel:
        return Answer()

    async with working(settings, task) as state:
        id = new_id(RECOMMENDATION)
        await state.jobs.submit(id, "recommendation", REQUEST)
        assert await until_ended(state, id) == JobStatus.SUCCEEDED
        assert await state.jobs.records.trace(id) == ""
    assert not spans.get_finished_spans()
