"""Cross-entropy to soft labels in the student's own classes: the loss of every family that maps the teacher first."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..teaching.teacher_weights import teacher_weights
from .term import Evidence


class SoftLabelsTerm:
    """Cross-entropy to fixed soft labels, less their entropy, weighted by item.

    Parameters
    ----------
    targets
        Shape (N, S), rows sum to 1.
    weights
        Shape (N,).

    Attributes
    ----------
    likeliest
        See `LikeliestClassTerm`.
    """

    def __init__(self, targets: Tensor, weights: Tensor) -> None:
        self._targets, self._weights = targets, weights
        self.likeliest = targets.argmax(dim=1)
        self._entropy = -(targets * targets.clamp_min(1e-12).log()).sum(dim=1)

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        """See `LossTerm`."""
        return self.each(logits, rows).mean()

    def each(self, logits: Tensor, rows: Tensor) -> Tensor:
        """See `ItemwiseTerm`."""
        rows = rows.to(logits.device)
        crossed = -(self._targets[rows] * torch.log_softmax(logits, dim=1)).sum(dim=1)
        return self._weights[rows] * (crossed - self._entropy[rows])


def joint_weights(
    evidence: Evidence, mapped: Sequence[NDArray[np.float64]], left_out: Sequence[NDArray[np.float64]]
) -> SoftLabelsTerm:
    """The teachers' predictions, averaged by teacher weight, as soft labels.

    Parameters
    ----------
    mapped
        Predictions of each of M teachers for all items in the student's classes, shape (N, S).
    left_out
        The same for the labelled items, from maps fitted without them, shape (n, S).
    """
    weights = teacher_weights(
        mapped, left_out, evidence.labels[evidence.rows], evidence.classes, evidence.at_full_weight
    )
    total = weights.sum(axis=1)
    mixed = np.einsum("nm,mns->ns", weights / np.maximum(total, 1e-9)[:, None], np.stack(mapped))
    mixed = np.maximum(mixed, 1e-9)
    mixed /= mixed.sum(axis=1, keepdims=True)
    return SoftLabelsTerm(
        torch.from_numpy(mixed.astype(np.float32)).to(evidence.device),
        torch.from_numpy(total.astype(np.float32)).to(evidence.device),
    )
