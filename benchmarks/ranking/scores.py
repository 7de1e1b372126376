"""Scores of every teacher by every estimator, on probes of several sizes; one file for each probe."""

import json
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.ranking.world import Int64, Target, World, ZooTeacher, drawn, name_cost
from worker.ranking.estimators.evidence import Evidence
from worker.ranking.estimators.registry import ESTIMATORS

FORMAT = 1
SIZES = (1, 3, 5, 10, 25)
"""Labelled items a class."""
DRAWS = 5


@dataclass(frozen=True)
class Scores:
    """One probe.

    Attributes
    ----------
    each
        Labelled items a class.
    values
        By estimator, one for each teacher in the order of the zoo, in the estimator's own direction.
    seconds
        By estimator, for all teachers together.
    """

    task: str
    each: int
    draw: int
    values: dict[str, list[float]]
    seconds: dict[str, float]


def probe(target: Target, each: int, draw: int) -> Int64:
    """Positions in the pool."""
    return drawn(target, each, np.random.default_rng([11, each, draw]))


def evidence(teacher: ZooTeacher, target: Target, chosen: Int64) -> Evidence:
    """The evidence of a pair, without penultimate features, which the heads of one family share."""
    logits = teacher.logits[target.pool[chosen]].astype(np.float64)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return Evidence(
        teacher_labels=teacher.labels,
        student_labels=target.labels,
        text_cost=name_cost(teacher, target),
        predictions=shifted / shifted.sum(axis=1, keepdims=True),
        logits=logits,
        labels=target.pool_labels[chosen],
        teacher_accuracy=teacher.accuracy,
        parameter_count=teacher.parameters,
        teacher=teacher.name,
    )


def path_of(folder: Path, target: Target, each: int, draw: int) -> Path:
    """File of a probe's scores."""
    name = "".join(letter if letter.isalnum() else "-" for letter in target.name)
    return folder / f"scores-{FORMAT}-{name}-{each}-{draw}.json"


def measure(world: World, target: Target, each: int, draw: int, folder: Path) -> None:
    """Compute the scores of all estimators that are not stored yet."""
    path = path_of(folder, target, each, draw)
    kept = json.loads(path.read_text()) if path.is_file() else {"values": {}, "seconds": {}}
    new = [name for name in ESTIMATORS if name not in kept["values"]]
    if not new:
        return
    chosen = probe(target, each, draw)
    known = [evidence(teacher, target, chosen) for teacher in world.zoo]
    for name in new:
        estimator = ESTIMATORS[name]
        if any(estimator.missing(one) for one in known):
            continue
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kept["values"][name] = [estimator.estimate(one).value for one in known]
        kept["seconds"][name] = round(time.perf_counter() - began, 4)
    path.write_text(json.dumps(kept | {"task": target.name, "each": each, "draw": draw}))
    print(f"{target.name:52} {each:3} items a class, draw {draw}: {len(new)} estimators", file=sys.stderr, flush=True)


def read(target: Target, each: int, draw: int, folder: Path) -> Scores | None:
    """Stored scores, or None."""
    path = path_of(folder, target, each, draw)
    if not path.is_file():
        return None
    row = json.loads(path.read_text())
    return Scores(row["task"], row["each"], row["draw"], row["values"], row["seconds"])
