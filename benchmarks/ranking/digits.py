"""Handwritten digits: teachers of four digits; students of four others, some of them or the same.

The 1,797 pictures of 8 x 8 pixels in scikit-learn. Teachers use all pixels and are trained on 700 pictures; students
use all pixels, too, but have five labels a class.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from sklearn.datasets import load_digits

from benchmarks.ranking.heads import HeadData, trained
from benchmarks.ranking.world import Int64, Target, World, ZooTeacher
from worker.distillation.inputs import ArrayItems
from worker.label_encoder import DEFAULT_ENCODER, load_encoder

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
SIZE = 4
_GROUPS, _TASKS = 12, 4
_TEACHING, _POOL = 700, 1300


def world() -> World:
    """Train the zoo and create the tasks."""
    loaded = load_digits()
    order = np.random.default_rng(0).permutation(len(loaded.target))
    x, y = (loaded.data[order] / 16).astype(np.float32), loaded.target[order].astype(np.int64)
    points = load_encoder(DEFAULT_ENCODER).encode(NAMES)
    rows = np.arange(len(y))

    def head_data(family: str, head: str) -> HeadData:
        kind = "mlp" if head == "mlp" else "linear"
        return HeadData(family, kind, x, y, NAMES, points, rows[:_TEACHING], rows[_POOL:], 1.0)

    head_data_sets = [head_data("pixels linear", "linear"), head_data("pixels mlp", "mlp")]
    zoo = list(_zoo(head_data_sets))
    targets = [_target(y, points, rows, classes) for classes in _groups(4, _TASKS)]
    return World("digits", lambda chosen: ArrayItems(features=x[chosen]), zoo, targets)


def _groups(seed: int, count: int) -> Iterator[Int64]:
    every = list(combinations(range(10), SIZE))
    for place in np.random.default_rng(seed).permutation(len(every))[:count]:
        yield np.array(every[place])


def _zoo(head_data_sets: list[HeadData]) -> Iterator[ZooTeacher]:
    for head_data in head_data_sets:
        for classes in _groups(3, _GROUPS):
            yield trained(head_data, " ".join(NAMES[c] for c in classes), classes, 100)
        yield trained(head_data, "all digits", range(10), 100)
    for classes in _groups(5, 3):
        yield trained(head_data_sets[0], f"{' '.join(NAMES[c] for c in classes)}, noisy labels", classes, 10, noise=0.4)


def _target(y: Int64, points: np.ndarray, rows: Int64, classes: Int64) -> Target:
    def of(chosen: Int64) -> tuple[Int64, Int64]:
        mine = chosen[np.isin(y[chosen], classes)]
        return mine, np.searchsorted(classes, y[mine])

    names = [NAMES[c] for c in classes]
    return Target(
        f"digits {' '.join(names)}", "digits", names, points[classes], *of(rows[_TEACHING:_POOL]), *of(rows[_POOL:])
    )
