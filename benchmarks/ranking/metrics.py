"""Quality of an order of teachers: correlations, hits, and the loss of accuracy by the choice."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr, weightedtau

Vector = NDArray[np.float64]

NAMES = ("weighted tau", "Kendall tau", "Spearman rho", "P@1", "P@3", "regret")


def metrics(scores: Vector, truth: Vector) -> dict[str, float]:
    """Metrics of one ranking.

    Parameters
    ----------
    scores
        Larger is better, shape (T,); equal scores share their ranks.
    truth
        Accuracy, shape (T,).

    Returns
    -------
    dict
        Correlations in -1 to 1 (0 if all scores are equal); P@1 and P@3: whether the best teacher is the first, or
        among the first three; regret: accuracy of the best minus accuracy of the first. If several teachers are first
        by score, their mean.
    """
    if np.ptp(scores) == 0:
        best = truth == truth.max()
        share = best.mean()
        return dict(
            zip(NAMES, (0.0, 0.0, 0.0, share, min(1.0, 3 * share), float(truth.max() - truth.mean())), strict=True)
        )
    first = scores == scores.max()
    third = np.sort(scores)[-3:][0] if len(scores) >= 3 else scores.min()
    best = truth >= truth.max()
    return {
        "weighted tau": float(weightedtau(scores, truth).statistic),
        "Kendall tau": float(kendalltau(scores, truth).statistic),
        "Spearman rho": float(spearmanr(scores, truth).statistic),
        "P@1": float(best[first].mean()),
        "P@3": float(best[scores >= third].any()),
        "regret": float(truth.max() - truth[first].mean()),
    }


def mean(rows: list[Mapping[str, float]]) -> dict[str, float]:
    """Mean of every metric."""
    return {name: float(np.mean([row[name] for row in rows])) for name in NAMES}


def interval(values: Vector, level: float = 0.95, resamples: int = 4000) -> tuple[float, float]:
    """Bootstrap interval of a mean over tasks.

    Parameters
    ----------
    values
        One value for each task.
    """
    generator = np.random.default_rng(0)
    drawn = values[generator.integers(0, len(values), (resamples, len(values)))].mean(axis=1)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
