"""Probes uploaded one after the other and concurrently: bytes per second, and memory."""

import asyncio
import io
import json
import time
from dataclasses import dataclass, field

import numpy as np

from benchmarks.report import Report
from service.cli.dev_stack import Stack

from .stage import resident
from .wire import Connection

_AT_ONCE = 8
_ROUNDS = 5
_ITEMS, _FEATURES, _CLASSES = 4000, 512, 10


@dataclass
class _Sum:
    """All rounds of one case: bytes and seconds, seconds of each upload, initial and maximum MiB of the service."""

    at_once: int
    bytes: int = 0
    seconds: float = 0.0
    times: list[float] = field(default_factory=list[float])
    before: list[float] = field(default_factory=list[float])
    peaks: list[float] = field(default_factory=list[float])


def measure(report: Report, stack: Stack, fast: bool) -> None:
    """Add the rows."""
    service = stack.process("service").pid
    rng = np.random.default_rng(0)
    cases = {"one after the other": _Sum(at_once=1), f"{_AT_ONCE} at once": _Sum(at_once=_AT_ONCE)}
    for _ in range(1 if fast else _ROUNDS):  # Alternating: other load on the machine affects both.
        for case in cases.values():
            bodies = [_probe(rng) for _ in range(_AT_ONCE)]
            case.before.append(resident(service))
            started = time.perf_counter()
            peak, times = asyncio.run(_upload(stack.url, bodies, case.at_once, service))
            case.seconds += time.perf_counter() - started
            case.bytes += sum(map(len, bodies))
            case.peaks.append(peak)
            case.times += times
    for name, case in cases.items():
        report.row(
            "upload", name, uploads=len(case.times), mib_each=case.bytes / len(case.times) / 2**20,
            mib_per_second=case.bytes / case.seconds / 2**20, p50_ms=sorted(case.times)[len(case.times) // 2] * 1e3,
            memory_grows=max(peak - before for peak, before in zip(case.peaks, case.before, strict=True)),
        )  # fmt: skip
    one, many = (case.bytes / case.seconds for case in cases.values())
    report.target(f"upload: MiB/s of {_AT_ONCE} at once / of one", 1.0, many / one)


def _probe(rng: np.random.Generator) -> bytes:
    """A different probe each time: known content is not stored again."""
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
