"""Teachers are heads on fixed vectors: trained within a second, so that there can be many, and informative."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from benchmarks.ranking.world import Float32, Int64, ZooTeacher

Head = Literal["linear", "mlp"]


@dataclass(frozen=True)
class HeadData:
    """Items with vectors of one family, and the split for training teachers.

    Attributes
    ----------
    family
        Name of the vectors and the head.
    vectors
        Vectors of all items of the world, shape (N, D).
    teaching
        Training rows of the teachers.
    held_out
        Rows for measuring a teacher's own accuracy.
    penalty
        C of the logistic regression.
    """

    family: str
    head: Head
    vectors: Float32
    labels: Int64
    names: Sequence[str]
    points: Float32
    teaching: Int64
    held_out: Int64
    penalty: float


def trained(head_data: HeadData, name: str, classes: Iterable[int], items: int, *, noise: float = 0.0) -> ZooTeacher:
    """Train one teacher.

    Parameters
    ----------
    classes
        The teacher's classes, among those of the head_data.
    items
        Number of training items of each class.
    noise
        Share of training labels that are replaced at random.
    """
    mine = np.sort(np.asarray(list(classes)))
    generator = np.random.default_rng([len(name), *name.encode()])
    rows = np.concatenate([head_data.teaching[head_data.labels[head_data.teaching] == c][:items] for c in mine])
    targets = np.searchsorted(mine, head_data.labels[rows])
    wrong = generator.random(len(rows)) < noise
    targets[wrong] = generator.integers(0, len(mine), int(wrong.sum()))
    x = head_data.vectors[rows]
    if head_data.head == "linear":
        model = LogisticRegression(C=head_data.penalty, max_iter=300).fit(x, targets)
        weights, bias = model.coef_, model.intercept_
        if len(mine) == 2:
            weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
        logits = head_data.vectors @ weights.T + bias
        parameters = weights.size + bias.size
    else:
        net = MLPClassifier((64,), learning_rate_init=5e-3, max_iter=60, random_state=int(generator.integers(2**31)))
        net.fit(x, targets)
        hidden = np.maximum(head_data.vectors @ net.coefs_[0] + net.intercepts_[0], 0)
        logits = hidden @ net.coefs_[1] + net.intercepts_[1]
        parameters = sum(part.size for part in (*net.coefs_, *net.intercepts_))
    held = head_data.held_out[np.isin(head_data.labels[head_data.held_out], mine)]
    right = mine[logits[held].argmax(1)] == head_data.labels[held]
    return ZooTeacher(
        f"{name}, {head_data.family}",
        head_data.family,
        [head_data.names[c] for c in mine],
        head_data.points[mine],
        logits.astype(np.float32),
        float(right.mean()),
        int(parameters),
    )
