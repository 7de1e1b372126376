"""Response time for one caller: a stored recommendation, compared with a bare route that returns the same bytes."""

import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.report import Report
from service.cli.dev_stack import Stack

from .stage import BODY, finished
from .wire import Connection

_ROUND = 50
"""Requests of one case before the next case runs, so that other load on the machine affects all cases alike."""


def measure(report: Report, stack: Stack, fast: bool) -> None:
    """Add the rows."""
    rounds = 10 if fast else 40
    job = finished(stack.url)
    with urllib.request.urlopen(f"{stack.url}/v1/recommendations/{job['id']}", timeout=10) as answer:
        content, tag = answer.read(), answer.headers["ETag"]
    with _bare(content) as bare_url:
        found = asyncio.run(_alternate(stack.url, bare_url, str(job["id"]), tag, rounds))
    base = statistics.median(found["bare FastAPI route"])
    for name, seconds in found.items():
        ordered = sorted(seconds)
        p50 = statistics.median(ordered)
        report.row(
            "latency", name,
            p50_ms=p50 * 1e3, p95_ms=ordered[int(0.95 * len(ordered))] * 1e3, ratio=p50 / base,
            requests=len(ordered), bytes=len(content) if "304" not in name else 0,
        )  # fmt: skip
    known = statistics.median(found["GET of a recommendation"])
    report.target("cached recommendation: p50 / p50 of a bare route", 1.5, known / base, at_most=True)


async def _alternate(url: str, bare_url: str, id: str, tag: str, rounds: int) -> dict[str, list[float]]:
    async with Connection(url) as ours, Connection(bare_url) as bare:
        path = f"/v1/recommendations/{id}"
        key = {"Idempotency-Key": "bench", "Prefer": "wait=60"}
        replay = ours.encoded("POST", "/v1/recommendations", BODY, key)
        assert (await ours.ask(replay)).status == 200
        cases = {
            "bare FastAPI route": (bare, bare.encoded("GET", "/bare"), 200, _ROUND),
            "GET of a recommendation": (ours, ours.encoded("GET", path), 200, _ROUND),
            "GET, unchanged (304)": (ours, ours.encoded("GET", path, None, {"If-None-Match": tag}), 304, _ROUND),
            "POST replayed by its Idempotency-Key": (ours, replay, 200, _ROUND),
            "POST, queue, worker, cached costs": (
                ours, ours.encoded("POST", "/v1/recommendations", BODY, {"Prefer": "wait=60"}), 200, 5,
            ),
        }  # fmt: skip
        found: dict[str, list[float]] = {name: [] for name in cases}
        for warming in range(rounds + 1):
            for name, (connection, request, status, times) in cases.items():
                for _ in range(times):
                    started = time.perf_counter()
                    answer = await connection.ask(request)
                    taken = time.perf_counter() - started
                    assert answer.status == status, answer
                    if warming:
                        found[name].append(taken)
    return found


@contextmanager
def _bare(content: bytes) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        Path(file.name).write_bytes(content)
        json.loads(content)
        child = subprocess.Popen([sys.executable, "-m", "benchmarks.service.bare", str(port), file.name])
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"{url}/bare", timeout=1).close()
                    break
                except urllib.error.URLError:
                    time.sleep(0.05)
            yield url
        finally:
            child.terminate()
            child.wait()
