"""Accuracy, the paired interval of a gain, and stratified folds."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from worker.errors import ComputationFailed

Int64 = NDArray[np.int64]
Verdict = Literal["helped", "no clear effect", "hurt"]

DRAWS: Final = 2000
LEVEL: Final = 0.90


@dataclass(frozen=True)
class Interval:
    """A mean with its interval."""

    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> Verdict:
        """The effect; an interval that contains 0 shows none."""
        if self.low > 0:
            return "helped"
        return "hurt" if self.high < 0 else "no clear effect"


def paired_gain(
    with_teacher: NDArray[np.bool_], without: NDArray[np.bool_], *, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """Gain in accuracy, with a bootstrap interval over test items and seeds.

    Both arms of one seed use the same items in the same order, so the difference is computed item by item before the
    bootstrap; separate intervals of the two accuracies would be far too wide.

    Parameters
    ----------
    with_teacher, without
        Whether each test item was predicted correctly, shape (R, N): R seeds, N items.
    draws
        Bootstrap draws; each draws R seeds and N items with replacement.
    seed
        Seed of the draws.

    Returns
    -------
    Interval
        90 %, by percentiles.
    """
    difference = with_teacher.astype(np.float64) - without.astype(np.float64)
    seeds, items = difference.shape
    generator = np.random.default_rng(seed)
    means = np.empty(draws)
    for draw in range(draws):
        # By item counts: drawing N items is a multinomial over the items.
        counts = np.bincount(generator.integers(0, items, items), minlength=items)
        per_seed = difference @ counts / items
        means[draw] = per_seed[generator.integers(0, seeds, seeds)].mean()
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(difference.mean()), float(low), float(high))


def stratified_folds(labels: Int64, folds: int, seed: int) -> list[Int64]:
    """Disjoint parts of all rows, every class spread evenly over them.

    Parameters
    ----------
    labels
        Shape (N,).
    folds
        Number of parts; at most the number of items of the rarest class.

    Returns
    -------
    list of ndarray
        Row numbers, ascending. Empty if a class has a single item: with it held out, its class would have no
        training item.
    """
    counts = np.bincount(labels)
    folds = min(folds, int(counts[counts > 0].min()))
    if folds < 2:
        return []
    generator = np.random.default_rng(seed)
    parts: list[list[int]] = [[] for _ in range(folds)]
    turn = 0
    for number in np.unique(labels):
        for row in generator.permutation(np.flatnonzero(labels == number)):
            parts[turn % folds].append(int(row))
            turn += 1
    return [np.sort(np.asarray(part, dtype=np.int64)) for part in parts]


def held_out(labels: Int64, share: float, seed: int) -> tuple[Int64, Int64]:
    """Split labelled rows into those to train on and those to measure on, class by class.

    Returns
    -------
    tuple
        Training rows and test rows, ascending. Of every class at least one item stays in training.

    Raises
    ------
    ComputationFailed
        No item can be held out, since no class has a second item.
    """
    generator = np.random.default_rng(seed)
    test: list[int] = []
    for number in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == number))
        wanted = min(max(1, round(share * len(rows))), len(rows) - 1)
        test.extend(int(row) for row in rows[:wanted])
    if not test:
        raise ComputationFailed(
            "there is one labelled item a class, so none can be held out to measure on; give a test probe"
        )
    chosen = np.sort(np.asarray(test, dtype=np.int64))
    return np.setdiff1d(np.arange(len(labels), dtype=np.int64), chosen), chosen
