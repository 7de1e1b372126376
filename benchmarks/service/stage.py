"""The measured stack: real processes, an embedded Redis, a store in a temporary folder."""

import json
import os
import resource
import shutil
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from service.cli.dev_stack import Stack
from service.core.settings import Settings

ZOO: Final = [
    {"name": f"zoo {number}", "labels": [f"{word} {number}" for word in ("cat", "dog", "truck", "ship", "tree")]}
    for number in range(10)
]
"""Ten label sets: a response of common size."""

BODY: Final[dict[str, Any]] = {
    "student": {"labels": ["cat", "lorry", "maple", "boat"]},
    "candidates": ZOO,
}
"""Names only: the fastest job."""


@contextmanager
def stage(**variables: int) -> Iterator[Stack]:
    """A running stack, removed at the end.

    Parameters
    ----------
    variables
        Settings by name, for example `max_queue=1000`.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # A thousand listeners need as many files on each side.
    folder = Path(tempfile.mkdtemp(prefix="preceptor-bench-"))
    settings = Settings(data=folder, port=0, redis_url=None, threads=1)
    given = {f"PRECEPTOR_{name.upper()}": str(value) for name, value in variables.items()}
    try:
        with _environment(given), Stack(settings, logs=folder / "logs") as stack:
            yield stack
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def finished(url: str) -> dict[str, Any]:
    """A finished recommendation."""
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


def cpu_seconds(pid: int) -> float:
    """Processor time of a process, all threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def redis_pid(stack: Stack) -> int:
    """Process id of the stack's Redis."""
    pid = None if stack.embedded is None else stack.embedded.pid()
    assert pid is not None
    return pid
