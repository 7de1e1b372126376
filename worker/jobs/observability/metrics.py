"""A worker's metrics. They are added to the deployment's metrics with every heartbeat."""

import math
import os
from bisect import bisect_left
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from pydantic import BaseModel

from preceptor.contract.distillations import DistillationResult
from preceptor.contract.jobs import JobKind
from preceptor.contract.recommendations import RecommendationResult, Timings
from preceptor.contract.validations import ValidationResult
from preceptor.contract.versions import CONTRACT
from service.core.errors import StateUnavailable
from service.core.lanes import Lane
from service.core.redis.counters import BUCKETS, SECONDS_BUCKET, SECONDS_SUM, WorkerReport, field_of
from service.core.state import State
from worker.transport.tally import SOLVED

from ..context import TeacherFailure


class WorkerMetrics:
    """Accumulates the metrics of this worker's jobs until they are published."""

    def __init__(self, state: State, lane: Lane, name: str) -> None:
        self._state = state
        self._lane: Lane = lane
        self._name = name
        self._pending: dict[str, float] = {}

    def count(self, kind: JobKind, result: BaseModel) -> None:
        """Count a job that has succeeded."""
        if isinstance(result, ValidationResult):
            self._seconds(kind, result.seconds)
        elif isinstance(result, DistillationResult):
            self._timings(kind, result.timings)
        elif isinstance(result, RecommendationResult):
            self._timings(kind, result.timings)
            self._add("teachers_skipped", len(result.skipped))
            if result.method == "label_transport":
                self._add("ot_items", result.solved, "exact")

    def count_failures(self, kind: JobKind, failures: Sequence[TeacherFailure]) -> None:
        """Count teachers that failed in a job, independent of its outcome."""
        for reason in failures:
            self._add("teacher_failures", 1, kind, reason)

    async def publish(self) -> None:
        """Publish the counts since the last call, and a report of this process.

        Raises
        ------
        StateUnavailable
            The counts are kept for the next call.
        """
        solved = SOLVED.take()
        self._add("ot_items", solved.items, "sinkhorn")
        self._add("ot_unconverged_items", solved.unconverged)
        self._add("ot_iterations", solved.iterations)
        amounts, self._pending = self._pending, {}
        try:
            if amounts:
                await self._state.counters.add(amounts)
        except StateUnavailable:
            for field, amount in amounts.items():
                self._pending[field] = self._pending.get(field, 0) + amount
            raise
        report = WorkerReport(
            lane=self._lane,
            resident_bytes=_resident_bytes(),
            gpu_bytes=_gpu_bytes(),
            version=version("preceptor-server"),
            contract=CONTRACT,
        )
        await self._state.counters.report(self._name, report)

    def _timings(self, kind: JobKind, timings: Timings) -> None:
        self._seconds(kind, timings.total)
        for stage, seconds in {"queued": timings.queued, **timings.stages}.items():
            self._add("job_stage_seconds", seconds, kind, stage)
        for cache, use in timings.caches.items():
            self._add("cache_requests", use.hits, cache, "hit")
            self._add("cache_requests", use.misses, cache, "miss")

    def _seconds(self, kind: JobKind, seconds: float) -> None:
        self._add(SECONDS_BUCKET, 1, kind, f"{(*BUCKETS, math.inf)[bisect_left(BUCKETS, seconds)]:g}")
        self._add(SECONDS_SUM, seconds, kind)

    def _add(self, name: str, amount: float, *labels: str) -> None:
        if amount > 0:
            field = field_of(name, *labels)
            self._pending[field] = self._pending.get(field, 0) + amount


def _resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _gpu_bytes() -> dict[str, int]:
    """GPU memory that torch holds for this process; does not initialise an unused GPU."""
    if not torch.cuda.is_initialized():
        return {}
    return {str(device): torch.cuda.memory_reserved(device) for device in range(torch.cuda.device_count())}
