"""The stack that is measured: real processes, an embedded Redis, a store in a temporary folder."""

import json
import shutil
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from service.stack import Stack
from service.state.settings import Settings

ZOO: Final = [
    {"name": f"zoo {number}", "labels": [f"{word} {number}" for word in ("cat", "dog", "truck", "ship", "tree")]}
    for number in range(10)
]
"""Ten label sets: an answer of a common size."""

BODY: Final[dict[str, Any]] = {
    "student": {"labels": ["cat", "lorry", "maple", "boat"]},
    "candidates": ZOO,
}


@contextmanager
def stage(max_queue: int) -> Iterator[Stack]:
    """A running stack; everything goes at the end."""
    folder = Path(tempfile.mkdtemp(prefix="preceptor-bench-"))
    settings = Settings(data=folder, port=0, redis_url=None, threads=1)
    try:
        with _variable("PRECEPTOR_MAX_QUEUE", str(max_queue)), Stack(settings, logs=folder / "logs") as stack:
            yield stack
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    import os

    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def finished(url: str) -> dict[str, Any]:
    """A recommendation that has ended."""
    request = urllib.request.Request(
        f"{url}/v1/recommendations",
        json.dumps(BODY).encode(),
        {"Content-Type": "application/json", "Prefer": "wait=60"},
    )
    with urllib.request.urlopen(request, timeout=70) as answer:
        found = json.load(answer)
    assert found["status"] == "succeeded", found
    return found


def resident(pid: int) -> float:
    """Memory of a process in MiB."""
    fields = Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()
    return int(fields[0]) / 1024
