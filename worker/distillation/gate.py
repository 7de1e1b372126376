r"""Chooses the weight of the teachers' term on the labelled items; 0, "do not distil", is among the choices.

Each choice trains students without a fold of the labelled items and is scored on that fold, with everything that is
fitted to labels (ground cost, map) fitted without it. The score is the log-likelihood of the left-out labels after
one temperature was fitted for each choice: with few labels a student trained on cross-entropy alone is far too sure,
any soft target would seem to help by making it less so, and a temperature gives every choice that help for free.

A weight above 0 must earn it: its gain over 0, paired item by item, must exceed 1.5 of its standard errors. With fifty
labels the best of several useless weights beats 0 half of the time.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from .evaluation import stratified_folds
from .request import Float32, Int64

WEIGHTS: Final = (0.3, 1.0, 3.0)
"""The choices besides 0; the term is in nats, as cross-entropy is."""
MARGIN: Final = 1.5
"""Standard errors by which the best weight must beat 0: it is the best of several."""

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
    reason
        For the user.
    given
        Whether the weight was not chosen but given in the request.
    """

    weight: float
    scores: dict[float, float] = field(default_factory=dict[float, float])
    gains: dict[float, tuple[float, float]] = field(default_factory=dict[float, tuple[float, float]])
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
) -> GateDecision:
    """Choose among 0 and `weights` by cross-validation.

    Parameters
    ----------
    labels
        Classes of the labelled items, shape (n,).
    fit
        Trains a student; see `FitAndPredict`.

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
    choices = (0.0, *weights)
    everything = np.arange(len(labels), dtype=np.int64)
    likely: dict[float, np.ndarray] = {}
    logits: dict[float, list[Float32]] = {weight: [] for weight in choices}
    for held in parts:
        kept = np.setdiff1d(everything, held)
        for weight in choices:
            logits[weight].append(fit(kept, held, weight))
    order = np.concatenate(parts)
    for weight in choices:
        likely[weight] = tempered_likelihood(np.concatenate(logits[weight]), labels[order])
    scores = {weight: float(values.mean()) for weight, values in likely.items()}
    gains: dict[float, tuple[float, float]] = {}
    for weight in weights:
        difference = likely[weight] - likely[0.0]
        gains[weight] = (
            float(difference.mean()),
            float(difference.std(ddof=1) / math.sqrt(len(difference))),
        )
    return _decide(scores, gains, margin)


def _decide(scores: dict[float, float], gains: dict[float, tuple[float, float]], margin: float) -> GateDecision:
    best = max(gains, key=lambda weight: gains[weight][0])
    mean, error = gains[best]
    if mean > 0 and mean > margin * error:
        reason = (
            f"weight {best:g} makes left-out labels likelier by {mean:.3f} nats an item "
            f"(standard error {error:.3f}) than no teacher"
        )
        return GateDecision(best, scores, gains, reason)
    reason = (
        f"no weight makes left-out labels clearly likelier than no teacher: the best, {best:g}, by {mean:+.3f} "
        f"nats an item with a standard error of {error:.3f}"
    )
    return GateDecision(0.0, scores, gains, reason)


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
