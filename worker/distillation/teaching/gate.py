r"""Chooses the weight of the teachers' term on the labelled items; 0, "do not distil", is among the choices.

Each choice trains students without a fold of the labelled items and is scored on that fold, with everything that is
fitted to labels (ground cost, map) fitted without it. The score is the log-likelihood of the left-out labels after
one temperature was fitted for each choice: with few labels a student trained on cross-entropy alone is far too sure,
any soft target would seem to help by making it less so, and a temperature gives every choice that help for free.

A weight above 0 must earn it: its gain over 0, paired item by item, must exceed 1.5 of its standard errors. With fifty
labels the best of several useless weights beats 0 half of the time.

With few labels that is often out of reach although the teacher would help: twenty left-out items may all be right with
and without it. So there is a second way in: the left-out labels are no less likely under what the teacher says of them
than under what the student without it says, and no weight was seen to hurt. A student can learn what its teacher knows;
unlabelled items take it there. A teacher of noise or of other things says far less than the student does.

Where that comparison leaves no doubt there is less to train. Teachers far behind the student alone are refused without
a trial; a teacher far ahead has to show on one fold only that it does no harm, where there is one weight to choose.
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
"""Nats an item by which the teacher may be less likely than the student and still count as no less."""
INFORMS: Final = 3.0
"""Standard errors by which a teacher's left-out answers must beat the shares of the classes."""
MODEST: Final = 1.0
"""The weight that is taken unless another one is better by more than a standard error."""

AHEAD: Final = 4.0
"""Standard errors by which a teacher must be ahead of the student alone for one fold to be enough."""
BEHIND: Final = 6.0
FAR: Final = 0.8
"""Standard errors, and nats an item, by which all teachers must be behind for no weight to need a trial."""

_FLOOR: Final = 1e-9
Float64 = NDArray[np.float64]

FitAndPredict = Callable[[Int64, Int64, float], Float32]
"""`(rows to train on, rows left out, weight) -> logits on the rows left out`, shape (h, S)."""


@dataclass(frozen=True)
class GateDecision:
    """What the gate chose.

    Attributes
    ----------
    weight
        0 where no choice earned its place.
    scores
        Mean log-likelihood (nats an item, after temperature) of left-out labels by weight; higher is better.
    gains
        Mean gain over weight 0, and its standard error, by weight.
    advantage
        By how many nats an item the best teacher's left-out answers are likelier than the student's; None where no
        teacher can be heard.
    at_full_weight
        Positions of the teachers that know more than the student even of what they are less sure of.
    reason
        For the user.
    given
        Whether the weight was not chosen but given in the request.
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
    spoken: Sequence[Float64] = (),
) -> GateDecision:
    """Choose among 0 and `weights` by cross-validation.

    Parameters
    ----------
    labels
        Classes of the labelled items, shape (n,).
    fit
        Trains a student; see `FitAndPredict`.
    spoken
        What each teacher says of the labelled items, each from tables that did not see it, shape (n, S).

    Returns
    -------
    GateDecision
        Weight 0 where some class has a single labelled item: nothing can be left out, so nothing can be shown.
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
    advantage = _advantage(labels, alone, spoken)
    refused = _far_behind(labels, alone, spoken, scores, advantage)
    if refused is not None:
        return refused
    # Where the teacher is clearly ahead there is nothing to show but that it does no harm, and nothing to choose from.
    tried = parts[:1] if len(weights) == 1 and _ahead(labels, alone, spoken) else parts
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
        number for number, one in enumerate(spoken) if informative_when_unconfident(one, labels, alone)
    )
    return replace(decision, at_full_weight=at_full_weight)


def _advantage(labels: Int64, alone: Float64, spoken: Sequence[Float64]) -> float | None:
    heard = [float(_likely(one, labels).mean()) for one in spoken if informs(one, labels)]
    return max(heard) - float(alone.mean()) if heard else None


def _likely(one: Float64, labels: Int64) -> Float64:
    return np.log(one[np.arange(len(labels)), labels] + _FLOOR)


def _ahead(labels: Int64, alone: Float64, spoken: Sequence[Float64]) -> bool:
    """Whether some teacher's left-out answers are clearly likelier than those of the student alone."""
    differences = [_likely(one, labels) - alone for one in spoken if informs(one, labels)]
    return any(float(d.mean()) > max(SLACK, AHEAD * _error(d)) for d in differences)


def _far_behind(
    labels: Int64,
    alone: Float64,
    spoken: Sequence[Float64],
    scores: dict[float, float],
    advantage: float | None,
) -> GateDecision | None:
    """The refusal of teachers whose left-out answers are all far less likely than those of the student alone."""
    differences = [_likely(one, labels) - alone for one in spoken]
    if not differences or not all(float(d.mean()) < -max(FAR, BEHIND * _error(d)) for d in differences):
        return None
    best = max(differences, key=lambda d: float(d.mean()))
    return GateDecision(
        0.0,
        scores,
        {},
        advantage,
        reason=f"no weight was tried: left-out labels are far less likely under what the teacher says than under what "
        f"the student alone says ({best.mean():+.3f} nats an item, standard error {_error(best):.3f})",
    )


def _error(differences: Float64) -> float:
    return float(differences.std(ddof=1)) / math.sqrt(len(differences))


def informs(spoken: Float64, labels: Int64) -> bool:
    """Whether a teacher's left-out answers tell more of the labels than the shares of the classes do.

    A student that learnt nothing from few labels says the shares, and so does noise: beside such a student noise would
    look as good as a teacher. On six tasks with photographs noise came to .9 standard errors at most, random networks
    to 2.5, and recommended teachers to 3.5 and more.

    Parameters
    ----------
    spoken
        Shape (n, S), rows sum to 1.
    labels
        Shape (n,).
    """
    shares = np.bincount(labels, minlength=spoken.shape[1]) / len(labels)
    gain = np.log(spoken[np.arange(len(labels)), labels] + _FLOOR) - np.log(shares[labels])
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
            f"weight {best:g} makes left-out labels likelier by {mean:.3f} nats an item "
            f"(standard error {error:.3f}) than no teacher"
        )
        if chosen != best:
            reason += f"; {chosen:g}, which is within that error, was taken"
        return GateDecision(chosen, scores, gains, advantage, reason=reason)
    if advantage is not None and advantage >= -SLACK and mean >= -error:
        reason = (
            f"no weight was shown to help on so few labels, but left-out labels are no less likely under what the "
            f"teacher says than under what the student alone says ({advantage:+.3f} nats an item), so weight "
            f"{chosen:g} was taken"
        )
        return GateDecision(chosen, scores, gains, advantage, reason=reason)
    reason = (
        f"no weight makes left-out labels clearly likelier than no teacher: the best, {best:g}, by {mean:+.3f} "
        f"nats an item with a standard error of {error:.3f}"
    )
    if advantage is not None:
        reason += f"; the teacher's own answers make them likelier than the student's by {advantage:+.3f}"
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
