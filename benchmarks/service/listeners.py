"""A thousand listeners on one job's event stream: delay of each event for each listener."""

import asyncio
import json
import signal
import time

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


def measure(report: Report, stack: Stack, settings: Settings) -> None:
    """Add the rows. The benchmark writes the events in place of a worker."""
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
    report.target("listeners that received every event, in order", _LISTENERS, complete)


async def _listen(stack: Stack, settings: Settings, service: int) -> tuple[list[float], int, float, float]:
    url = stack.url
    async with State(settings) as state:
        id = new_id(DISTILLATION)
        body = RecommendationBody.model_validate({"student": {"labels": ["a", "b"]}})
        worker = stack.process("worker-distill")
        worker.send_signal(signal.SIGSTOP)  # Otherwise it would take the job first.
        await state.jobs.submit(id, "distillation", body)
        taken = await state.jobs.take(id, "benchmark")
        worker.send_signal(signal.SIGCONT)
        assert taken.code == "taken", taken
        delays: list[float] = []
        complete = 0
        ready = 0

        async def listener() -> None:
            nonlocal complete, ready
            received: list[int] = []
            async with Connection(url) as connection:
                assert await connection.stream(connection.encoded("GET", f"/v1/jobs/{id}/events")) == 200
                ready += 1
                while line := await connection.line():
                    if not line.startswith(b"data:"):
                        continue
                    event = json.loads(line[5:])
                    if event["event"] == "log":
                        delays.append(time.time() - event["data"]["at"])
                        received.append(event["data"]["number"])
                    elif event["data"].get("status") == "canceled":
                        complete += received == list(range(_EVENTS))
                        return

        started = time.perf_counter()
        tasks = [asyncio.create_task(listener()) for _ in range(_LISTENERS)]
        while ready < _LISTENERS:
            await asyncio.sleep(0.05)
            for task in tasks:
                if task.done():
                    task.result()
            await state.jobs.renew(id, taken.fence)
        joined = time.perf_counter() - started
        for number in range(_EVENTS):
            assert await state.jobs.emit(id, taken.fence, "log", {"number": number, "at": time.time()})
            await asyncio.sleep(0.5)
            await state.jobs.renew(id, taken.fence)
        after = resident(service)
        await state.jobs.end_canceled(id, taken.fence)
        await asyncio.wait_for(asyncio.gather(*tasks), 60)
    return delays, complete, joined, after
