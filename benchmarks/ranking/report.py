"""Tables of the ranking benchmark and the targets."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import weightedtau

from benchmarks.ranking import accuracy as expected, blend, coverage
from benchmarks.ranking.grid import Grid, Measured, collect
from benchmarks.ranking.metrics import NAMES, interval, mean, metrics
from benchmarks.ranking.scores import Scores
from benchmarks.report import Report
from worker.ranking.estimators.registry import ESTIMATORS

Vector = NDArray[np.float64]
Slice = Callable[[Measured], list[NDArray[np.bool_]]]

WEIGHTS = Path(__file__).parents[2] / "worker" / "assessment" / "auto_weights.json"
SITUATIONS = {
    "names": "auto, names alone",
    "unlabelled": "auto, unlabelled probe",
    "few labels": "auto",
    "labelled": "auto",
}
STATIC = "static (mean on other tasks)"
CONTROLS = ("class_count", "teacher_accuracy", "parameter_count", "random_order")
MAIN = 10
"""Labelled items a class that the targets speak of."""
SLICES: dict[str, Slice] = {
    "all": lambda task: [np.ones(len(task.world.zoo), dtype=bool)],
    "size-matched": lambda task: [task.matched],
    "one family": lambda task: task.families,
}


def report(grid: Grid, kept: Path, path: Path, *, fit: bool) -> bool:
    """Print and write everything; True when all targets hold.

    Parameters
    ----------
    fit
        Also write the weights of `auto` into the product, fitted on all tasks.
    """
    tasks = collect(grid, kept)
    out = Report("benchmarks.ranking", ("torch", "numpy", "scipy", "scikit-learn"))
    loss = grid.loss
    _truths(out, tasks, grid)
    weights = {situation: _left_out(tasks, loss, grid, situation) for situation in SITUATIONS}
    found: dict[tuple[str, int, str], dict[str, list[dict[str, float]]]] = {}
    for each in grid.sizes:
        for name, masks in SLICES.items():
            for which in grid.seeds:
                found[name, each, which] = _measure(tasks, each, which, masks, weights)
    for each in grid.sizes:
        for name in SLICES:
            for which in grid.seeds:
                _table(out, f"{name}, {each} a class, truth: {which}", found[name, each, which])
    _targets(out, tasks, loss, found)
    expected.measure(out, tasks, loss, grid.sizes)
    coverage.measure(out, [(task.world, task.target) for task in tasks][::2], 12)
    if fit:
        _write_weights(tasks, loss, grid, found)
    return out.close(path)


def _truths(out: Report, tasks: list[Measured], grid: Grid) -> None:
    for task in tasks:
        for loss, accuracy in task.accuracy.items():
            mine = accuracy.mean(axis=0)
            overlaps = [len(set(t.labels) & set(task.target.labels)) / len(task.target.labels) for t in task.world.zoo]
            out.row(
                "truth",
                task.target.name,
                loss,
                alone=float(task.alone[loss].mean()),
                worst=float(mine.min()),
                median=float(np.median(mine)),
                best=float(mine.max()),
                teacher=task.world.zoo[int(mine.argmax())].name,
                overlap=round(overlaps[int(mine.argmax())], 2),
                seed_tau=_ceiling(accuracy),
                seed_tau_matched=_ceiling(accuracy[:, task.matched]),
            )
    best = [(task.world.name, int(task.truth(grid.loss).argmax())) for task in tasks]
    out.row("truth", "all", "", tasks=len(tasks), best_teachers=len(set(best)), cpu_hours=_hours(tasks))


def _hours(tasks: list[Measured]) -> float:
    return round(sum(task.cpu_seconds for task in tasks) / 3600, 2)


def _ceiling(accuracy: Vector) -> float:
    """How well one seed's order predicts another's: mean weighted tau over the pairs of seeds."""
    pairs = [(a, b) for a in range(len(accuracy)) for b in range(len(accuracy)) if a != b]
    if not pairs:
        return float("nan")
    return float(np.mean([weightedtau(accuracy[a], accuracy[b]).statistic for a, b in pairs]))


def _examples(tasks: list[Measured], loss: str, grid: Grid) -> Iterator[tuple[Measured, Scores, Vector]]:
    for task in tasks:
        if loss in task.accuracy:
            for each in grid.sizes:
                for scores in task.probes[each]:
                    yield task, scores, task.truth(loss)


def _fitted(examples: list[tuple[Measured, Scores, Vector]], situation: str) -> dict[str, float]:
    """Weights that order whole zoos, and the teachers of one size in them: else the largest would teach too much."""
    rows: list[tuple[dict[str, Vector], Vector]] = []
    for task, scores, truth in examples:
        if situation in blend.situations_of(scores.each):
            for mask in (SLICES["all"](task)[0], task.matched):
                rows.append(({name: np.asarray(v)[mask] for name, v in scores.values.items()}, truth[mask]))
    return blend.fit(rows, blend.MEMBERS[situation])


def _left_out(tasks: list[Measured], loss: str, grid: Grid, situation: str) -> list[dict[str, float]]:
    """Weights for every task, fitted on the others."""
    examples = list(_examples(tasks, loss, grid))
    return [_fitted([one for one in examples if one[0] is not task], situation) for task in tasks]


def _static(tasks: list[Measured], loss: str, left: int) -> Vector:
    """Mean standardised accuracy of each teacher on the other tasks of its world."""
    world = tasks[left].world.name
    others = [
        blend.standardised(task.truth(loss))
        for number, task in enumerate(tasks)
        if number != left and task.world.name == world and loss in task.accuracy
    ]
    return np.mean(others, axis=0) if others else np.zeros(len(tasks[left].world.zoo))


def _measure(
    tasks: list[Measured], each: int, loss: str, masks: Slice, weights: dict[str, list[dict[str, float]]]
) -> dict[str, list[dict[str, float]]]:
    """By estimator: the metrics of every task, mean over draws and masks. Tasks without a mask are left out."""
    rows: dict[str, list[dict[str, float]]] = {}
    for number, task in enumerate(tasks):
        if loss not in task.accuracy or not task.probes[each] or not masks(task):
            continue
        accuracy = task.truth(loss)
        mine: dict[str, list[dict[str, float]]] = {}
        for scores in task.probes[each]:
            oriented = {
                name: (1 if ESTIMATORS[name].higher_is_better else -1) * np.asarray(values)
                for name, values in scores.values.items()
            }
            oriented[STATIC] = _static(tasks, loss, number)
            for situation in blend.situations_of(each):
                oriented[SITUATIONS[situation]] = blend.blended(scores.values, weights[situation][number])
            for name, values in oriented.items():
                for mask in masks(task):
                    mine.setdefault(name, []).append(metrics(values[mask], accuracy[mask]))
        for name, found in mine.items():
            rows.setdefault(name, []).append(mean(found))
    return rows


def _table(out: Report, case: str, rows: dict[str, list[dict[str, float]]]) -> None:
    for name in sorted(rows, key=lambda name: -mean(rows[name])["weighted tau"]):
        low, high = interval(np.array([row["weighted tau"] for row in rows[name]]))
        numbers = {key.replace(" ", "_"): round(value, 3) for key, value in mean(rows[name]).items()}
        out.row("rank", case, name, **numbers, tau_low=round(low, 3), tau_high=round(high, 3), tasks=len(rows[name]))


def _column(rows: dict[str, list[dict[str, float]]], name: str, metric: str = "weighted tau") -> Vector:
    return np.array([row[metric] for row in rows[name]])


def _best_baseline(rows: dict[str, list[dict[str, float]]]) -> str:
    """Of the estimators and controls, without what this project invented."""
    others = [name for name in rows if name in ESTIMATORS and name != "transport_map"]
    return max(others, key=lambda name: _column(rows, name).mean())


def _targets(
    out: Report, tasks: list[Measured], loss: str, found: dict[tuple[str, int, str], dict[str, list[dict[str, float]]]]
) -> None:
    rows = found["all", MAIN, loss]
    auto = _column(rows, "auto")
    ceiling = float(np.mean([_ceiling(task.accuracy[loss]) for task in tasks]))
    out.target("weighted tau of auto, all teachers", 0.80, float(auto.mean()))
    out.target("... as a share of the seed ceiling", 0.90, float(auto.mean()) / ceiling)
    for name in ("size-matched", "one family"):
        out.target(f"weighted tau of auto, {name}", 0.55, float(_column(found[name, MAIN, loss], "auto").mean()))
    for name in SLICES:
        here = found[name, MAIN, loss]
        mine = _column(here, "auto")
        for other in (_best_baseline(here), STATIC):
            low, _ = interval(mine - _column(here, other))
            out.target(f"auto minus {other}, {name}: low end", 0.0, low)
        low, _ = interval(_column(here, "alignment") - _column(here, "prediction_transport"))
        out.target(f"alignment minus mean transport cost, {name}: low end", 0.0, low)
    out.target(
        "regret of the first choice, points", 1.0, 100 * float(_column(rows, "auto", "regret").mean()), at_most=True
    )
    out.target("P@3", 0.8, float(_column(rows, "auto", "P@3").mean()))
    for control in CONTROLS:
        low, _ = interval(_column(rows, SITUATIONS["names"]) - _column(rows, control))
        out.target(f"names alone minus {control}: low end", 0.0, low)


def _deviation(examples: list[tuple[Measured, Scores, Vector]], member: str) -> float:
    """Median deviation of an estimator over a zoo."""
    return float(np.median([np.std(scores.values[member]) for _, scores, _ in examples]))


def _write_weights(
    tasks: list[Measured],
    loss: str,
    grid: Grid,
    found: dict[tuple[str, int, str], dict[str, list[dict[str, float]]]],
) -> None:
    examples = list(_examples(tasks, loss, grid))
    situations: dict[str, Any] = {}
    for situation, name in SITUATIONS.items():
        weights = _fitted(examples, situation)
        each = blend.FEW_LABELS if situation == "few labels" else MAIN
        evidence = {
            which: {key: round(value, 3) for key, value in mean(found[which, each, loss][name]).items() if key in NAMES}
            for which in SLICES
        }
        situations[situation] = {
            "weights": {member: round(weight, 4) for member, weight in weights.items()},
            "scales": {member: round(_deviation(examples, member), 6) for member in weights},
            "items_a_class": each,
            "left_task_out": evidence,
        }
    content = {
        "version": 1,
        "command": "python -m benchmarks.ranking --data FOLDER --fit",
        "tasks": len(tasks),
        "situations": situations,
    }
    WEIGHTS.write_text(json.dumps(content, indent=1) + "\n")
