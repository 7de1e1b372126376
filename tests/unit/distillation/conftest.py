"""Real handwritten digits as the student's data, and teachers of other digits: small, and nothing is made up."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from worker.distillation.inputs import ArrayItems, TeacherSignal, TrainingData

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@dataclass(frozen=True)
class Digits:
    """Few labelled digits, many without label, and test digits; rows of the whole set."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    labelled: NDArray[np.int64]
    transfer: NDArray[np.int64]
    test: NDArray[np.int64]

    def data(self) -> TrainingData:
        """As the student's data: all ten digits."""
        return TrainingData(
            ArrayItems(features=self.x[self.labelled]),
            self.y[self.labelled],
            NAMES,
            ArrayItems(features=self.x[self.transfer]),
            ArrayItems(features=self.x[self.test]),
            self.y[self.test],
            {"data": "prb_digits"},
        )

    def teacher(self, classes: list[int]) -> TeacherSignal:
        """A linear teacher of some digits, trained on 900 pictures that the student never sees."""
        chosen = np.isin(self.y[:900], classes)
        model = LogisticRegression(C=0.01, max_iter=2000).fit(self.x[:900][chosen], self.y[:900][chosen])
        cost = np.full((len(classes), 10), 0.6, dtype=np.float32)
        cost[np.arange(len(classes)), classes] = 0.0
        return self._signal(f"digits {classes}", [NAMES[c] for c in classes], model.coef_, model.intercept_, cost)

    def random_teacher(self, seed: int) -> TeacherSignal:
        """Random weights, and random distances of names."""
        generator = np.random.default_rng(seed)
        cost = (0.3 + 0.6 * generator.random((8, 10))).astype(np.float32)
        weights = 0.3 * generator.normal(size=(8, 64))
        return self._signal("random", [f"class {n}" for n in range(8)], weights, np.zeros(8), cost)

    def noise_teacher(self, seed: int) -> TeacherSignal:
        """Answers that do not depend on the item at all."""
        generator = np.random.default_rng(seed)
        cost = (0.3 + 0.6 * generator.random((8, 10))).astype(np.float32)
        return TeacherSignal(
            "noise",
            [f"class {n}" for n in range(8)],
            (4 * generator.normal(size=(len(self.labelled), 8))).astype(np.float32),
            cost,
            (4 * generator.normal(size=(len(self.transfer), 8))).astype(np.float32),
        )

    def _signal(
        self,
        name: str,
        labels: list[str],
        weights: NDArray[np.float64],
        bias: NDArray[np.float64],
        cost: NDArray[np.float32],
    ) -> TeacherSignal:
        def logits(rows: NDArray[np.int64]) -> NDArray[np.float32]:
            return (self.x[rows] @ weights.T + bias).astype(np.float32)

        return TeacherSignal(name, labels, logits(self.labelled), cost, logits(self.transfer))


@pytest.fixture(scope="session")
def digits() -> Digits:
    """Three labelled pictures of each digit, 370 without label, 497 to test on."""
    torch.set_num_threads(1)
    loaded = load_digits()
    order = np.random.default_rng(0).permutation(len(loaded.target))
    x, y = loaded.data[order].astype(np.float32), loaded.target[order].astype(np.int64)
    pool = np.arange(900, 1300)
    labelled = np.concatenate([pool[y[pool] == c][:3] for c in range(10)])
    return Digits(x, y, labelled, np.setdiff1d(pool, labelled), np.arange(1300, 1797))
