"""The numbers of `/metrics` after real jobs: counted by workers and by scripts, added up in Redis, read by HTTP."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import numpy as np
import pytest
import structlog
import torch
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel

from preceptor.contract.ids import RECOMMENDATION, new_id
from preceptor.contract.jobs import JobStatus
from preceptor.contract.recommendations import (
    CacheUse,
    RecommendationBody,
    RecommendationResult,
    SkippedTeacher,
    Timings,
)
from service.app import create_app
from service.core.async_helpers import ended
from service.core.errors import JobFailed, StateUnavailable, StoreUnavailable
from service.core.redis import keys
from service.core.redis.embedded import EmbeddedRedis
from service.core.settings import Settings
from service.core.state import State
from worker.jobs.consumer import Consumer, Task
from worker.jobs.context import JobContext
from worker.jobs.observability.metrics import WorkerMetrics
from worker.ranking.estimators.evidence import Evidence
from worker.ranking.estimators.registry import ESTIMATORS
from worker.transport.sinkhorn import sinkhorn
from worker.transport.tally import SOLVED

pytestmark = pytest.mark.anyio
REQUEST = RecommendationBody.model_validate({"student": {"labels": ["cat", "dog"]}})
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def result(seconds: float = 0.3) -> RecommendationResult:
    return RecommendationResult(
        method="label_transport", mode="coverage", encoder="test", student_labels=["cat", "dog"], considered=7,
        solved=5, ranking=[], skipped=[SkippedTeacher(name="broken", reason="its weights cannot be read")],
        uncovered=[], warnings=[],
        timings=Timings(
            queued=0.125, total=seconds, stages={"embed": 0.25}, caches={"cost": CacheUse(hits=3, misses=2)}
        ),
    )  # fmt: skip


async def scraped(settings: Settings) -> Series:
    """What a scraper reads."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            answer = await client.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def at(series: Series, name: str, **labels: str) -> float:
    return series[f"preceptor_{name}", frozenset(labels.items())]


@asynccontextmanager
async def working(settings: Settings, task: Task) -> AsyncIterator[State]:
    """A worker, and a reaper, beside the test; drained at the end."""
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
    id = new_id(RECOMMENDATION)
    await state.jobs.submit(id, "recommendation", REQUEST)
    return id


async def until_ended(state: State, id: str) -> JobStatus:
    async with asyncio.timeout(20):
        async for _ in state.events.wake_ups(id):
            summary = await state.jobs.get(id)
            assert summary is not None
            if summary.status.terminal:
                return summary.status
    raise AssertionError


async def test_before_any_job_every_series_of_an_alert_is_there_at_zero(settings: Settings) -> None:
    series = await scraped(settings)
    assert at(series, "dead_letters_total", kind="distillation", reason="lost") == 0
    assert at(series, "jobs_ended_total", kind="recommendation", status="failed") == 0
    assert at(series, "lane_workers", lane="distill") == 0
    assert at(series, "ot_unconverged_items_total") == 0
    assert (at(series, "redis_up"), at(series, "store_up")) == (1, 1)


async def test_jobs_are_counted_by_what_became_of_them(settings: Settings) -> None:
    outcomes: list[RecommendationResult | Exception] = [
        result(0.3), result(70.0), JobFailed("no teacher could be ranked"), StoreUnavailable("away"), result(0.3),
    ]  # fmt: skip

    async def task(context: JobContext, request: dict[str, Any]) -> BaseModel:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    quick = settings.model_copy(update={"retry_seconds": 0.05})
    async with working(quick, task) as state:
        ends = [await until_ended(state, await submitted(state)) for _ in range(4)]
    assert [end.value for end in ends] == ["succeeded", "succeeded", "failed", "succeeded"]
    series = await scraped(settings)
    kind = "recommendation"
    assert at(series, "jobs_ended_total", kind=kind, status="succeeded") == 3
    assert at(series, "jobs_ended_total", kind=kind, status="failed") == 1
    assert at(series, "job_failures_total", kind=kind, problem="job-failed") == 1
    assert at(series, "job_redeliveries_total", kind=kind, reason="fault") == 1
    assert at(series, "job_redeliveries_total", kind=kind, reason="lost") == 0
    assert at(series, "job_stage_seconds_total", kind=kind, stage="embed") == pytest.approx(0.75)
    assert at(series, "job_stage_seconds_total", kind=kind, stage="queued") == pytest.approx(0.375)
    assert at(series, "cache_requests_total", cache="cost", outcome="hit") == 9
    assert at(series, "cache_requests_total", cache="cost", outcome="miss") == 6
    assert at(series, "teachers_skipped_total") == 3
    assert at(series, "ot_items_total", solver="exact") == 15
    assert at(series, "job_seconds_count", kind=kind) == 3
    assert at(series, "job_seconds_sum", kind=kind) == pytest.approx(70.6)
    assert at(series, "job_seconds_bucket", kind=kind, le="0.25") == 0
    assert at(series, "job_seconds_bucket", kind=kind, le="0.5") == 2
    assert at(series, "job_seconds_bucket", kind=kind, le="60") == 2
    assert at(series, "job_seconds_bucket", kind=kind, le="300") == 3


async def test_a_worker_at_work_is_seen_and_one_that_left_is_not(settings: Settings) -> None:
    started, leave = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        leave.wait(20)

    async def task(context: JobContext, request: dict[str, Any]) -> BaseModel:
        await context.compute(work)
        return result()

    async with working(settings, task) as state:
        job = await submitted(state)
        assert await asyncio.to_thread(started.wait, 20)
        series = await scraped(settings)
        assert at(series, "lane_running_jobs", lane="recommend") == 1
        assert at(series, "lane_workers", lane="recommend") == 1
        memory = [value for (name, _), value in series.items() if name == "preceptor_worker_resident_bytes"]
        assert len(memory) == 1
        assert memory[0] > 10 * 2**20
        leave.set()
        assert await until_ended(state, job) == JobStatus.SUCCEEDED
    series = await scraped(settings)
    assert at(series, "lane_running_jobs", lane="recommend") == 0
    assert at(series, "lane_workers", lane="recommend") == 0
    assert not [name for name, _ in series if name == "preceptor_worker_resident_bytes"]


async def test_a_job_that_outlives_its_workers_is_a_dead_letter(settings: Settings) -> None:
    async with State(settings.model_copy(update={"delivery_limit": 2})) as state:
        await state.ensure_index()
        job = await submitted(state)
        for number in (1, 2):
            assert (await state.jobs.leases.take(job, f"lost-{number}")).deliveries == number
            await state.client.zadd(keys.leases("recommend"), {job: 1})  # The worker has fallen silent.
            assert len(await state.jobs.recovery.reap()) == 1
        assert (await state.jobs.leases.take(job, "third")).code == "exhausted"
    series = await scraped(settings)
    assert at(series, "job_redeliveries_total", kind="recommendation", reason="lost") == 2
    assert at(series, "dead_letters_total", kind="recommendation", reason="lost") == 1


async def test_transport_problems_are_counted_where_they_are_solved(settings: Settings) -> None:
    SOLVED.take()
    random = np.random.default_rng(0)
    soft = random.dirichlet(np.ones(3), size=11).astype(np.float32)
    evidence = Evidence(
        teacher_labels=["a", "b", "c"], student_labels=["x", "y", "z"],
        text_cost=random.uniform(size=(3, 3)).astype(np.float32),
        predictions=soft, student_predictions=soft[::-1].copy(),
    )  # fmt: skip
    ESTIMATORS["prediction_transport"].estimate(evidence)
    async with State(settings) as state:
        await WorkerMetrics(state, "recommend", "here-1").publish()
    series = await scraped(settings)
    before = at(series, "ot_items_total", solver="sinkhorn")
    assert before >= 11
    assert at(series, "ot_unconverged_items_total") == 0
    p, q = torch.from_numpy(soft), torch.from_numpy(soft[::-1].copy())
    unfinished = sinkhorn(p, q, torch.from_numpy(random.uniform(size=(3, 3))), eps=1e-3, tol=1e-12, max_iterations=1)
    missed = int((~unfinished.converged).sum())
    assert missed > 0
    async with State(settings) as state:
        await WorkerMetrics(state, "recommend", "here-1").publish()
    series = await scraped(settings)
    assert at(series, "ot_items_total", solver="sinkhorn") == before + 11
    assert at(series, "ot_iterations_total") >= 22
    assert at(series, "ot_unconverged_items_total") == missed


async def test_what_redis_did_not_take_is_added_later(settings: Settings, redis_server: EmbeddedRedis) -> None:
    async with State(settings) as state:
        figures = WorkerMetrics(state, "recommend", "here-1")
        figures.count("recommendation", result())
        redis_server.stop()
        with pytest.raises(StateUnavailable):
            await figures.publish()
        down = await scraped(settings)
        assert (at(down, "redis_up"), at(down, "store_up")) == (0, 1)
        assert not [name for name, _ in down if name == "preceptor_lane_workers"]
        redis_server.ensure()
        await figures.publish()
    assert at(await scraped(settings), "teachers_skipped_total") == 1


async def test_teachers_that_fail_a_job_are_counted_although_it_has_no_result(settings: Settings) -> None:
    async def useless(context: JobContext, request: dict[str, Any]) -> BaseModel:
        context.teacher_failures += ["unusable", "unusable"]
        raise JobFailed("no teacher could be ranked")

    async with working(settings, useless) as state:
        assert await until_ended(state, await submitted(state)) is JobStatus.FAILED
    series = await scraped(settings)
    assert at(series, "teacher_failures_total", kind="recommendation", reason="unusable") == 2
    assert at(series, "teacher_failures_total", kind="validation", reason="rejected") == 0


async def test_a_job_is_found_from_the_request_that_submitted_it(settings: Settings) -> None:
    seen: list[dict[str, Any]] = []

    async def look(context: JobContext, request: dict[str, Any]) -> BaseModel:
        seen.append(structlog.contextvars.get_contextvars())
        return result()

    async with working(settings, look) as state:
        structlog.contextvars.bind_contextvars(request_id="request-1")
        id = await submitted(state)
        assert structlog.contextvars.get_contextvars()["job"] == id
        structlog.contextvars.clear_contextvars()
        await until_ended(state, id)
    assert seen[0]["request_id"] == "request-1"
    assert seen[0]["job"] == id
