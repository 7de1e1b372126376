"""Uncertainty of a ranking: bootstrap over probe items, by first-order influences instead of re-estimation.

Every estimator returns, with its score, the contribution of each probe item (``Score.influence``). A resample of the
probe then costs one dot product: a thousand resamples of a whole shortlist are one small matrix product, the same
resamples serve every teacher (all comparisons are paired), and a blend of estimators can be resampled jointly.
Re-estimation would also be biased for scores that are fitted to the probe: a resample contains duplicate items, which
inflates LEEP, LogME and k-NN.

Pure numpy; independent of teachers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.ranking.estimators.base import Score

SCORE_TOLERANCE: Final = 1e-6
"""Scores are reported with six digits. Smaller differences are rounding and have no effect."""

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Indices = NDArray[np.int64]


def resample_weights(strata: Indices, resamples: int, rng: np.random.Generator) -> Matrix:
    """Weights of the rescaled stratified bootstrap.

    In a stratum of n items, n - 1 are drawn with replacement and each draw has weight n / (n - 1). The plain bootstrap
    draws n and underestimates the variance by the factor (n - 1) / n: a fifth is lost at five labels a class, half at
    two. Strata of one item have no variance; they are pooled into one stratum, and a single remaining item joins the
    largest stratum.

    Source: Rao and Wu, "Resampling inference with complex survey data", JASA 83, 1988.

    Parameters
    ----------
    strata : int array (N,)
        Class of every item; all equal for an unlabelled probe.
    resamples : int
        R.
    rng : numpy Generator

    Returns
    -------
    float64 array (R, N)
        Each row has mean 1, over the probe and over every stratum.

    Raises
    ------
    ValueError
        If there are fewer than two items.
    """
    if len(strata) < 2:
        raise ValueError("a bootstrap needs at least two probe items; send a larger probe")
    weights = np.empty((resamples, len(strata)))
    for members in _pooled(strata):
        n = len(members)
        draws = rng.integers(0, n, size=(resamples, n - 1)) + n * np.arange(resamples)[:, None]
        counts = np.bincount(draws.ravel(), minlength=resamples * n).reshape(resamples, n)
        weights[:, members] = counts * (n / (n - 1))
    return weights


def _pooled(strata: Indices) -> list[Indices]:
    groups = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    large = [members for members in groups if len(members) > 1]
    single = [members for members in groups if len(members) == 1]
    if len(single) > 1:
        large.append(np.concatenate(single))
    elif single:
        biggest = max(range(len(large)), key=lambda i: len(large[i]))
        large[biggest] = np.concatenate([large[biggest], single[0]])
    return large


def resampled_scores(values: Vector, influences: Matrix, weights: Matrix) -> Matrix:
    """Scores of every teacher in every resample, ``value_t + mean_i (w_ri - 1) influence_ti``.

    Parameters
    ----------
    values : float64 array (T,)
    influences : float64 array (T, N)
    weights : float64 array (R, N)
        From `resample_weights`; the same for all teachers and estimators that are compared.

    Returns
    -------
    float64 array (T, R)
    """
    # Weights have mean 1 in every row, so the 1 is subtracted once for each teacher instead of from every weight.
    shares = influences / weights.shape[1]
    return (values - shares.sum(axis=1))[:, None] + shares @ weights.T


def intervals(samples: Matrix, level: float = 0.9) -> Matrix:
    """Percentile interval (T, 2) of resampled scores (T, R).

    Percentile and not BCa: the resampled scores are linear in the weights, so there is no bias to correct, and the
    acceleration would be estimated from strata of a few items, where it is noise.
    """
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval must lie between 0 and 1, got {level}")
    return np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=-1).T


def probability_best(samples: Matrix, higher_is_better: bool) -> Vector:
    """Share of the resamples in which each teacher is the best; scores within `SCORE_TOLERANCE` share the win.

    Returns
    -------
    float64 array (T,)
        With sum 1.
    """
    oriented = samples if higher_is_better else -samples
    wins = oriented >= oriented.max(axis=0) - SCORE_TOLERANCE
    return (wins / wins.sum(axis=0)).mean(axis=1)


def tie_groups(values: Vector, samples: Matrix, higher_is_better: bool, level: float = 0.9) -> Indices:
    """Tie group of every teacher: 0 for those that cannot be separated from the best, and so on.

    The best teacher without a group leads a new one. Every other teacher without a group joins it if the interval of
    its paired difference to the leader contains 0 or comes within `SCORE_TOLERANCE` of it. Each interval is valid for
    its own pair, not for all pairs at once. A teacher with a wide interval can tie with a leader although a teacher
    ranked above it does not.
    Parameters
    ----------
    values : float64 array (T,)
    samples : float64 array (T, R)
        From the same resamples for all teachers.
    higher_is_better : bool
    level : float
        Level of the intervals, 0 to 1.

    Returns
    -------
    int64 array (T,)
    """
    groups = np.full(len(values), -1, dtype=np.int64)
    order = np.argsort(-values if higher_is_better else values, kind="stable")
    group = 0
    for leader in order:
        if groups[leader] >= 0:
            continue
        open_ = np.flatnonzero(groups < 0)
        bounds = intervals(samples[open_] - samples[leader], level)
        groups[open_[(bounds[:, 0] <= SCORE_TOLERANCE) & (bounds[:, 1] >= -SCORE_TOLERANCE)]] = group
        group += 1
    return groups


def probability_better(samples: Matrix, null: Matrix, higher_is_better: bool) -> Vector:
    """Probability that a teacher's score beats the score of its random-teacher control.

    Over all pairs of a resample and a control: ``P(score > control) + P(score = control) / 2``, equal up to
    `SCORE_TOLERANCE`. About one half for a teacher without information, also if the score is biased, because the
    control has the same marginals and the same number of classes.

    Parameters
    ----------
    samples : float64 array (T, R)
        Resampled scores.
    null : float64 array (T, M)
        Scores with the teacher's outputs permuted over the items, from `Estimator.null_values`.
    higher_is_better : bool

    Returns
    -------
    float64 array (T,)
    """
    sign = 1.0 if higher_is_better else -1.0
    result = np.empty(len(samples))
    for t, (scores, controls) in enumerate(zip(sign * samples, sign * null, strict=True)):
        ordered = np.sort(controls)
        below = np.searchsorted(ordered, scores - SCORE_TOLERANCE, side="left")
        not_above = np.searchsorted(ordered, scores + SCORE_TOLERANCE, side="right")
        result[t] = (below + not_above).mean() / (2 * len(ordered))
    return result


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Bootstrap results of T teachers under one estimator.

    Attributes
    ----------
    low, high : float64 array (T,)
        Ends of the interval of each score.
    best : float64 array (T,)
        Probability of being the best of the T.
    group : int64 array (T,)
        Tie group, from 0.
    better_than_random : float64 array (T,), optional
        Probability of beating the random-teacher control; ``None`` without controls.
    samples : float64 array (T, R)
        The resampled scores, for blends.
    """

    low: Vector
    high: Vector
    best: Vector
    group: Indices
    better_than_random: Vector | None
    samples: Matrix


def assess(
    scores: Sequence[Score],
    weights: Matrix,
    *,
    higher_is_better: bool,
    null: Matrix | None = None,
    last: NDArray[np.bool_] | None = None,
    level: float = 0.9,
) -> Uncertainty:
    """Bootstrap the scores of several teachers on one probe.

    Parameters
    ----------
    scores : sequence of Score
        One score for each teacher, all from the same estimator and probe.
    weights : float64 array (R, N)
        From `resample_weights`.
    higher_is_better : bool
        Direction of the estimator.
    null : float64 array (T, M), optional
        Random-teacher controls.
    last : bool array (T,), optional
        Teachers that come after all others whatever their scores: never the best, and tied with none of the others.
    level : float
        Level of all intervals, 0 to 1.

    Returns
    -------
    Uncertainty

    Raises
    ------
    ValueError
        If there is no score, a score does not depend on the probe, or the sizes do not match.
    """
    influences = [score.influence for score in scores if score.influence is not None]
    if not scores or len(influences) < len(scores):
        raise ValueError("only scores that depend on probe items can be resampled; omit the others")
    if any(len(influence) != weights.shape[1] for influence in influences):
        raise ValueError(f"scores and weights must be of the same probe, which has {weights.shape[1]} items")
    values = np.array([score.value for score in scores], dtype=np.float64)
    samples = resampled_scores(values, np.stack(influences), weights)
    bounds = intervals(samples, level)
    best, group = np.zeros(len(values)), np.zeros(len(values), dtype=np.int64)
    front = np.ones(len(values), dtype=bool) if last is None or last.all() else ~last
    best[front] = probability_best(samples[front], higher_is_better)
    group[front] = tie_groups(values[front], samples[front], higher_is_better, level)
    group[~front] = group.max() + 1
    return Uncertainty(
        low=bounds[:, 0],
        high=bounds[:, 1],
        best=best,
        group=group,
        better_than_random=None if null is None else probability_better(samples, null, higher_is_better),
        samples=samples,
    )
