"""Run the service benchmark: prints one table, writes `benchmarks/results/service.json`.

`FAST=1` takes fewer requests, `STRICT=1` exits 1 when a target is missed.
"""

import os
import sys
from pathlib import Path

from benchmarks.report import Report
from service.state.settings import Settings

from . import latency, listeners, submissions
from .stage import stage

_RESULT = Path(__file__).parents[1] / "results" / "service.json"


def main() -> int:
    """0, or 1 when strict and a target is missed."""
    fast = os.environ.get("FAST", "0") not in ("", "0")
    room = 1000 if fast else 5000
    report = Report("benchmarks.service", ("fastapi", "uvicorn", "redis", "pydocket"))
    with stage(room) as stack:
        assert stack.embedded is not None
        settings = Settings(data=stack.embedded.folder.parent, redis_url=stack.embedded.url)
        latency.measure(report, stack, fast)
        submissions.measure(report, stack, fast, room)
        listeners.measure(report, stack, settings)
    holds = report.close(_RESULT)
    return 1 if os.environ.get("STRICT", "0") not in ("", "0") and not holds else 0


if __name__ == "__main__":
    sys.exit(main())
