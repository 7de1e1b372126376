"""Counters of the whole deployment, kept in Redis: workers have no port that Prometheus could scrape.

One hash holds all counters; a field is the counter's name and its label values. The scripts that change a job count in
the same step; workers add their measurements. If Redis is lost, the counters start from zero, which Prometheus treats
as a restart. The values of each label are bounded, and all come from our code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Final, cast

from pydantic import BaseModel, ValidationError

from preceptor.contract.jobs import JobStatus

from ..lanes import LANE_OF_KIND, LANES, Lane
from . import keys
from .client import RedisClient, translated

Labels = tuple[str, ...]
_KINDS: Final = tuple(LANE_OF_KIND)
_ENDS: Final = tuple(status.value for status in JobStatus if status.terminal)

BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 43200)
"""Upper bounds of the histogram of job seconds. A job may be a cache hit or a night of training."""

SECONDS_BUCKET: Final = "job_seconds_bucket"
SECONDS_SUM: Final = "job_seconds_sum"


@dataclass(frozen=True)
class Counter:
    """A counter: its help text, its labels, and the label values that are exposed as 0 before the first event.

    Alerts use increases, and a series that starts at 1 has no increase.
    """

    help: str
    labels: Labels = ()
    zeros: tuple[Labels, ...] = ()


COUNTERS: Final[dict[str, Counter]] = {
    "jobs_ended": Counter("Ended jobs", ("kind", "status"), tuple(product(_KINDS, _ENDS))),
    "job_failures": Counter("Failed jobs, by the type of their problem", ("kind", "problem")),
    "job_redeliveries": Counter(
        "Jobs returned to their lane: worker lost, transient fault, worker drained, or worker too old",
        ("kind", "reason"),
        tuple(product(_KINDS, ("lost", "fault", "drain", "newer"))),
    ),
    "dead_letters": Counter(
        "Jobs failed permanently after too many lost workers or too many faults",
        ("kind", "reason"),
        tuple(product(_KINDS, ("lost", "fault"))),
    ),
    "job_stage_seconds": Counter(
        "Seconds that succeeded jobs spent in each stage; `queued` is the wait before the first stage",
        ("kind", "stage"),
    ),
    "cache_requests": Counter(
        "Cache lookups",
        ("cache", "outcome"),
        tuple(product(("cost", "outputs"), ("hit", "miss"))),
    ),
    "ot_items": Counter("Optimal transport problems solved", ("solver",), (("exact",), ("sinkhorn",))),
    "ot_unconverged_items": Counter("Sinkhorn problems that stopped short of their tolerance", (), ((),)),
    "ot_iterations": Counter("Iterations of all Sinkhorn problems, including Newton steps", (), ((),)),
    "teachers_skipped": Counter("Teachers that a ranking skipped: not usable, or time budget exhausted", (), ((),)),
    "teacher_failures": Counter(
        "Teachers not loaded or run (unusable), not scored (unscored), or rejected by validation (rejected)",
        ("kind", "reason"),
        (
            *product(("recommendation",), ("unusable", "unscored")),
            ("distillation", "unusable"),
            ("validation", "rejected"),
        ),
    ),
    "webhook_attempts": Counter(
        "Webhook delivery attempts: delivered, to be retried (failed, refused), or ended (gone, given_up)",
        ("outcome",),
        (("delivered",), ("failed",), ("refused",), ("gone",), ("given_up",)),
    ),
}
"""All counters, by name in Redis. In Prometheus: `preceptor_<name>_total`."""


class WorkerReport(BaseModel):
    """A worker's status, sent with each heartbeat.

    Attributes
    ----------
    resident_bytes
        Resident memory of the process.
    gpu_bytes
        GPU memory held by the process, by device.
    version, contract
        Version of its program, and newest contract that it can read; empty and 1 for workers that do not report them.
    """

    lane: Lane
    resident_bytes: int
    gpu_bytes: dict[str, int] = {}
    version: str = ""
    contract: int = 1


def field_of(name: str, *labels: str) -> str:
    """The hash field of a counter with its label values."""
    return "|".join((name, *labels))


class Counters:
    """All counters, and the last reports of the workers."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def add(self, amounts: Mapping[str, float]) -> None:
        """Add to counters, by hash field.

        Raises
        ------
        StateUnavailable
            Some counters may have been increased.
        """
        with translated():
            async with self._client.pipeline() as pipeline:
                for field, amount in amounts.items():
                    pipeline.hincrbyfloat(keys.COUNTERS, field, amount)
                await pipeline.execute()

    async def read(self) -> dict[str, dict[Labels, float]]:
        """Counters by name and label values, including those of other versions of Preceptor."""
        with translated():
            fields = cast("dict[str, str]", await cast(Any, self._client.hgetall(keys.COUNTERS)))
        found: dict[str, dict[Labels, float]] = {}
        for field, value in fields.items():
            name, *labels = field.split("|")
            found.setdefault(name, {})[tuple(labels)] = float(value)
        return found

    async def report(self, worker: str, report: WorkerReport) -> None:
        """Store a worker's report."""
        with translated():
            await cast(Any, self._client.hset(keys.REPORTS, worker, report.model_dump_json()))

    async def reports(self) -> dict[str, WorkerReport]:
        """Reports of live workers, by name; those of other workers are removed."""
        with translated():
            kept = cast("dict[str, str]", await cast(Any, self._client.hgetall(keys.REPORTS)))
            alive: set[str] = set()
            for lane in LANES:
                alive.update(cast("list[str]", await cast(Any, self._client).zrange(keys.workers(lane), 0, -1)))
            if gone := set(kept) - alive:
                await cast(Any, self._client.hdel(keys.REPORTS, *gone))
        found: dict[str, WorkerReport] = {}
        for worker in sorted(set(kept) & alive):
            try:
                found[worker] = WorkerReport.model_validate_json(kept[worker])
            except ValidationError:  # From another version.
                continue
        return found
