"""Confidence in a ranking on a probe, and whether any teacher in it is better than chance."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from preceptor.contract.recommendations import Certainty

from .blend import CONTROL, Auto
from .estimators.base import Estimator
from .estimators.registry import ESTIMATORS
from .scoring import Scored
from .uncertainty import assess, probability_better, resample_weights, resampled_scores

_RESAMPLES: Final = 1000
_CONTROLS: Final = 60
"""Number of random-teacher controls for each teacher."""

BETTER_THAN_RANDOM_LEVEL: Final = 0.95
"""Probability of beating the random-teacher control below which a teacher has shown no information on the probe."""


def certainties(
    scored: list[Scored], targets: NDArray[np.int64], estimator: Estimator | Auto, *, seed: int = 0
) -> list[Certainty] | None:
    """Bootstrap the scores of all teachers over the probe's items.

    Parameters
    ----------
    scored
        T teachers with score and evidence, on one probe.
    targets
        Student class of every item, shape (N,); items are resampled within their class.
    estimator
        The estimator of the scores. Of a blend, one member is compared with its random-teacher control.
    seed
        Seed of resamples and controls; the same request gets the same result.

    Returns
    -------
    list of Certainty or None
        None if the probe has a single item or the scores do not depend on items.
    """
    scores = [row.score for row in scored if row.score is not None and row.score.influence is not None]
    if len(targets) < 2 or len(scores) < len(scored):
        return None
    generator = np.random.default_rng(seed)
    weights = resample_weights(targets, _RESAMPLES, generator)
    orders = np.stack([generator.permutation(len(targets)) for _ in range(_CONTROLS)])
    blended = isinstance(estimator, Auto)
    control = ESTIMATORS[CONTROL] if blended else estimator
    assert isinstance(control, Estimator)
    null = np.stack([control.null_values(row.evidence, orders) for row in scored if row.evidence is not None])
    found = assess(
        scores,
        weights,
        higher_is_better=estimator.higher_is_better,
        null=None if blended else null,
        last=np.array([row.constant for row in scored]),
    )
    better = found.better_than_random
    if better is None:
        own = [row.members[CONTROL] for row in scored]
        influences = np.stack([score.influence for score in own if score.influence is not None])
        samples = resampled_scores(np.array([score.value for score in own]), influences, weights)
        better = probability_better(samples, null, control.higher_is_better)
    return [
        Certainty(
            low=round(float(found.low[n]), 6),
            high=round(float(found.high[n]), 6),
            best=round(float(found.best[n]), 4),
            ties=int(found.group[n]) + 1,
            better_than_random=round(float(better[n]), 4),
        )
        for n in range(len(scored))
    ]
