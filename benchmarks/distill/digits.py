"""Picture tasks: students of four handwritten digits; teachers of four digits that share none, one, two or all of them.

The 1,797 pictures of 8 x 8 pixels in scikit-learn. Teachers are linear, trained on 900 pictures that no student uses.
"""

from collections.abc import Iterator
from functools import cache

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from benchmarks.distill.cell import Cell, Int64, Task, noise_like, numbers, overlapping, split
from worker.distillation.inputs import ArrayItems, TeacherSignal, TrainingData
from worker.label_encoder import DEFAULT_ENCODER, load_encoder

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
CLASSES = 4
TRANSFER = 400
OVERLAPS = (0.0, 0.25, 0.5, 1.0)
_TEACHERS = 900
_TEST_FROM = 1_250


def tasks() -> Iterator[Task]:
    """One task for each overlap."""
    for overlap in OVERLAPS:
        yield Task(f"digits {overlap:.0%}", "images", overlap, lambda each, seed, o=overlap: _cell(o, each, seed))


@cache
def _names() -> np.ndarray:
    return load_encoder(DEFAULT_ENCODER).encode(NAMES)


def _cell(overlap: float, each: int, seed: int) -> Cell:
    loaded = load_digits()
    order = np.random.default_rng(seed).permutation(len(loaded.target))
    x, y = loaded.data[order].astype(np.float32), loaded.target[order].astype(np.int64)
    generator = np.random.default_rng([seed, round(100 * overlap)])
    classes = np.sort(generator.permutation(10)[:CLASSES])
    others = np.setdiff1d(np.arange(10), classes)
    pool = np.arange(_TEACHERS, _TEST_FROM)
    chosen = split(y[pool], classes, each, TRANSFER, generator)
    labelled, transfer = pool[chosen.labelled], pool[chosen.transfer]
    test = _TEST_FROM + np.flatnonzero(np.isin(y[_TEST_FROM:], classes))
    number = numbers(classes)

    def signal(name: str, mine: Int64, weights: np.ndarray, bias: np.ndarray) -> TeacherSignal:
        logits = (x @ weights.T + bias).astype(np.float32)
        cost = (1 - _names()[mine] @ _names()[classes].T).astype(np.float32)
        return TeacherSignal(name, [NAMES[c] for c in mine], logits[labelled], cost, logits[transfer])

    def trained(name: str, mine: Int64) -> TeacherSignal:
        kept = np.isin(y[:_TEACHERS], mine)
        model = LogisticRegression(C=0.01, max_iter=2000).fit(x[:_TEACHERS][kept], y[:_TEACHERS][kept])
        return signal(name, mine, model.coef_, model.intercept_)

    zoo: list[TeacherSignal] = []
    for place in range(3):
        # If all classes are shared, teachers differ in foreign ones.
        size = CLASSES + (place if overlap == 1 else 0)
        mine = np.sort(np.concatenate(overlapping(classes, np.arange(10), overlap, size, generator)))
        zoo.append(trained(f"overlap {overlap:.0%} {place}", mine))
    for place in range(2):
        zoo.append(trained(f"other {place}", np.sort(generator.permutation(others)[:CLASSES])))
    random = signal(
        "random weights",
        np.sort(generator.permutation(10)[:CLASSES]),
        0.3 * generator.normal(size=(CLASSES, 64)),
        np.zeros(CLASSES),
    )
    upper = LogisticRegression(C=0.01, max_iter=2000).fit(x[labelled], y[labelled]).score(x[test], y[test])

    def own(rows: Int64) -> Int64:
        return np.array([number[int(c)] for c in y[rows]], dtype=np.int64)

    data = TrainingData(
        ArrayItems(features=x[labelled]),
        own(labelled),
        [NAMES[c] for c in classes],
        ArrayItems(features=x[transfer]),
        ArrayItems(features=x[test]),
        own(test),
    )
    return Cell(data, zoo, random, noise_like(random, generator), float(upper))
