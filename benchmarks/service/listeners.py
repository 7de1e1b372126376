"""Listeners on one job's event stream: how late a thousand are sent an event, what 1,500 cost other requests."""

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.report import Report
from preceptor.contract.ids import DISTILLATION, new_id
from preceptor.contract.recommendations import RecommendationBody
from service.cli.dev_stack import Stack
from service.core.settings import Settings
from service.core.state import State

from .stage import resident
from .wire import Connection

_LISTENERS = 1000
_EVENTS = 20
_CROWD = 1500
_CROWD_EVENTS = 100
_CROWD_SECONDS = 0.1
"""Between two events of a busy job."""


def measure(report: Report, stack: Stack, settings: Settings) -> None:
    """Add the rows. A stand-in for a worker writes the events."""
    service = stack.process("service").pid
    before = resident(service)
    delays, complete, joined, after = asyncio.run(_listen(stack, settings, service))
    ordered = sorted(delays)
    report.row(
        "listen", f"{_LISTENERS} listeners, {_EVENTS} events, 2 a second",
        p50_ms=ordered[len(ordered) // 2] * 1e3, p99_ms=ordered[int(0.99 * len(ordered))] * 1e3,
        complete_logs=complete, joined_in_seconds=joined, memory_before=before, memory_after=after,
        kib_each=(after - before) * 1024 / _LISTENERS,
    )  # fmt: skip
    report.target("listeners that heard every event, in order", _LISTENERS, complete)
    alone, crowded, least = asyncio.run(_burden(stack, settings))
    for case, seconds in (("nobody listens", alone), (f"{_CROWD} listeners", crowded)):
        report.row(
            "listen", f"GET while a job emits {1 / _CROWD_SECONDS:.0f} events a second", case,
            requests=len(seconds), p50_ms=_quantile(seconds, 0.5) * 1e3, p95_ms=_quantile(seconds, 0.95) * 1e3,
            p99_ms=_quantile(seconds, 0.99) * 1e3,
        )  # fmt: skip
    for name, share in (("median", 0.5), ("95 of 100", 0.95)):
        added = (_quantile(crowded, share) - _quantile(alone, share)) * 1e3
        report.target(f"ms that {_CROWD} listeners add to other requests, {name}", 50, added, at_most=True)
    report.target(f"events that each of {_CROWD} listeners was sent", _CROWD_EVENTS, least)


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * len(values))]


@asynccontextmanager
async def _running(state: State, stack: Stack) -> AsyncIterator[tuple[str, int]]:
    """Id and fence of a job that this process holds."""
    id = new_id(DISTILLATION)
    body = RecommendationBody.model_validate({"student": {"labels": ["a", "b"]}})
    worker = stack.process("worker-distill")
    worker.send_signal(signal.SIGSTOP)  # Else it would take the job before we do.
    await state.jobs.submit(id, "distillation", body)
    taken = await state.jobs.leases.take(id, "benchmark")
    worker.send_signal(signal.SIGCONT)
    assert taken.code == "taken", taken
    yield id, taken.fence


async def _burden(stack: Stack, settings: Settings) -> tuple[list[float], list[float], int]:
    """Seconds of other requests while a job emits events, without and with listeners; the fewest events of one."""
    async with State(settings) as state:
        async with _running(state, stack) as (id, fence):
            alone = await _requests_while_busy(stack.url, state, id, fence)
            await state.jobs.leases.end_canceled(id, fence)
        async with _running(state, stack) as (id, fence):
            command = [sys.executable, "-m", "benchmarks.service.crowd", stack.url, f"/v1/jobs/{id}/events"]
            crowd = await asyncio.create_subprocess_exec(*command, str(_CROWD), stdout=asyncio.subprocess.PIPE)
            assert crowd.stdout is not None
            ready = asyncio.create_task(crowd.stdout.readline())
            while not ready.done():
                await state.jobs.leases.renew(id, fence)
                await asyncio.wait({ready}, timeout=1)
            assert ready.result() == b"ready\n"
            crowded = await _requests_while_busy(stack.url, state, id, fence)
            await state.jobs.leases.end_canceled(id, fence)
            least, _ = map(int, (await asyncio.wait_for(crowd.stdout.readline(), 60)).split())
            await crowd.wait()
    return alone, crowded, least - 3  # `queued`, `running` and `canceled` beside what was emitted.


async def _requests_while_busy(url: str, state: State, id: str, fence: int) -> list[float]:
    """Seconds of requests, one after the other, for as long as events are emitted."""
    emitting = True
    seconds: list[float] = []

    async def others() -> None:
        async with Connection(url) as connection:
            requests = [connection.encoded("GET", path) for path in ("/v1/jobs?limit=1", f"/v1/jobs/{id}", "/version")]
            while emitting:
                for request in requests:
                    started = time.perf_counter()
                    assert (await connection.ask(request)).status == 200
                    seconds.append(time.perf_counter() - started)
                    await asyncio.sleep(0.005)

    asking = asyncio.create_task(others())
    begun = time.perf_counter()
    for number in range(_CROWD_EVENTS):
        assert await state.jobs.leases.emit(id, fence, "log", {"number": number, "message": "step"})
        await state.jobs.leases.renew(id, fence)
        await asyncio.sleep(max(begun + (number + 1) * _CROWD_SECONDS - time.perf_counter(), 0))
    emitting = False
    await asking
    return seconds


async def _listen(stack: Stack, settings: Settings, service: int) -> tuple[list[float], int, float, float]:
    url = stack.url
    async with State(settings) as state, _running(state, stack) as (id, fence):
        delays: list[float] = []
        complete = 0
        ready = 0

        async def listener() -> None:
            nonlocal complete, ready
            heard: list[int] = []
            async with Connection(url) as connection:
                assert await connection.stream(connection.encoded("GET", f"/v1/jobs/{id}/events")) == 200
                ready += 1
                while line := await connection.line():
                    if not line.startswith(b"data:"):
                        continue
                    event = json.loads(line[5:])
                    if event["event"] == "log":
                        delays.append(time.time() - event["data"]["at"])
                        heard.append(event["data"]["number"])
                    elif event["data"].get("status") == "canceled":
                        complete += heard == list(range(_EVENTS))
                        return

        started = time.perf_counter()
        tasks = [asyncio.create_task(listener()) for _ in range(_LISTENERS)]
        while ready < _LISTENERS:
            await asyncio.sleep(0.05)
            for task in tasks:
                if task.done():
                    task.result()
            await state.jobs.leases.renew(id, fence)
        joined = time.perf_counter() - started
        for number in range(_EVENTS):
            assert await state.jobs.leases.emit(id, fence, "log", {"number": number, "at": time.time()})
            await asyncio.sleep(0.5)
            await state.jobs.leases.renew(id, fence)
        after = resident(service)
        await state.jobs.leases.end_canceled(id, fence)
        await asyncio.wait_for(asyncio.gather(*tasks), 60)
    return delays, complete, joined, after
