"""Tables of the distillation benchmark: gains paired by task, label count and seed, and the targets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.distill import arms
from benchmarks.report import Report

Vector = NDArray[np.float64]
Row = dict[str, Any]
_RESAMPLES = 4000
_FEW = 5
RIDGE = "ridge map"


def report(rows: list[Row], out: Report, path: Path) -> bool:
    """Print and write everything; True if all targets hold.

    Parameters
    ----------
    rows
        Measured cells, from `run.read`.
    """
    for name in _columns(rows):
        _gain_row(out, "all cells", name, rows)
    for each in sorted({row["labels"] for row in rows}):
        for name in _columns(rows):
            _gain_row(out, f"{each} labels a class", name, [row for row in rows if row["labels"] == each])
    for task in dict.fromkeys(row["task"] for row in rows):
        for each in sorted({row["labels"] for row in rows}):
            mine = [row for row in rows if row["task"] == task and row["labels"] == each]
            for name in (arms.ALONE, RIDGE, arms.DEFAULT, arms.UPPER):
                _gain_row(out, f"{task}, {each} labels a class", name, mine)
    _targets(out, rows)
    return out.close(path)


def _columns(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row["arms"]))


def _accuracy(rows: list[Row], name: str) -> Vector:
    return np.array([row["arms"][name]["accuracy"] for row in rows])


def _gain_row(out: Report, case: str, name: str, rows: list[Row]) -> None:
    mine = [row for row in rows if name in row["arms"]]
    if not mine:
        return
    low, high, mean = difference(mine, name, arms.ALONE)
    out.row(
        "distill",
        case,
        name,
        cells=len(mine),
        accuracy=float(_accuracy(mine, name).mean()),
        gain_points=round(100 * mean, 2),
        low=round(100 * low, 2),
        high=round(100 * high, 2),
        given_weight=round(float(np.mean([row["arms"][name]["weight"] > 0 for row in mine])), 2),
        cpu_seconds=round(float(np.mean([row["arms"][name]["cpu_seconds"] for row in mine])), 2),
    )


def difference(rows: list[Row], name: str, other: str, level: float = 0.95) -> tuple[float, float, float]:
    """Interval and mean of the difference of two columns, paired by cell.

    The bootstrap draws tasks, and then cells of each task, because cells of one task are correlated.

    Returns
    -------
    tuple
        Low end, high end, mean.
    """
    both = [row for row in rows if name in row["arms"] and other in row["arms"]]
    if not both:
        return float("nan"), float("nan"), float("nan")
    differences = _accuracy(both, name) - _accuracy(both, other)
    tasks = np.array([row["task"] for row in both])
    groups = [differences[tasks == task] for task in dict.fromkeys(tasks.tolist())]
    generator = np.random.default_rng(0)
    means = np.empty(_RESAMPLES)
    for number in range(_RESAMPLES):
        drawn = [groups[n] for n in generator.integers(0, len(groups), len(groups))]
        means[number] = np.mean([generator.choice(group, len(group)).mean() for group in drawn])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high), float(np.mean([group.mean() for group in groups]))


def _targets(out: Report, rows: list[Row]) -> None:
    few = [row for row in rows if row["labels"] <= _FEW]
    low = _low(rows)
    out.target("default minus CE alone: low end, points", 0.0, low(arms.DEFAULT, arms.ALONE))
    out.target("default minus label smoothing: low end, points", 0.0, low(arms.DEFAULT, arms.SMOOTHED))
    out.target("default minus random teacher (gated): low end, points", 0.0, low(arms.DEFAULT, arms.RANDOM))
    out.target("default minus random teacher (not gated): low end, points", 0.0, low(arms.DEFAULT, arms.RANDOM_UNGATED))
    for name in arms.SINGLE:
        out.target(f"default minus {name}: mean, points", 0.0, 100 * difference(rows, arms.DEFAULT, name)[2])
    ridge = 100 * difference(few, arms.DEFAULT, RIDGE)[2]
    out.target(f"default minus ridge map, up to {_FEW} labels a class: mean, points", 2.0, ridge)
    for name in (arms.RANDOM, arms.NOISE):
        cost = -100 * difference(rows, name, arms.ALONE)[2]
        out.target(f"{name}: cost against CE alone, points", 0.5, cost, at_most=True)
    spoilt = -100 * difference(rows, arms.WITH_NOISE, arms.DEFAULT)[2]
    out.target("a teacher of noise in the team: cost, points", 0.3, spoilt, at_most=True)


def _low(rows: list[Row]) -> Callable[[str, str], float]:
    return lambda name, other: 100 * difference(rows, name, other)[0]
