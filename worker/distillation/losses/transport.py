r"""The paper's loss, CE + weight * OT_eps(p_T, p_S; C), on labelled and unlabelled items (arXiv 2204.11526).

With Cuturi's entropy and in units of eps the term is

.. math::
    \frac{1}{\varepsilon} \min_{P \in \Pi(p, q)} \Big( \langle P, C \rangle - \varepsilon H(P) \Big) + H(p)
    = \min_{P \in \Pi(p, q)} KL\big(P \,\|\, \mathrm{diag}(p)\, e^{-C/\varepsilon}\big)

so for :math:`C = -\varepsilon \log T` it is at least :math:`KL(q \| pT)`, and 0 exactly where the student says
:math:`q = pT`: what the teacher's prediction means in the student's classes. In nats it weighs the same as
cross-entropy, whatever eps.

The engine's objective has :math:`\varepsilon KL(P | p q^\top)` for the entropy. Its gradient at an undisputed
teacher class is that class's row of costs: it pulls the student to the single nearest class, however many are
nearly as near. The difference is the student's entropy, :math:`\varepsilon H(q)`, which is subtracted here.
"""

from typing import Final

import numpy as np
import torch
from torch import Tensor

from preceptor.contract.distillations import TransportLoss
from worker.transport.loss import transport_loss

from ..faculty import hearing, mapped
from ..ground_cost import joint_cost, names_affinity
from ..request import Float32
from .term import Evidence

_TOLERANCE: Final = 1e-3


def softmax(logits: Float32, temperature: float) -> Float32:
    """Softmax of each row over a temperature, float32."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    values = np.exp(scaled)
    return (values / values.sum(axis=1, keepdims=True)).astype(np.float32)


class TransportTerm:
    """The term of one run.

    Parameters
    ----------
    predictions
        For each of M teachers, p on all labelled and then all transfer items, shape (N, K).
    costs
        Their ground costs, shape (K, S).
    weights
        How much each teacher is heard for each item, shape (N, M), rows sum to 1.
    """

    def __init__(
        self,
        predictions: list[Tensor],
        costs: list[Tensor],
        weights: Tensor,
        *,
        eps: float,
        relaxation: float | None,
    ) -> None:
        self._predictions, self._costs, self._weights = predictions, costs, weights
        self._eps, self._relaxation = eps, relaxation

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        """See `LossTerm`."""
        rows = rows.to(logits.device)
        log_q = torch.log_softmax(logits, dim=1)
        total = (log_q.exp() * log_q).sum(dim=1).mean()
        for number, (predictions, cost) in enumerate(zip(self._predictions, self._costs, strict=True)):
            each = transport_loss(
                logits,
                predictions[rows],
                cost,
                eps=self._eps,
                tol=_TOLERANCE,
                teacher_relaxation=self._relaxation,
                reduction="none",
            )
            total = total + (self._weights[rows, number] * each).mean() / self._eps
        return total


class TransportFamily:
    """`transport`."""

    def prepare(self, evidence: Evidence, settings: TransportLoss) -> TransportTerm:
        """Ground costs from names, joined with the labelled items where `settings.ground_cost` says so."""
        predictions: list[Float32] = []
        costs: list[Float32] = []
        rows, labels = evidence.rows, evidence.labels[evidence.rows]
        for teacher in evidence.teachers:
            logits = [teacher.labelled_logits]
            if teacher.transfer_logits is not None:
                logits.append(teacher.transfer_logits)
            said = softmax(np.concatenate(logits), settings.temperature)
            cost = teacher.name_cost
            if settings.ground_cost == "joint":
                cost = joint_cost(cost, said[rows], labels, settings.eps, evidence.folds)
            predictions.append(said)
            costs.append(cost)
        spoken = [
            mapped(said, names_affinity(cost, settings.eps)) for said, cost in zip(predictions, costs, strict=True)
        ]
        weights = hearing(spoken, [said[rows] for said in spoken], labels, evidence.classes)
        device = evidence.device
        return TransportTerm(
            [torch.from_numpy(said).to(device) for said in predictions],
            [torch.from_numpy(cost).to(device) for cost in costs],
            torch.from_numpy(weights).to(device),
            eps=settings.eps,
            relaxation=settings.relaxation,
        )
