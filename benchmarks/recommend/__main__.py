"""``python -m benchmarks.recommend``: prints a table, writes ``benchmarks/results/recommend.json``.

``FAST=1`` omits the zoo of 100,000 label sets, ``STRICT=1`` exits 1 if a target is missed. Needs the extras ``worker``
and ``demo``.
"""

import os
import sys
from pathlib import Path

from benchmarks.recommend import names, probe
from benchmarks.report import Report
from examples.demo_zoo import imagenet

_ROOT = Path(__file__).parents[2]


def main() -> int:
    """Run all parts; 0, or 1 if strict and a target is missed."""
    fast = os.environ.get("FAST", "0") not in ("", "0")
    report, words = Report("benchmarks.recommend"), imagenet.class_names()
    for count in (1_000, 10_000) if fast else (1_000, 10_000, 100_000):
        names.measure(report, words, count, 10 if fast else 40)
    probe.measure(report, 5 if fast else 20)
    holds = report.close(_ROOT / "benchmarks" / "results" / "recommend.json")
    return 1 if os.environ.get("STRICT", "0") not in ("", "0") and not holds else 0


if __name__ == "__main__":
    sys.exit(main())
