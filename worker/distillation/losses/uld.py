r"""Distance of sorted predictions (universal logit distillation, Boizard et al., arXiv 2402.12030, eq. 4).

.. math:: \sum_j | p_{(j)} - q_{(j)} |, \qquad \text{the shorter padded with zeros.}

It is the exact transport between the two *without* a ground cost: all classes are equally far apart. It
matches confidence and ignores class identity: a weak baseline.
"""

import torch
from torch import Tensor

from preceptor.contract.losses import UldLoss

from .term import Evidence


class UldTerm:
    """The term of one run.

    Parameters
    ----------
    sorted_predictions
        For each teacher, its predictions on all items in descending order, cut or padded to S, shape (N, S).
    beyond
        For each teacher, the mass of the predictions that were cut, shape (N,).
    """

    def __init__(self, sorted_predictions: list[Tensor], beyond: list[Tensor]) -> None:
        self._sorted, self._beyond = sorted_predictions, beyond

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        """See `LossTerm`; not in nats."""
        rows = rows.to(logits.device)
        ours = torch.softmax(logits, dim=1).sort(dim=1, descending=True).values
        total = logits.new_zeros(())
        for theirs, beyond in zip(self._sorted, self._beyond, strict=True):
            total = total + ((ours - theirs[rows]).abs().sum(dim=1) + beyond[rows]).mean()
        return total / len(self._sorted)


class UldFamily:
    """`uld`."""

    def prepare(self, evidence: Evidence, settings: UldLoss) -> UldTerm:
        """Sort the teachers' predictions."""
        first: list[Tensor] = []
        beyond: list[Tensor] = []
        for teacher in evidence.teachers:
            logits = torch.from_numpy(teacher.logits).to(evidence.device)
            predicted = torch.softmax(logits / settings.temperature, dim=1).sort(dim=1, descending=True).values
            kept = predicted[:, : evidence.classes]
            beyond.append(predicted[:, evidence.classes :].sum(dim=1))
            first.append(torch.nn.functional.pad(kept, (0, evidence.classes - kept.shape[1])))
        return UldTerm(first, beyond)
