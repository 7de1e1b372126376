"""Do the 90 % intervals cover what they claim: the score's mean over other probes of the same size?

A score that fits something to the probe has a mean that depends on its size; an interval speaks of its own size.
"""

import warnings

import numpy as np
from numpy.typing import NDArray

from benchmarks.ranking.scores import evidence
from benchmarks.ranking.world import Target, World, drawn
from benchmarks.report import Report
from worker.ranking.blend import Auto, labelled_blend
from worker.ranking.estimators.base import Estimator, Score
from worker.ranking.estimators.registry import ESTIMATORS
from worker.ranking.uncertainty import assess, resample_weights

EACH = 10
"""Labelled items a class."""
_RESAMPLES = 500
_NAMES = ("prediction_transport", "transport_gain", "alignment", "leep", "logme", "parc", "transport_map")


def measure(report: Report, tasks: list[tuple[World, Target]], draws: int) -> None:
    """Add a row an estimator, and the target for `auto`.

    Parameters
    ----------
    draws
        Probes a task; each interval is held against the mean over the other probes.
    """
    hits: dict[str, list[float]] = {}
    for world, target in tasks:
        found: dict[str, list[NDArray[np.float64]]] = {}
        for draw in range(draws):
            chosen = drawn(target, EACH, np.random.default_rng([23, draw]))
            known = [evidence(teacher, target, chosen) for teacher in world.zoo]
            weights = resample_weights(target.pool_labels[chosen], _RESAMPLES, np.random.default_rng(draw))
            auto = labelled_blend(target.pool_labels[chosen])
            estimators: list[Estimator | Auto] = [*(ESTIMATORS[name] for name in _NAMES), auto]
            for estimator in estimators:
                name = "auto" if isinstance(estimator, Auto) else estimator.name
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    scores: list[Score] = (
                        estimator.blend([estimator.member_scores(one) for one in known])
                        if isinstance(estimator, Auto)
                        else [estimator.estimate(one) for one in known]
                    )
                said = assess(scores, weights, higher_is_better=estimator.higher_is_better)
                values = np.array([score.value for score in scores])
                found.setdefault(name, []).append(np.stack([values, said.low, said.high]))
        for name, each in found.items():
            stacked = np.stack(each)
            total = stacked[:, 0].sum(axis=0)
            for values, low, high in stacked:
                others = (total - values) / (draws - 1)
                hits.setdefault(name, []).append(float(((low <= others) & (others <= high)).mean()))
    for name, shares in hits.items():
        report.row("coverage", f"{EACH} items a class", name, of_90_percent=round(float(np.mean(shares)), 3))
    share = float(np.mean(hits["auto"]))
    report.target("90 % intervals of auto cover at least", 0.85, share)
    report.target("90 % intervals of auto cover at most", 0.95, share, at_most=True)
