"""Run the transport benchmark: prints one table, writes ``benchmarks/results/transport.json`` and the growth plot.

``FAST=1`` ends within five minutes on two cores, ``STRICT=1`` exits 1 if a target is missed. Libraries that need a
separate environment run in the one of ``PEERS_PYTHON`` (see ``other_environment.py``).
"""

import os
import sys
from pathlib import Path

import torch

from benchmarks.report import Report
from benchmarks.transport import growth, loss, prediction, workers, zoo
from benchmarks.transport.other_environment import OtherEnvironment

_ROOT = Path(__file__).parents[2]


def main() -> int:
    """Run all parts in one process; 0, or 1 if strict and a target is missed."""
    fast = os.environ.get("FAST", "0") not in ("", "0")
    torch.set_num_threads(1)
    report, other = Report("benchmarks.transport"), OtherEnvironment()
    prediction.against_peers(report, other, fast)
    other.close()
    prediction.hard_tail(report, fast)
    zoo.against_loops(report, fast)
    loss.against_peers(report, fast)
    prediction.two_threads(report, fast)
    workers.scaling(report, fast)
    series = growth.measure(report, fast)
    if not growth.plot(series, _ROOT / "docs" / "transport-growth.png"):
        print("no plot: matplotlib is not installed")
    if not torch.cuda.is_available():
        report.row("acc", "accelerator", "all", note="skipped: this machine has none")
    holds = report.close(_ROOT / "benchmarks" / "results" / "transport.json")
    strict = os.environ.get("STRICT", "0") not in ("", "0")
    return 1 if strict and not holds else 0


if __name__ == "__main__":
    sys.exit(main())
