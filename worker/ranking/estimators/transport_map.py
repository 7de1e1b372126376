"""Likelihood of held-out labels under a linear map of the teacher's outputs, regularised towards the names' plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from worker.ranking.estimators.base import Estimator, Need, Score, centred
from worker.ranking.estimators.evidence import Evidence, Indices, Matrix, Vector

_PENALTIES: Final = (0.003, 0.03, 0.3, 3.0)
"""Candidates of alpha, in units of the sum of squares of all features."""
_STARTS: Final = (0.0, 0.3, 1.0)
_SHARPNESSES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Each is twice the previous one."""
_NAMES_EPS: Final = 0.05
"""Entropic regularisation of the transport by names, in units of 1 - cos."""
_AT_ONCE: Final = 2**20
"""Numbers in a block of controls: small enough for a processor's cache."""
_DROPPED: Final = 1e-6
"""Directions with a smaller share are omitted in float32 controls."""
_IN_DOUBLE: Final = 2**20
"""Maximum total size for which controls are scored in float64."""


def names_plan(cost: Matrix) -> Matrix:
    """Plan from teacher classes to student classes by names, shape (K, S); columns centred, with length 1.

    Every teacher class distributes its mass over the student classes by softmax(-C / eps), the transport plan relaxed
    on the student's side; the columns are then normalised to be comparable.
    """
    plan = np.exp(-(cost - cost.min(axis=1, keepdims=True)) / _NAMES_EPS)
    plan /= plan.sum(axis=1, keepdims=True)
    plan /= np.maximum(plan.sum(axis=0, keepdims=True), 1e-12)
    plan -= plan.mean(axis=0, keepdims=True)
    return plan / np.maximum(np.linalg.norm(plan, axis=0, keepdims=True), 1e-12)


@dataclass(frozen=True, eq=False)
class HeldOutFit:
    """Predictions of the map for every item, fitted without the item, with the settings of largest likelihood.

    Attributes
    ----------
    scores : float64 array (S, N)
        b + F W, before gamma.
    log_likelihoods : float64 array (N,)
        Log-likelihood of each label, in nats.
    penalty, start, sharpness : float
        alpha, beta and gamma.
    """

    scores: Matrix
    log_likelihoods: Vector
    penalty: float
    start: float
    sharpness: float


class TransportMap(Estimator):
    r"""Mean log-likelihood of each label under a map fitted without it, in nats; higher is better, at most 0.

    .. math:: b, W = \arg\min \|b + F W - Y\|^2 + \alpha \|W - \beta W_0\|^2, \qquad
              q_i = \mathrm{softmax}(\gamma (b^{(-i)} + F_i W^{(-i)}))

    F are standardised log-predictions (N, K), Y one-hot labels, W0 the names' plan. The held-out scores are exact, from
    one decomposition. alpha, beta and gamma maximise the likelihood. The score measures directly what a student can
    learn from the teacher: how well the student's classes can be predicted from the teacher's outputs. Without names
    beta is 0, and the map is regularised towards 0.

    Source: this project; the leave-one-out identity of ridge regression is Allen's PRESS (1974).

    The influence is for fixed map and settings. The random-teacher control uses the same alpha and beta and its own
    gamma: with the teacher's gamma it would be penalised for the teacher's confidence.
    """

    name = "transport_map"
    needs = frozenset({Need.PROBE, Need.LABELS, Need.TWO_CLASSES})

    def score(self, evidence: Evidence) -> Score:
        best = held_out_fit(evidence)
        details = {"penalty": best.penalty, "start": best.start, "sharpness": best.sharpness}
        return Score(float(best.log_likelihoods.mean()), centred(best.log_likelihoods), details)

    def null_values(self, evidence: Evidence, orders: Indices) -> Vector:
        assert evidence.labels is not None
        best, smoother = held_out_fit(evidence), _smoother(evidence)
        n, s = len(evidence.labels), evidence.student_classes
        dtype = np.float64 if n * s * len(orders) <= _IN_DOUBLE else np.float32
        shares, complement = smoother.shares(best.penalty), smoother.complement(best.penalty)
        # Directions with negligible shares are below the float32 precision of the others.
        kept = slice(None) if dtype is np.float64 else shares > _DROPPED
        left = smoother.left[:, kept].astype(dtype)
        onto = (shares[kept, None] * (smoother.left[:, kept] / complement[:, None]).T).astype(dtype)  # (r, N)
        # Independent of the labels' order: the class shares, and the part of the start that the ridge does not change.
        fixed = np.bincount(evidence.labels, minlength=s)[:, None] / n + best.start * smoother.unfitted_base(shares)
        fixed = (fixed / complement)[:, None, :].astype(dtype)
        own = (1 - 1 / complement).astype(dtype)
        values = np.empty(len(orders))
        step = max(1, _AT_ONCE // (n * s))
        for begin in range(0, len(orders), step):
            block = orders[begin : begin + step]
            labels = np.empty((len(block), n), dtype=np.int64)
            np.put_along_axis(labels, block, np.broadcast_to(evidence.labels, block.shape), axis=1)
            at = labels, np.arange(len(block))[:, None], np.arange(n)
            targets = np.zeros((s, len(block), n), dtype=dtype)
            targets[at] = 1
            scores = ((targets.reshape(-1, n) @ left) @ onto).reshape(targets.shape)
            scores += fixed
            scores[at] += own
            values[begin : begin + step] = _best_log_likelihood(scores, at)
        return values


class _Smoother:
    """The ridge's smoother ``H = U diag(shares) U^T`` for every penalty, and the names' start; without labels."""

    def __init__(self, evidence: Evidence) -> None:
        representation = evidence.log_predictions
        self.left, self._values = representation.spectrum
        self.base = np.zeros((evidence.student_classes, evidence.items))
        """The names' prediction at beta = 1, shape (S, N)."""
        if evidence.text_cost is not None:
            plan = names_plan(np.asarray(evidence.text_cost, dtype=np.float64))
            self.base = (plan.T @ representation.rows.T) / np.sqrt(representation.dimensions)

    def shares(self, penalty: float) -> Vector:
        """The share of every direction that the fit keeps, shape (r,)."""
        return self._values / (self._values + penalty * self._values.sum())

    def complement(self, penalty: float) -> Vector:
        """1 - leverage of every item, shape (N,); the residual is divided by it (PRESS).

        The rows are centred, so an unpenalised intercept adds 1 / N to every leverage. Centring the targets instead
        would leak each item's label, by its absence from the other items.
        """
        return np.maximum(1 - self.left**2 @ self.shares(penalty) - 1 / len(self.left), 1e-9)

    def unfitted_base(self, shares: Vector) -> Matrix:
        """The part of `base` that the ridge does not fit, shape (S, N)."""
        return self.base - (self.base @ self.left * shares) @ self.left.T


def _smoother(evidence: Evidence) -> _Smoother:
    return evidence.once("transport_map's smoother", lambda: _Smoother(evidence))


def held_out_fit(evidence: Evidence) -> HeldOutFit:
    """The most likely map for `evidence`, which has labels; computed once for each evidence."""
    return evidence.once("transport_map", lambda: _fit(evidence))


def _fit(evidence: Evidence) -> HeldOutFit:
    assert evidence.labels is not None
    smoother = _smoother(evidence)
    targets = np.eye(evidence.student_classes)[:, evidence.labels]
    deviations = targets - targets.mean(axis=1, keepdims=True)
    starts = _STARTS if evidence.text_cost is not None else _STARTS[:1]
    s, n = targets.shape
    shares = np.stack([smoother.shares(penalty) for penalty in _PENALTIES])  # (penalties, r)
    inner = np.concatenate([deviations, smoother.base]) @ smoother.left  # (2 S, r)
    fitted = (inner[:, None, :] * shares).reshape(len(inner) * len(shares), inner.shape[1]) @ smoother.left.T
    of_targets, of_base = fitted.reshape(2, s, len(_PENALTIES), n)
    of_targets -= deviations[:, None, :]
    of_base -= smoother.base[:, None, :]
    # Minus the residual of every setting, (S, penalties, starts, N), then the held-out scores.
    scores = of_targets[:, :, None, :] - np.array(starts)[:, None] * of_base[:, :, None, :]
    scores /= np.stack([smoother.complement(penalty) for penalty in _PENALTIES])[:, None, :]
    scores += targets[:, None, None, :]
    scores = scores.reshape(s, -1, n)
    own = evidence.labels, np.arange(scores.shape[1])[:, None], np.arange(n)
    means = np.stack([log_likelihoods.mean(axis=1) for log_likelihoods in _log_likelihoods(scores, own)])
    best, found = -np.inf, (0, 0)
    for setting in range(means.shape[1]):
        for place in range(len(_SHARPNESSES)):
            if means[place, setting] > best + 1e-9:
                best, found = means[place, setting], (setting, place)
    setting, place = found
    chosen = np.ascontiguousarray(scores[:, setting])
    sharp = _SHARPNESSES[place] * (chosen - chosen.max(axis=0))
    log_likelihoods = sharp[evidence.labels, np.arange(n)] - np.log(np.exp(sharp).sum(axis=0))
    penalty, start = _PENALTIES[setting // len(starts)], starts[setting % len(starts)]
    return HeldOutFit(chosen, log_likelihoods, penalty, start, _SHARPNESSES[place])


def held_out_scores(evidence: Evidence, folds: Indices) -> Matrix:
    """b + F W of every item from a map fitted without its whole fold, shape (S, N), with the selected alpha and beta.

    Exact, by the block form of the leave-one-out identity: the residual of a held-out fold is ``(I - H_BB)^-1 r_B``.

    Parameters
    ----------
    folds : int array (N,)
    """
    assert evidence.labels is not None
    best, smoother = held_out_fit(evidence), _smoother(evidence)
    targets = np.eye(evidence.student_classes)[:, evidence.labels]
    shares = smoother.shares(best.penalty)
    deviations = targets - targets.mean(axis=1, keepdims=True)
    fitted = (deviations @ smoother.left * shares) @ smoother.left.T
    residual = deviations - fitted - best.start * smoother.unfitted_base(shares)
    scores = np.empty_like(targets)
    for fold in range(int(folds.max()) + 1):
        rows = np.flatnonzero(folds == fold)
        left = smoother.left[rows]
        # If one fold is the whole probe, no items are left to fit an intercept: the small term avoids singularity.
        complement = (1 + 1e-9) * np.eye(len(rows)) - (left * shares) @ left.T - 1 / len(folds)
        scores[:, rows] = targets[:, rows] - np.linalg.solve(complement, residual[:, rows].T).T
    return scores


def _log_likelihoods(scores: NDArray[np.floating], at: tuple[Any, ...]) -> Iterator[NDArray[np.floating]]:
    """Log-likelihoods of the labels at every sharpness, from scores (S, M, N); `at` indexes each item's own class.

    Each sharpness is twice the previous one, so its exponentials are the squares of the previous ones.
    """
    odds = scores - scores.max(axis=0)
    own = odds[at]
    np.exp(odds, out=odds)
    for place, sharpness in enumerate(_SHARPNESSES):
        if place:
            odds *= odds
        yield sharpness * own - np.log(odds.sum(axis=0))


def _best_log_likelihood(scores: NDArray[np.floating], at: tuple[Any, ...]) -> Vector:
    """Largest mean log-likelihood over all sharpnesses, from scores (S, M, N), shape (M,).

    It is concave in the sharpness: once it decreases for all M, larger values are skipped.
    """
    best = np.full(scores.shape[1], -np.inf)
    for log_likelihoods in _log_likelihoods(scores, at):
        means = log_likelihoods.mean(axis=1, dtype=np.float64)
        if (means < best).all():
            break
        best = np.maximum(best, means)
    return best
