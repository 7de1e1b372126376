"""What the deployment has done so far, added up in Redis: workers have no port that Prometheus could ask.

One hash holds every counter; a field is the counter's name and its label values. The scripts that change a job count
what happens to jobs, in the same step. Workers add what they have measured. All of it is lost with Redis, and starts
from zero: Prometheus takes that for a restart. Labels take a bounded number of values, all of them from our own code.
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
"""Upper bounds of the histogram of job seconds. A job may be a look into a cache, or a night of training."""

SECONDS_BUCKET: Final = "job_seconds_bucket"
SECONDS_SUM: Final = "job_seconds_sum"


@dataclass(frozen=True)
class Counter:
    """A counter: what it says, its labels, and the label values that are shown as 0 before anything happened.

    An alert looks at growth, and a series that begins with 1 has not grown.
    """

    help: str
    labels: Labels = ()
    zeros: tuple[Labels, ...] = ()


COUNTERS: Final[dict[str, Counter]] = {
    "jobs_ended": Counter("Jobs that have ended", ("kind", "status"), tuple(product(_KINDS, _ENDS))),
    "job_failures": Counter("Failed jobs, by the type of their problem", ("kind", "problem")),
    "job_redeliveries": Counter(
        "Jobs put back into their lane: their worker was lost, met a fault that passes, drained, or is too old",
        ("kind", "reason"),
        tuple(product(_KINDS, ("lost", "fault", "drain", "newer"))),
    ),
    "dead_letters": Counter(
        "Jobs given up after too many lost workers or too many faults",
        ("kind", "reason"),
        tuple(product(_KINDS, ("lost", "fault"))),
    ),
    "job_stage_seconds": Counter(
        "Seconds that jobs which succeeded spent in each stage; `queued` is the wait before the first",
        ("kind", "stage"),
    ),
    "cache_requests": Counter(
        "Times that a cache was asked",
        ("cache", "outcome"),
        tuple(product(("cost", "outputs"), ("hit", "miss"))),
    ),
    "ot_items": Counter("Optimal transport problems solved", ("solver",), (("exact",), ("sinkhorn",))),
    "ot_unconverged_items": Counter("Sinkhorn problems that stopped short of their tolerance", (), ((),)),
    "ot_iterations": Counter("Iterations of all Sinkhorn problems, Newton steps among them", (), ((),)),
    "teachers_skipped": Counter("Teachers that a ranking left out: of no use, or its budget was used up", (), ((),)),
    "teacher_failures": Counter(
        "Teachers that could not be loaded or run (unusable), got no score (unscored), or failed validation (rejected)",
        ("kind", "reason"),
        (
            *product(("recommendation",), ("unusable", "unscored")),
            ("distillation", "unusable"),
            ("validation", "rejected"),
        ),
    ),
    "webhook_attempts": Counter(
        "Attempts to deliver to webhooks: delivered, to be tried again (failed, refused), or over (gone, given_up)",
        ("outcome",),
        (("delivered",), ("failed",), ("refused",), ("gone",), ("given_up",)),
    ),
}
"""Every counter, by its name in Redis. Prometheus knows it as `preceptor_<name>_total`."""


class WorkerReport(BaseModel):
    """What a worker says of itself with every sign of life.

    Attributes
    ----------
    resident_bytes
        Memory of the process.
    gpu_bytes
        GPU memory that the process holds, by device.
    version, contract
        Of its program, and of the newest requests that it can read; empty and 1 of workers that do not say so.
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
        """Add to counters, by field.

        Raises
        ------
        StateUnavailable
            Some may have been added.
        """
        with translated():
            async with self._client.pipeline() as pipeline:
                for field, amount in amounts.items():
                    pipeline.hincrbyfloat(keys.COUNTERS, field, amount)
                await pipeline.execute()

    async def read(self) -> dict[str, dict[Labels, float]]:
        """Counters by name and label values. Fields of another version of Preceptor are among them."""
        with translated():
            fields = cast("dict[str, str]", await cast(Any, self._client.hgetall(keys.COUNTERS)))
        found: dict[str, dict[Labels, float]] = {}
        for field, value in fields.items():
            name, *labels = field.split("|")
            found.setdefault(name, {})[tuple(labels)] = float(value)
        return found

    async def report(self, worker: str, report: WorkerReport) -> None:
        """Keep a worker's report."""
        with translated():
            await cast(Any, self._client.hset(keys.REPORTS, worker, report.model_dump_json()))

    async def reports(self) -> dict[str, WorkerReport]:
        """Reports of the workers that still show life, by name; those of others are removed."""
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
            except ValidationError:  # Of another version.
                continue
        return found
