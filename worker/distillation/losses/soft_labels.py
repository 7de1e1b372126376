"""Cross-entropy to soft labels in the student's own classes: what every loss that maps the teacher first comes to."""

import torch
from torch import Tensor


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
    told
        See `TellingTerm`.
    """

    def __init__(self, targets: Tensor, weights: Tensor) -> None:
        self._targets, self._weights = targets, weights
        self.told = targets.argmax(dim=1)
        self._entropy = -(targets * targets.clamp_min(1e-12).log()).sum(dim=1)

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        """See `LossTerm`."""
        rows = rows.to(logits.device)
        crossed = -(self._targets[rows] * torch.log_softmax(logits, dim=1)).sum(dim=1)
        return (self._weights[rows] * (crossed - self._entropy[rows])).mean()
