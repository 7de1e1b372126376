"""Many submissions: rate and cost of acceptance, responses of a full queue, lost jobs."""

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.report import Report
from service.cli.dev_stack import Stack

from .stage import BODY, cpu_seconds, redis_pid, resident
from .wire import Answer, Connection

_CALLERS = 16
_RATE = 1100
_WANTED_RATE = 1000
"""Minimum rate to be reached when sending at `_RATE`: the callers share two cores with the service."""
_CONNECTIONS = 400
"""Enough callers that no submission waits for an earlier response, if responses take less than 0.4 s."""


@dataclass
class Tally:
    """Results of submissions. `broken`: no response, or one that is neither 202 nor 429 with Retry-After."""

    accepted: list[str] = field(default_factory=list[str])
    refused: int = 0
    broken: list[str] = field(default_factory=list[str])
    seconds: list[float] = field(default_factory=list[float])

    def take(self, answer: Answer, seconds: float) -> None:
        """Count a response."""
        self.seconds.append(seconds)
        if answer.status == 202:
            self.accepted.append(str(json.loads(answer.body)["id"]))
        elif answer.status == 429 and int(answer.headers.get("retry-after", "0")) > 0:
            self.refused += 1
        else:
            self.broken.append(f"{answer.status} {answer.body[:200]!r}")

    @property
    def answered(self) -> int:
        """Number of responses."""
        return len(self.accepted) + self.refused

    def percentile(self, share: float) -> float:
        """Response time in ms."""
        return sorted(self.seconds)[int(share * (len(self.seconds) - 1))] * 1e3


def measure(report: Report, stack: Stack, fast: bool, room: int) -> None:
    """Add the rows."""
    filled = _a_full_queue(report, stack, room)
    _until_all_have_ended(report, stack.url, filled, "the full queue is worked off by one worker")
    offered = _more_than_it_can_take(report, stack, 5 if fast else 20)
    _until_all_have_ended(report, stack.url, offered, "what was accepted of the offer is worked off")


def _a_full_queue(report: Report, stack: Stack, room: int) -> Tally:
    """Submit at the rate of the responses, while no worker takes jobs."""
    service, redis = stack.process("service").pid, redis_pid(stack)
    with _workers_stopped(stack):
        before, used, used_redis = resident(service), cpu_seconds(service), cpu_seconds(redis)
        started = time.perf_counter()
        tally = asyncio.run(_one_after_the_other(stack.url, room))
        seconds = time.perf_counter() - started
        accepted = len(tally.accepted)
        used, used_redis = cpu_seconds(service) - used, cpu_seconds(redis) - used_redis
        report.row(
            "submit", f"{_CALLERS} callers, one after the other",
            accepted=accepted, refused=tally.refused, broken=len(tally.broken), per_second=accepted / seconds,
            p50_ms=tally.percentile(0.5), p99_ms=tally.percentile(0.99),
            service_cpu_ms=used / accepted * 1e3, redis_cpu_ms=used_redis / accepted * 1e3,
            service_cores=used / seconds, memory_before=before, memory_after=resident(service),
        )  # fmt: skip
        refused = asyncio.run(_refusals(stack.url, tally, room))
    report.row("submit", "a full queue: 429 with Retry-After", "", **refused)
    report.target("a full queue refuses with 429 and Retry-After (of 200 sent beyond it)", 200, refused["refused"])
    report.target("jobs in a full queue / its room, at most", 1, len(tally.accepted) / room, at_most=True)
    return tally


async def _one_after_the_other(url: str, wanted: int) -> Tally:
    tally = Tally()
    left = iter(range(wanted))

    async def caller() -> None:
        async with Connection(url) as connection:
            request = connection.encoded("POST", "/v1/recommendations", BODY)
            for _ in left:
                started = time.perf_counter()
                answer = await connection.ask(request)
                tally.take(answer, time.perf_counter() - started)

    await asyncio.gather(*(caller() for _ in range(_CALLERS)))
    return tally


async def _refusals(url: str, tally: Tally, room: int) -> dict[str, float]:
    while len(tally.accepted) < room:  # Some may have been rejected by the rate limit, not by the queue limit.
        again = await _one_after_the_other(url, room - len(tally.accepted))
        tally.accepted += again.accepted
        assert not again.broken, again.broken
    refused = await _one_after_the_other(url, 200)
    return {
        "refused": refused.refused, "accepted": len(refused.accepted), "broken": len(refused.broken),
        "p50_ms": refused.percentile(0.5), "p99_ms": refused.percentile(0.99),
    }  # fmt: skip


def _more_than_it_can_take(report: Report, stack: Stack, seconds: int) -> Tally:
    """Submit at a fixed rate, independent of the responses, while the workers run."""
    service, redis = stack.process("service").pid, redis_pid(stack)
    before, used, used_redis = resident(service), cpu_seconds(service), cpu_seconds(redis)
    started = time.perf_counter()
    tally, sent, sending = asyncio.run(_at_a_rate(stack.url, _RATE, seconds))
    taken = time.perf_counter() - started
    report.row(
        "submit", f"{_RATE} a second offered for {seconds} s",
        sent=sent, offered_per_second=sent / sending, accepted=len(tally.accepted), refused=tally.refused,
        broken=len(tally.broken), accepted_per_second=len(tally.accepted) / taken,
        p50_ms=tally.percentile(0.5), p99_ms=tally.percentile(0.99),
        service_cores=(cpu_seconds(service) - used) / taken, redis_cores=(cpu_seconds(redis) - used_redis) / taken,
        memory_before=before, memory_after=resident(service),
    )  # fmt: skip
    for text in tally.broken[:5]:
        print(f"broken: {text}")
    report.target("submissions a second offered, each answered with 202 or 429", _WANTED_RATE, sent / sending)
    report.target("submissions without such an answer", 0, sent - tally.answered, at_most=True)
    return tally


async def _at_a_rate(url: str, rate: int, seconds: int) -> tuple[Tally, int, float]:
    """The results, the number sent, and the seconds from the first to the last submission."""
    tally = Tally()
    free: asyncio.Queue[Connection] = asyncio.Queue()
    connections = [Connection(url) for _ in range(_CONNECTIONS)]
    for connection in connections:
        free.put_nowait(await connection.__aenter__())
    request = connections[0].encoded("POST", "/v1/recommendations", BODY)

    async def one(connection: Connection, due: float) -> None:
        try:
            answer = await asyncio.wait_for(connection.ask(request), 60)
            tally.take(answer, time.perf_counter() - due)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            tally.broken.append(repr(error))
        free.put_nowait(connection)

    tasks: set[asyncio.Task[None]] = set()
    begun = time.perf_counter()
    sent = 0
    while (due := begun + sent / rate) < begun + seconds:
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        task = asyncio.create_task(one(await free.get(), due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        sent += 1
    sending = time.perf_counter() - begun
    await asyncio.gather(*tasks)
    for connection in connections:
        await connection.__aexit__()
    return tally, sent, sending


def _until_all_have_ended(report: Report, url: str, tally: Tally, case: str) -> None:
    started = time.perf_counter()
    ended, unknown = asyncio.run(_ends(url, tally.accepted, 600))
    seconds = time.perf_counter() - started
    report.row("submit", case, ended=ended, unknown=unknown, seconds=seconds, per_second=ended / seconds)
    report.target(f"accepted jobs lost: {case}", 0, len(tally.accepted) - ended, at_most=True)


async def _ends(url: str, ids: list[str], limit: float) -> tuple[int, int]:
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


@contextmanager
def _workers_stopped(stack: Stack) -> Iterator[None]:
    workers = [stack.process(f"worker-{lane}") for lane in ("recommend", "distill")]
    for worker in workers:
        worker.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGCONT)
