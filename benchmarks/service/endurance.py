"""Many jobs with a short retention: memory, Redis and files must not grow with expired jobs."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from benchmarks.report import Report
from service.cli.dev_stack import Stack

from .footprint import ended_jobs, footprint, redis_of
from .stage import BODY
from .wire import Connection

_CALLERS: Final = 8
_SAMPLES: Final = 10
KEPT_SECONDS: Final = 60
"""Retention of jobs and their events in this benchmark."""

ROOM: Final = 500
"""Maximum number of queued jobs."""

_SETTLED: Final = 2 * KEPT_SECONDS
"""Seconds after which the number of retained jobs is constant."""


@dataclass
class Progress:
    """Progress of the benchmark."""

    submitted: int = 0
    refused: int = 0
    ended: int = 0


def measure(report: Report, stack: Stack, jobs: int, minutes: float) -> None:
    """Add the rows.

    Parameters
    ----------
    jobs
        Number of jobs to submit; fewer if the time limit `minutes` is reached first.
    """
    progress = Progress()
    samples: list[dict[str, float]] = []
    started = time.perf_counter()

    def sample() -> None:
        samples.append({"seconds": time.perf_counter() - started, "ended": progress.ended, **footprint(stack)})
        report.row("memory", f"after {progress.ended} jobs", "", **samples[-1])

    asyncio.run(_send(stack, progress, jobs, minutes * 60, sample))
    _wait_for_the_last(stack, progress)
    sample()
    seconds = time.perf_counter() - started
    report.row(
        "memory", "all of them", wanted=jobs, submitted=progress.submitted, refused_429=progress.refused,
        ended=progress.ended, seconds=seconds, per_second=progress.ended / seconds, kept_seconds=KEPT_SECONDS,
    )  # fmt: skip
    report.target("jobs accepted and not ended", 0, progress.submitted - progress.ended, at_most=True)
    settled = [row for row in samples if row["seconds"] >= _SETTLED] or samples[len(samples) // 2 :]
    for name in ("service_mib", "worker_mib", "redis_used_mib"):
        first, last = settled[0][name], settled[-1][name]
        slope = _slope([(row["ended"] / 10_000, row[name]) for row in settled])
        report.row("memory", f"{name}, settled", mib_per_10000_jobs=slope, first=first, last=last)
        report.target(f"{name}: last / first settled sample", 1.25, last / first, at_most=True)
    left = _when_expired(stack)
    report.row("memory", "when all have expired", "", **left)
    report.target("of jobs left in Redis when all have expired", 0, left["of_jobs_in_redis"], at_most=True)
    report.target("files and folders of jobs left in the store", 0, left["files"] + left["folders"], at_most=True)


async def _send(stack: Stack, progress: Progress, jobs: int, limit: float, sample: Callable[[], None]) -> None:
    end = time.monotonic() + limit
    left = iter(range(jobs))

    async def caller() -> None:
        async with Connection(stack.url) as connection:
            request = connection.encoded("POST", "/v1/recommendations", BODY)
            for _ in left:
                while (answer := await connection.ask(request)).status == 429:
                    progress.refused += 1
                    await asyncio.sleep(0.5)
                assert answer.status == 202, answer
                progress.submitted += 1
                if time.monotonic() > end:
                    return

    async def watch() -> None:
        due = 0
        with redis_of(stack) as client:
            while True:
                progress.ended = ended_jobs(client)
                if progress.ended >= due:
                    sample()
                    due = progress.ended + max(jobs // _SAMPLES, 1)
                await asyncio.sleep(0.25)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(caller() for _ in range(_CALLERS)))
    watching.cancel()


def _wait_for_the_last(stack: Stack, progress: Progress) -> None:
    over = time.monotonic() + 120
    with redis_of(stack) as client:
        while progress.ended < progress.submitted and time.monotonic() < over:
            time.sleep(0.25)
            progress.ended = ended_jobs(client)


def _when_expired(stack: Stack) -> dict[str, float]:
    """Wait until retention has removed the last job, with a time limit."""
    over = time.monotonic() + 3 * KEPT_SECONDS
    while (left := footprint(stack))["of_jobs_in_redis"] + left["files"] and time.monotonic() < over:
        time.sleep(1)
    return left


def _slope(points: list[tuple[float, float]]) -> float:
    """Slope of the line through these points (least squares)."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
