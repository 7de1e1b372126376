"""Probes sent one after the other and at once: bytes a second, and what it takes of memory."""

import asyncio
import io
import json
import time

import numpy as np

from benchmarks.report import Report
from service.stack import Stack

from .stage import resident
from .wire import Connection

_AT_ONCE = 8
_ITEMS, _FEATURES, _CLASSES = 4000, 512, 10


def measure(report: Report, stack: Stack, fast: bool) -> None:
    """Add the rows."""
    service = stack.process("service").pid
    rounds = 1 if fast else 3
    rng = np.random.default_rng(0)
    found: dict[str, float] = {}
    for case, at_once in (("one after the other", 1), (f"{_AT_ONCE} at once", _AT_ONCE)):
        bodies = [_probe(rng) for _ in range(_AT_ONCE * rounds)]
        before = resident(service)
        started = time.perf_counter()
        peak, times = asyncio.run(_upload(stack.url, bodies, at_once, service))
        seconds = time.perf_counter() - started
        size = sum(map(len, bodies)) / 2**20
        found[case] = size / seconds
        report.row(
            "upload", case, uploads=len(bodies), mib_each=size / len(bodies), mib_per_second=size / seconds,
            p50_ms=sorted(times)[len(times) // 2] * 1e3, memory_before=before, memory_peak=peak,
        )  # fmt: skip
    slow, quick = found.values()
    report.target(f"upload: MiB/s of {_AT_ONCE} at once / of one", 1.0, quick / slow)


def _probe(rng: np.random.Generator) -> bytes:
    """Another one each time: an upload that is known is not stored again."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        features=rng.standard_normal((_ITEMS, _FEATURES), dtype=np.float32),
        labels=rng.integers(0, _CLASSES, _ITEMS),
        label_names=np.array([f"class {number}" for number in range(_CLASSES)]),
    )
    return buffer.getvalue()


async def _upload(url: str, bodies: list[bytes], at_once: int, service: int) -> tuple[float, list[float]]:
    left = iter(bodies)
    times: list[float] = []
    peak = 0.0

    async def caller() -> None:
        async with Connection(url) as connection:
            for body in left:
                started = time.perf_counter()
                answer = await connection.ask(connection.encoded("POST", "/v1/probes?format=npz", body))
                times.append(time.perf_counter() - started)
                assert answer.status == 201, answer
                assert json.loads(answer.body)["items"] == _ITEMS, answer.body

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, resident(service))
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(caller() for _ in range(at_once)))
    watching.cancel()
    return max(peak, resident(service)), times
