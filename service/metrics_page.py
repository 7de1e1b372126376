"""What `/metrics` says: this process' own metrics, and those of the deployment, asked of Redis at each scrape.

The latter are the same from every service process: take their `max` over instances, not their `sum`.
"""

import asyncio
import math
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from service.core.errors import PreceptorError, StateUnavailable
from service.core.lanes import LANE_OF_KIND, LANES
from service.core.redis.counters import BUCKETS, COUNTERS, SECONDS_BUCKET, SECONDS_SUM, Labels
from service.core.redis.server_info import RedisServer, check_writable
from service.core.state import State

T = TypeVar("T")
_PATIENCE: Final = 3.0
"""Seconds that Redis and the store have to answer: a scraper gives up after ten, and then shows nothing at all."""


@dataclass(frozen=True, eq=False)
class _Gathered(Collector):
    """Metrics of one scrape."""

    metrics: list[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.metrics


async def exposition(state: State) -> bytes:
    """All metrics in Prometheus' text format. What Redis does not answer is left out; `preceptor_redis_up` says so."""
    store, deployment = await asyncio.gather(_in_time(_store(state)), _in_time(_deployment(state)))
    metrics = [
        _yes("preceptor_redis_up", "Whether Redis answers", deployment is not None),
        _yes("preceptor_store_up", "Whether the store takes a write", store is not None),
        *(deployment or ()),
    ]
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Gathered(metrics))
    return generate_latest() + generate_latest(registry)


async def _in_time(asked: Awaitable[T]) -> T | None:
    """The answer, or None where it failed or came too late."""
    try:
        async with asyncio.timeout(_PATIENCE):
            return await asked
    except (PreceptorError, TimeoutError):
        return None


def _yes(name: str, says: str, holds: bool) -> Metric:
    return GaugeMetricFamily(name, says, value=float(holds))


async def _store(state: State) -> bool:
    await state.store.check()
    return True


async def _deployment(state: State) -> list[Metric]:
    server = await RedisServer.ask(state.client)
    figures = await state.counters.read()
    return [
        GaugeMetricFamily("preceptor_redis_memory_bytes", "Memory that Redis uses", value=server.memory),
        GaugeMetricFamily("preceptor_redis_maxmemory_bytes", "Its limit; 0 is none", value=server.maxmemory),
        _yes("preceptor_redis_writable", "Whether Redis takes a write", await _writable(state)),
        _yes("preceptor_index_whole", "Whether the index mirrors the store", await state.index_is_whole()),
        *await _lanes(state),
        *await _workers(state),
        *await _webhooks(state),
        *_counters(figures),
        _seconds(figures),
    ]


async def _writable(state: State) -> bool:
    try:
        await check_writable(state.client)
    except StateUnavailable:
        return False
    return True


async def _lanes(state: State) -> list[Metric]:
    waiting = GaugeMetricFamily("preceptor_lane_waiting_jobs", "Jobs that wait in a lane", labels=["lane"])
    oldest = GaugeMetricFamily("preceptor_lane_oldest_seconds", "Age of the oldest waiting job", labels=["lane"])
    running = GaugeMetricFamily("preceptor_lane_running_jobs", "Jobs of a lane that a worker holds", labels=["lane"])
    workers = GaugeMetricFamily("preceptor_lane_workers", "Workers of a lane that show life", labels=["lane"])
    for lane in LANES:
        depth, age = await state.lane_backlog(lane)
        waiting.add_metric([lane], depth)
        oldest.add_metric([lane], age)
        running.add_metric([lane], await state.lane_running(lane))
        workers.add_metric([lane], await state.lane_workers(lane))
    return [waiting, oldest, running, workers]


async def _workers(state: State) -> list[Metric]:
    memory = GaugeMetricFamily(
        "preceptor_worker_resident_bytes", "Memory of a worker process", labels=["lane", "worker"]
    )
    gpu = GaugeMetricFamily(
        "preceptor_worker_gpu_memory_bytes", "GPU memory that a worker holds", labels=["lane", "worker", "device"]
    )
    programs = GaugeMetricFamily(
        "preceptor_worker_info",
        "Always 1: the version of each worker, and the contract of the newest requests that it can read",
        labels=["lane", "worker", "version", "contract"],
    )
    for worker, report in (await state.counters.reports()).items():
        programs.add_metric([report.lane, worker, report.version, str(report.contract)], 1)
        memory.add_metric([report.lane, worker], report.resident_bytes)
        for device, held in report.gpu_bytes.items():
            gpu.add_metric([report.lane, worker, device], held)
    return [memory, gpu, programs]


async def _webhooks(state: State) -> list[Metric]:
    waiting, age = await state.webhooks.deliveries.backlog()
    return [
        GaugeMetricFamily("preceptor_webhook_due", "Deliveries that wait for an attempt, the first or next", waiting),
        GaugeMetricFamily(
            "preceptor_webhook_due_oldest_seconds", "For how long the oldest of them could have been tried", age
        ),
    ]


def _counters(figures: dict[str, dict[Labels, float]]) -> list[Metric]:
    metrics: list[Metric] = []
    for name, counter in COUNTERS.items():
        family = CounterMetricFamily(f"preceptor_{name}", counter.help, labels=counter.labels)
        values = {**dict.fromkeys(counter.zeros, 0.0), **figures.get(name, {})}
        for labels, value in sorted(values.items()):
            if len(labels) == len(counter.labels):  # Else of another version.
                family.add_metric(labels, value)
        metrics.append(family)
    return metrics


def _seconds(figures: dict[str, dict[Labels, float]]) -> Metric:
    family = HistogramMetricFamily(
        "preceptor_job_seconds", "Time that jobs which succeeded took in their worker", labels=["kind"]
    )
    counts, sums = figures.get(SECONDS_BUCKET, {}), figures.get(SECONDS_SUM, {})
    for kind in LANE_OF_KIND:
        total, buckets = 0.0, list[tuple[str, float]]()
        for bound in (*BUCKETS, math.inf):
            total += counts.get((kind, f"{bound:g}"), 0.0)
            buckets.append(("+Inf" if math.isinf(bound) else f"{bound:g}", total))
        family.add_metric([kind], buckets, sums.get((kind,), 0.0))
    return family
