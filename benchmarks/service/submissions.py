"""How many jobs a second are accepted, what a full queue answers, and whether an accepted job is ever lost."""

import asyncio
import json
import signal
import time

from benchmarks.report import Report
from service.stack import Stack

from .stage import BODY, resident
from .wire import Connection

_CALLERS = 16


def measure(report: Report, stack: Stack, fast: bool, room: int) -> None:
    """Add the rows. The workers stand still meanwhile, so that the queue fills."""
    workers = [stack.process(f"worker-{lane}") for lane in ("recommend", "distill")]
    service = stack.process("service").pid
    for worker in workers:
        worker.send_signal(signal.SIGSTOP)
    try:
        before = resident(service)
        started = time.perf_counter()
        accepted, refused = asyncio.run(_fill(stack.url, room + 200))
        seconds = time.perf_counter() - started
        after = resident(service)
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGCONT)
    rate = (len(accepted) + refused) / seconds
    report.row(
        "submit", f"{_CALLERS} callers at once, workers stopped",
        accepted=len(accepted), refused_429=refused, per_second=rate, memory_before=before, memory_after=after,
    )  # fmt: skip
    report.target("submissions a second", 1000, rate)
    report.target("a full queue answers 429 with Retry-After (refused beyond its room)", 1, refused)
    started = time.perf_counter()
    ended, unknown = asyncio.run(_until_ended(stack.url, accepted, 120 if fast else 600))
    seconds = time.perf_counter() - started
    report.row(
        "submit", "the queue is worked off by one worker", ended=ended, unknown=unknown, seconds=seconds,
        per_second=ended / seconds,
    )  # fmt: skip
    report.target("accepted jobs that are unknown afterwards", 0, unknown, at_most=True)
    report.target("accepted jobs without an end afterwards", 0, len(accepted) - ended, at_most=True)


async def _fill(url: str, wanted: int) -> tuple[list[str], int]:
    accepted: list[str] = []
    refused = 0
    left = iter(range(wanted))

    async def caller() -> None:
        nonlocal refused
        async with Connection(url) as connection:
            request = connection.encoded("POST", "/v1/recommendations", BODY)
            for _ in left:
                answer = await connection.ask(request)
                if answer.status == 202:
                    accepted.append(str(json.loads(answer.body)["id"]))
                else:
                    assert answer.status == 429, answer
                    assert int(answer.headers["retry-after"]) > 0
                    refused += 1

    await asyncio.gather(*(caller() for _ in range(_CALLERS)))
    return accepted, refused


async def _until_ended(url: str, ids: list[str], limit: float) -> tuple[int, int]:
    deadline = time.monotonic() + limit
    ended = unknown = 0
    async with Connection(url) as connection:
        for id in ids:
            while True:
                answer = await connection.ask(connection.encoded("GET", f"/v1/jobs/{id}"))
                if answer.status == 404:
                    unknown += 1
                    break
                if json.loads(answer.body)["status"] == "succeeded":
                    ended += 1
                    break
                if time.monotonic() > deadline:
                    return ended, unknown
                await asyncio.sleep(0.05)
    return ended, unknown
