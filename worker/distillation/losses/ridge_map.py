r"""Soft labels through a linear map from teacher to student that starts from the names' transport plan.

The student learns :math:`q = \mathrm{softmax}(\beta' f(x) W)`, f = standardised log-predictions of the teacher, with W
fitted on the labelled items by ridge regression towards a prior mean:

.. math:: W = \arg\min \|F W - Y\|^2 + \alpha n \|W - \beta W_0\|^2

:math:`W_0` is the affinity of the names, columns normalised and centred. beta = 0 is the plain ridge map, which a pilot
found hard to beat; no labels leave the names alone; many labels leave the data alone.
"""

import numpy as np
import torch
from torch import Tensor

from ..faculty import hearing
from ..ground_cost import names_affinity
from ..request import Float32, Int64, RidgeMapLoss, TeacherSignal
from .term import Evidence

_EPS = 0.05
"""What the names' affinity is taken at, in units of 1 - cos."""


def standardised(logits: Float32, rows: Int64) -> np.ndarray:
    """Log-predictions, each class centred and scaled over all items, shape (N, K), float64.

    Parameters
    ----------
    logits
        Shape (N, K).
    rows
        Labelled rows; used to scale where nothing else is at hand.
    """
    values = logits.astype(np.float64)
    values -= values.max(axis=1, keepdims=True)
    values -= np.log(np.exp(values).sum(axis=1, keepdims=True))
    values -= values.mean(axis=0)
    return values / np.maximum(values.std(axis=0), 1e-6) / np.sqrt(values.shape[1])


def ridge_towards(
    features: np.ndarray, targets: np.ndarray, prior: np.ndarray, penalty: float, start: float
) -> np.ndarray:
    """W of the module's equation.

    Parameters
    ----------
    features
        F, shape (n, K).
    targets
        Y, shape (n, S), centred one-hot.
    prior
        W0, shape (K, S).
    penalty, start
        alpha and beta.
    """
    items, width = features.shape
    residual = targets - features @ (start * prior)
    scale = penalty * items * float(np.square(features).sum(axis=1).mean())
    if width <= items:
        gram = features.T @ features + scale * np.eye(width)
        return start * prior + np.linalg.solve(gram, features.T @ residual)
    # As many unknowns as items suffice (the dual form).
    gram = features @ features.T + scale * np.eye(items)
    return start * prior + features.T @ np.linalg.solve(gram, residual)


def name_prior(cost: Float32) -> np.ndarray:
    """W0 from the ground cost of the names: their affinity, columns centred and of unit length."""
    affinity = names_affinity(cost, _EPS)
    affinity = affinity / np.maximum(affinity.sum(axis=0, keepdims=True), 1e-12)
    affinity -= affinity.mean(axis=0, keepdims=True)
    return affinity / np.maximum(np.linalg.norm(affinity, axis=0, keepdims=True), 1e-12)


def soft_labels(teacher: TeacherSignal, evidence: Evidence, settings: RidgeMapLoss) -> np.ndarray:
    """What the teacher's outputs mean in the student's classes, on all items, shape (N, S)."""
    logits = [teacher.labelled_logits]
    if teacher.transfer_logits is not None:
        logits.append(teacher.transfer_logits)
    features = standardised(np.concatenate(logits), evidence.rows)
    labels = evidence.labels[evidence.rows]
    targets = np.eye(evidence.classes)[labels]
    weights = ridge_towards(
        features[evidence.rows],
        targets - targets.mean(axis=0),
        name_prior(teacher.name_cost),
        settings.penalty,
        settings.prior,
    )
    scores = settings.sharpness * (features @ weights)
    scores -= scores.max(axis=1, keepdims=True)
    spoken = np.exp(scores)
    return spoken / spoken.sum(axis=1, keepdims=True)


class RidgeMapTerm:
    """Cross-entropy to fixed soft labels, shape (N, S), less their entropy."""

    def __init__(self, targets: Tensor) -> None:
        self._targets = targets
        self._entropy = -(targets * targets.clamp_min(1e-12).log()).sum(dim=1)

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        """See `LossTerm`."""
        rows = rows.to(logits.device)
        crossed = -(self._targets[rows] * torch.log_softmax(logits, dim=1)).sum(dim=1)
        return (crossed - self._entropy[rows]).mean()


class RidgeMapFamily:
    """`ridge_map`."""

    def prepare(self, evidence: Evidence, settings: RidgeMapLoss) -> RidgeMapTerm:
        """Fit each teacher's map and mix what they say."""
        spoken = [soft_labels(teacher, evidence, settings) for teacher in evidence.teachers]
        labels = evidence.labels[evidence.rows]
        weights = hearing(spoken, [said[evidence.rows] for said in spoken], labels, evidence.classes)
        mixed = np.einsum("nm,mns->ns", weights, np.stack(spoken)).astype(np.float32)
        return RidgeMapTerm(torch.from_numpy(mixed).to(evidence.device))
