"""``python -m benchmarks.distill --data FOLDER``: prints tables, writes ``benchmarks/results/distill.json``.

FOLDER holds ``clinc150/`` and ``banking77/`` (Parquet with the columns text and label, and labels.json), and optionally
``clothing/`` and ``tiny_imagenet/`` (image and label); without FOLDER only the digits are measured. A cell of
photographs takes five minutes on one processor, others seconds. Measured cells are stored in ``--kept`` and not
repeated, so that an interrupted run resumes; a new column is measured alone. ``--seeds`` measures some seeds only, for
several processes in parallel. ``FAST=1`` measures a part, ``STRICT=1`` exits 1 if a target is missed.
"""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.distill import cached, report, run, step_cost
from benchmarks.report import Report

_ROOT = Path(__file__).parents[2]


def _flag(name: str) -> bool:
    return os.environ.get(name, "0") not in ("", "0")


def main() -> int:
    """Measure and report; 0, or 1 if strict and a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--kept", type=Path, default=_ROOT / ".preceptor" / "bench-distill")
    parser.add_argument("--seeds", type=int, nargs="+", help="measure only these seeds, without a report")
    parser.add_argument("--labels", type=int, nargs="+", help="with --seeds: only these label counts")
    parser.add_argument("--tasks", nargs="+", help="with --seeds: only tasks whose names start with one of these")
    parser.add_argument("--report-only", action="store_true", help="report the stored cells")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    wanted = run.grid(asked.data, asked.kept, fast=_flag("FAST"))
    if asked.seeds:
        labels = tuple(asked.labels or wanted.labels)
        tasks = [task for task in wanted.tasks if task.name.startswith(tuple(asked.tasks or [""]))]
        run.measure(replace(wanted, tasks=tasks, seeds=tuple(asked.seeds), labels=labels), asked.kept)
        return 0
    if not asked.report_only:
        run.measure(wanted, asked.kept)
    out = Report("benchmarks.distill", ("torch", "numpy", "POT", "scikit-learn", "transformers"))
    cached.measure(out)
    step_cost.measure(out, rounds=3 if _flag("FAST") else 7, side=64)
    holds = report.report(run.read(wanted, asked.kept), out, _ROOT / "benchmarks" / "results" / "distill.json")
    return 1 if _flag("STRICT") and not holds else 0


if __name__ == "__main__":
    sys.exit(main())
