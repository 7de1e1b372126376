"""Soft labels through the learned label map (see `label_map`): the baseline that transport has to beat."""

import numpy as np
import torch
from torch import Tensor

from ..faculty import hearing
from ..label_map import fit_label_map
from ..request import RidgeMapLoss
from .term import Evidence


class RidgeMapTerm:
    """Cross-entropy to fixed soft labels, less their entropy, weighted by item.

    Parameters
    ----------
    targets
        Shape (N, S), rows sum to 1.
    weights
        Shape (N,).
    """

    def __init__(self, targets: Tensor, weights: Tensor) -> None:
        self._targets, self._weights = targets, weights
        self._entropy = -(targets * targets.clamp_min(1e-12).log()).sum(dim=1)

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        """See `LossTerm`."""
        rows = rows.to(logits.device)
        crossed = -(self._targets[rows] * torch.log_softmax(logits, dim=1)).sum(dim=1)
        return (self._weights[rows] * (crossed - self._entropy[rows])).mean()


class RidgeMapFamily:
    """`ridge_map`."""

    def prepare(self, evidence: Evidence, settings: RidgeMapLoss) -> RidgeMapTerm:
        """Fit each teacher's map and mix what they say."""
        rows, labels = evidence.rows, evidence.labels[evidence.rows]
        maps = [
            fit_label_map(teacher.logits, rows, labels, teacher.name_cost, use_names=settings.use_names)
            for teacher in evidence.teachers
        ]
        weights = hearing([m.spoken for m in maps], [m.left_out for m in maps], labels, evidence.classes)
        total = weights.sum(axis=1)
        shares = weights / np.maximum(total, 1e-9)[:, None]
        mixed = np.einsum("nm,mns->ns", shares, np.stack([m.spoken for m in maps]))
        mixed = np.maximum(mixed, 1e-9)
        mixed /= mixed.sum(axis=1, keepdims=True)
        device = evidence.device
        return RidgeMapTerm(
            torch.from_numpy(mixed.astype(np.float32)).to(device),
            torch.from_numpy(total.astype(np.float32)).to(device),
        )
