r"""Chooses the weight of the teachers' term on the labelled items; 0, "do not distil", is among the choices.

Each choice trains students without a fold of the labelled items and is scored on that fold, with everything that is
fitted to labels (ground cost, map) fitted without it. The score is the log-likelihood of the held-out labels after
one temperature was fitted for each choice: with few labels a student trained on cross-entropy alone is overconfident,
so any soft target would seem to help because it lowers the confidence. The temperature removes that advantage.

A weight above 0 is chosen only if its gain over 0, paired item by item, exceeds 1.5 of its standard errors. With fifty
labels the best of several useless weights beats 0 half of the time.

With few labels that is often out of reach although the teacher would help: the student may predict all twenty held-out
items correctly with and without it. So there is a second criterion: the held-out labels are at least as likely under
the teacher's predictions as under those of the student without it, and no weight lowered the score. A student can
reach its teacher's accuracy with unlabelled items. A noise teacher, or one of unrelated classes, predicts far worse
than the student.

If that comparison is clear, fewer students are trained. Teachers far behind the student alone are rejected without a
trial. If a teacher is far ahead and there is one weight to choose, one fold suffices to show that it does no harm.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..evaluation.statistics import stratified_folds
from ..inputs import Float32, Int64
from .teacher_weights import informative_when_unconfident

WEIGHTS: Final = (0.3, 1.0, 3.0)
"""The choices besides 0; the term is in nats, as cross-entropy is."""
MARGIN: Final = 1.5
"""Standard errors by which the best weight must beat 0: it is the best of several."""
SLACK: Final = 0.02
"""Nats an item by which labels may be less likely under the teacher than under the student and still count as equal."""
INFORMS: Final = 3.0
"""Standard errors by which a teacher's held-out predictions must beat the class shares."""
MODEST: Final = 1.0
"""The default weight, unless another one is better by more than a standard error."""

AHEAD: Final = 4.0
"""Standard errors by which a teacher must be ahead of the student alone for one fold to suffice."""
BEHIND: Final = 6.0
FAR: Final = 0.8
"""Standard errors, and nats an item, by which all teachers must be behind for the gate to skip all trials."""

_FLOOR: Final = 1e-9
Float64 = NDArray[np.float64]

FitAndPredict = Callable[[Int64, Int64, float], Float32]
"""`(rows to train on, held-out rows, weight) -> logits on the held-out rows`, shape (h, S)."""


@dataclass(frozen=True)
class GateDecision:
    """What the gate chose.

    Attributes
    ----------
    weight
        0 if no other choice passed.
    scores
        Mean log-likelihood (nats an item, after temperature) of held-out labels by weight; higher is better.
    gains
        Mean gain over weight 0, and its standard error, by weight.
    advantage
        By how many nats an item held-out labels are likelier under the best teacher than under the student; None if no
        teacher is informative.
    at_full_weight
        Positions of the teachers that predict better than the student even where their confidence is low.
    reason
        Shown to the user.
    given
        Whether the request set the weight.
    """

    weight: float
    scores: dict[float, float] = field(default_factory=dict[float, float])
    gains: dict[float, tuple[float, float]] = field(default_factory=dict[float, tuple[float, float]])
    advantage: float | None = None
    at_full_weight: frozenset[int] = frozenset()
    reason: str = ""
    given: bool = False


def choose_weight(
    labels: Int64,
    fit: FitAndPredict,
    *,
    weights: Sequence[float] = WEIGHTS,
    folds: int = 5,
    margin: float = MARGIN,
    seed: int = 0,
    mapped: Sequence[Float64] = (),
) -> GateDecision:
    """Choose among 0 and `weights` by cross-validation.

    Parameters
    ----------
    labels
        Classes of the labelled items, shape (n,).
    fit
        Trains a student; see `FitAndPredict`.
    mapped
        Each teacher's predictions for the labelled items, from tables fitted without the item, shape (n, S).

    Returns
    -------
    GateDecision
        Weight 0 if a class has a single labelled item: no item can be held out.
    """
    parts = stratified_folds(labels, folds, seed)
    if not parts:
        return GateDecision(
            0.0,
            reason="a class has a single labelled item, so no weight can be cross-validated; "
            "give two labelled items a class, or a weight of your own",
        )
    everything = np.arange(len(labels), dtype=np.int64)
    order = np.concatenate(parts)

    def logits(weight: float, among: Sequence[Int64]) -> Float32:
        return np.concatenate([fit(np.setdiff1d(everything, held), held, weight) for held in among])

    plain = logits(0.0, parts)
    alone = np.empty(len(labels))
    alone[order] = tempered_likelihood(plain, labels[order])
    scores = {0.0: float(alone.mean())}
    advantage = _advantage(labels, alone, mapped)
    rejected = _far_behind(labels, alone, mapped, scores, advantage)
    if rejected is not None:
        return rejected
    # A teacher that is clearly ahead, with one weight to choose, must only show that it does no harm.
    tried = parts[:1] if len(weights) == 1 and _ahead(labels, alone, mapped) else parts
    items = order[: sum(map(len, tried))]
    without = tempered_likelihood(plain[: len(items)], labels[items])
    gains: dict[float, tuple[float, float]] = {}
    for weight in weights:
        difference = tempered_likelihood(logits(weight, tried), labels[items]) - without
        scores[weight] = scores[0.0] + float(difference.mean())
        gains[weight] = (
            float(difference.mean()),
            float(difference.std(ddof=1) / math.sqrt(len(difference))),
        )
    decision = _decide(scores, gains, margin, advantage)
    if decision.weight == 0:
        return decision
    at_full_weight = frozenset(
        number for number, one in enumerate(mapped) if informative_when_unconfident(one, labels, alone)
    )
    return replace(decision, at_full_weight=at_full_weight)


def _advantage(labels: Int64, alone: Float64, mapped: Sequence[Float64]) -> float | None:
    informative = [float(_likely(one, labels).mean()) for one in mapped if informs(one, labels)]
    return max(informative) - float(alone.mean()) if informative else None


def _likely(one: Float64, labels: Int64) -> Float64:
    return np.log(one[np.arange(len(labels)), labels] + _FLOOR)


def _ahead(labels: Int64, alone: Float64, mapped: Sequence[Float64]) -> bool:
    """Whether held-out labels are clearly likelier under some teacher than under the student alone."""
    differences = [_likely(one, labels) - alone for one in mapped if informs(one, labels)]
    return any(float(d.mean()) > max(SLACK, AHEAD * _error(d)) for d in differences)


def _far_behind(
    labels: Int64,
    alone: Float64,
    mapped: Sequence[Float64],
    scores: dict[float, float],
    advantage: float | None,
) -> GateDecision | None:
    """The rejection, if held-out labels are far less likely under every teacher than under the student alone."""
    differences = [_likely(one, labels) - alone for one in mapped]
    if not differences or not all(float(d.mean()) < -max(FAR, BEHIND * _error(d)) for d in differences):
        return None
    best = max(differences, key=lambda d: float(d.mean()))
    return GateDecision(
        0.0,
        scores,
        {},
        advantage,
        reason=f"no weight was tried: held-out labels are far less likely under the teacher's predictions than under "
        f"those of the student alone ({best.mean():+.3f} nats an item, standard error {_error(best):.3f})",
    )


def _error(differences: Float64) -> float:
    return float(differences.std(ddof=1)) / math.sqrt(len(differences))


def informs(mapped: Float64, labels: Int64) -> bool:
    """Whether a teacher's held-out predictions are more informative about the labels than the class shares.

    A student that learnt nothing from few labels predicts the class shares, and so does noise: compared with such a
    student, noise would look as good as a teacher. On six tasks with photographs noise reached .9 standard errors at
    most, random networks 2.5, and recommended teachers 3.5 and more.

    Parameters
    ----------
    mapped
        Shape (n, S), rows sum to 1.
    labels
        Shape (n,).
    """
    shares = np.bincount(labels, minlength=mapped.shape[1]) / len(labels)
    gain = np.log(mapped[np.arange(len(labels)), labels] + _FLOOR) - np.log(shares[labels])
    return float(gain.mean()) > INFORMS * float(gain.std(ddof=1)) / math.sqrt(len(labels)) + 1e-6


def _decide(
    scores: dict[float, float], gains: dict[float, tuple[float, float]], margin: float, advantage: float | None
) -> GateDecision:
    best = max(gains, key=lambda weight: gains[weight][0])
    mean, error = gains[best]
    modest = MODEST in gains and gains[MODEST][0] >= mean - error
    chosen = MODEST if modest else best
    if mean > 0 and mean > margin * error:
        reason = (
            f"weight {best:g} makes held-out labels likelier by {mean:.3f} nats an item "
            f"(standard error {error:.3f}) than no teacher"
        )
        if chosen != best:
            reason += f"; {chosen:g}, which is within that error, was chosen"
        return GateDecision(chosen, scores, gains, advantage, reason=reason)
    if advantage is not None and advantage >= -SLACK and mean >= -error:
        reason = (
            f"no weight was shown to help on so few labels, but held-out labels are no less likely under the teacher's "
            f"predictions than under those of the student alone ({advantage:+.3f} nats an item), so weight "
            f"{chosen:g} was chosen"
        )
        return GateDecision(chosen, scores, gains, advantage, reason=reason)
    reason = (
        f"no weight makes held-out labels clearly likelier than no teacher: the best, {best:g}, by {mean:+.3f} "
        f"nats an item with a standard error of {error:.3f}"
    )
    if advantage is not None:
        reason += f"; the teacher's own predictions make them likelier than the student's by {advantage:+.3f}"
    return GateDecision(0.0, scores, gains, advantage, reason=reason)


def tempered_likelihood(logits: Float32, labels: Int64) -> np.ndarray:
    """Log-likelihood of each label under softmax(logits / t), with the t that makes all of them likeliest.

    Parameters
    ----------
    logits
        Shape (n, S).
    labels
        Shape (n,).

    Returns
    -------
    ndarray
        Shape (n,), float64, nats.
    """
    values = logits.astype(np.float64)
    values -= values.max(axis=1, keepdims=True)
    best: np.ndarray | None = None
    for temperature in np.geomspace(0.1, 30, 60):
        scaled = values / temperature
        likely = scaled[np.arange(len(labels)), labels] - np.log(np.exp(scaled).sum(axis=1))
        if best is None or likely.sum() > best.sum():
            best = likely
    assert best is not None
    return best
