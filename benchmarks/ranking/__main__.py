"""``python -m benchmarks.ranking --data FOLDER``: prints tables, writes ``benchmarks/results/ranking.json``.

FOLDER holds ``clinc150/``, ``banking77/``, ``clothing/`` and ``tiny_imagenet/`` (missing ones are skipped and reported;
without FOLDER only the digits are measured). Measured cells are stored in ``--kept`` and not repeated, so that an
interrupted run resumes. ``--part 0 2`` measures every second cell without a report, for parallel processes. ``--fit``
writes the weights of `auto` into the product. ``FAST=1`` measures a part, ``STRICT=1`` exits 1 if a target is missed.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.ranking import digits, intents, photos, scores, truth
from benchmarks.ranking.grid import Grid
from benchmarks.ranking.report import report
from benchmarks.ranking.world import World

_ROOT = Path(__file__).parents[2]
_RESULT = _ROOT / "benchmarks" / "results" / "ranking.json"
_SEEDS = {"transport": 8, "ridge": 3}


def _flag(name: str) -> bool:
    return os.environ.get(name, "0") not in ("", "0")


def _worlds(data: Path | None, kept: Path) -> Iterator[World]:
    yield digits.world()
    for name, needed, make in (
        ("intents", ("clinc150", "banking77"), intents.world),
        ("photos", ("clothing", "tiny_imagenet"), photos.world),
    ):
        if data is not None and all((data / folder / "train.parquet").is_file() for folder in needed):
            yield make(data, kept)
        else:
            print(f"no {name}: give --data a folder with {' and '.join(needed)}", file=sys.stderr)


def main() -> int:
    """Measure and report; 0, or 1 if strict and a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--kept", type=Path, default=_ROOT / ".preceptor" / "bench-ranking")
    parser.add_argument("--part", type=int, nargs=2, metavar=("NUMBER", "OF"))
    parser.add_argument("--report-only", action="store_true", help="report the stored cells")
    parser.add_argument("--fit", action="store_true", help="fit auto and write its weights into the product")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.kept.mkdir(parents=True, exist_ok=True)
    fast = _flag("FAST")
    worlds = list(_worlds(asked.data, asked.kept))
    grid = Grid(
        [(world, target) for world in worlds for target in (world.targets[::3] if fast else world.targets)],
        {"transport": 1} if fast else _SEEDS,
        (5, 10) if fast else scores.SIZES,
        2 if fast else scores.DRAWS,
    )
    if not asked.report_only:
        cells = [
            *((truth.measure, world, target, loss, seed) for world, target, loss, seed in grid.truths()),
            *((scores.measure, world, target, each, draw) for world, target, each, draw in grid.probes()),
        ]
        number, of = asked.part or (0, 1)
        for measure, *cell in cells[number::of]:
            measure(*cell, asked.kept)
        if asked.part:
            return 0
    holds = report(grid, asked.kept, _RESULT, fit=asked.fit)
    return 1 if _flag("STRICT") and not holds else 0


if __name__ == "__main__":
    sys.exit(main())
