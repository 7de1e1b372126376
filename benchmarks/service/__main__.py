"""Run the service benchmark: prints one table, writes `benchmarks/results/service.json`.

`FAST=1` uses fewer requests and 2,000 jobs, `STRICT=1` exits 1 if a target is missed. `JOBS` is the number of jobs of
the memory part (100,000), `MINUTES` its time limit (20). `ONLY` lists the parts to run, separated by commas; their
results are written to `service-<parts>.json`.
"""

import os
import sys
from pathlib import Path
from typing import Final

from benchmarks.report import Report
from service.cli.dev_stack import Stack
from service.core.settings import Settings

from . import endurance, latency, listeners, submissions, uploads
from .stage import stage

_RESULTS: Final = Path(__file__).parents[1] / "results"
_PARTS: Final = ("latency", "listen", "upload", "submit", "memory")


def main() -> int:
    """0, or 1 if strict and a target is missed."""
    fast = os.environ.get("FAST", "0") not in ("", "0")
    room = 1000 if fast else 5000
    jobs = int(os.environ.get("JOBS") or (2_000 if fast else 100_000))
    minutes = float(os.environ.get("MINUTES") or 20)
    only = set(os.environ.get("ONLY", "").split(",")) - {""} or set(_PARTS)
    report = Report("benchmarks.service", ("fastapi", "uvicorn", "redis", "pydocket"))
    if only != {"memory"}:
        with stage(max_queue=room) as stack:
            if "latency" in only:
                latency.measure(report, stack, fast)
            if "listen" in only:
                listeners.measure(report, stack, _settings(stack))
            if "upload" in only:
                uploads.measure(report, stack, fast)
            if "submit" in only:
                submissions.measure(report, stack, fast, room)
    if "memory" in only:
        kept = endurance.KEPT_SECONDS
        with stage(max_queue=endurance.ROOM, job_seconds=kept, event_seconds=kept) as stack:
            endurance.measure(report, stack, jobs, minutes)
    name = "-".join(["service", *(part for part in _PARTS if part in only and only != set(_PARTS))])
    holds = report.close(_RESULTS / f"{name}.json")
    return 1 if os.environ.get("STRICT", "0") not in ("", "0") and not holds else 0


def _settings(stack: Stack) -> Settings:
    assert stack.embedded is not None
    return Settings(data=stack.embedded.folder.parent, redis_url=stack.embedded.url)


if __name__ == "__main__":
    sys.exit(main())
