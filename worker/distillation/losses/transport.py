r"""The paper's loss, CE + weight * OT_eps(p_T, p_S; C), on labelled and unlabelled items (arXiv 2204.11526).

With Cuturi's entropy and in units of eps the term is

.. math::
    \frac{1}{\varepsilon} \min_{P \in \Pi(p, q)} \Big( \langle P, C \rangle - \varepsilon H(P) \Big) + H(p)
    = \min_{P \in \Pi(p, q)} KL\big(P \,\|\, \mathrm{diag}(p)\, e^{-C/\varepsilon}\big)

so for :math:`C = -\varepsilon \log T` it is at least :math:`KL(q \| pT)`, and 0 exactly if the student predicts
:math:`q = pT`, the teacher's prediction in the student's classes. In nats it has the same scale as cross-entropy for
every eps.

The engine's objective has :math:`\varepsilon KL(P | p q^\top)` for the entropy. Its gradient at a certain teacher
class is that class's row of costs: it pulls the student to the single nearest class, even if others are nearly as
near. The difference is the student's entropy, :math:`\varepsilon H(q)`, which is subtracted here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from preceptor.contract.losses import TransportLoss
from worker.transport.loss import transport_loss

from ..inputs import Float32, TeacherSignal
from ..teaching.joint_cost import cautious_names, joint_cost, names_affinity, own_classes_cost
from ..teaching.label_map import fit_label_map
from ..teaching.teacher_weights import teacher_weights
from .term import Evidence

SHARES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Choices for the share of the learned head."""
_TOLERANCE: Final = 1e-2
"""L1 error of a marginal; the gradient noise of a step is far larger."""

Float64 = NDArray[np.float64]


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
        Teacher weights for each item, shape (N, M).
    left_out
        See `HeldOutTerm`.
    likeliest
        See `LikeliestClassTerm`.
    temperature
        Divides the student's logits. The term is multiplied by its square, so that the gradient keeps its size
        (Hinton et al., arXiv 1503.02531, 2.1).
    """

    def __init__(
        self,
        predictions: list[Tensor],
        costs: list[Tensor],
        weights: Tensor,
        left_out: Sequence[Float64],
        likeliest: Tensor,
        *,
        eps: float,
        relaxation: float | None = None,
        temperature: float = 1.0,
    ) -> None:
        self._predictions, self._costs, self._weights = predictions, costs, weights
        self._eps, self._relaxation, self._temperature = eps, relaxation, temperature
        self.left_out = left_out
        self.likeliest = likeliest

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        """See `LossTerm`."""
        return self.each(logits, rows).mean()

    def each(self, logits: Tensor, rows: Tensor) -> Tensor:
        """See `ItemwiseTerm`."""
        rows = rows.to(logits.device)
        logits = logits / self._temperature
        log_q = torch.log_softmax(logits, dim=1)
        entropy = -(log_q.exp() * log_q).sum(dim=1)
        total = logits.new_zeros(len(logits))
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
            total = total + self._weights[rows, number] * (each / self._eps - entropy)
        return total * self._temperature**2


def likeliest_classes(mapped: Sequence[Float64], weights: Float32) -> Tensor:
    """The class that the weighted teachers predict, for each item.

    Parameters
    ----------
    mapped
        Predictions of each of M teachers, shape (N, S).
    weights
        Teacher weights, shape (N, M).
    """
    return torch.from_numpy(np.einsum("nm,mns->ns", weights, np.stack(mapped)).argmax(axis=1))


class TransportFamily:
    """`transport`."""

    def prepare(self, evidence: Evidence, settings: TransportLoss) -> TransportTerm:
        """Ground costs from names, joined with the labelled items unless `settings.ground_cost` is "names"."""
        teacher_maps = [
            _named(teacher, evidence, settings)
            if settings.ground_cost == "names"
            else joint_teacher_map(teacher, evidence, settings)
            for teacher in evidence.teachers
        ]
        # A cost from names only uses no labels, so the teachers' coverage is unknown: equal weights.
        return term_of(
            teacher_maps,
            evidence,
            eps=settings.eps,
            relaxation=settings.relaxation,
            equal=settings.ground_cost == "names",
        )


@dataclass(frozen=True)
class TeacherMap:
    """A teacher as one side of the transport problem.

    Attributes
    ----------
    predictions
        p on all items, shape (N, K), float32, rows sum to 1.
    cost
        C, shape (K, S), float32.
    left_out
        Predictions for the labelled items, from tables fitted without them, shape (n, S).
    """

    predictions: Float32
    cost: Float32
    left_out: Float64

    def mapped(self, eps: float) -> Float64:
        """p T, its predictions in the student's classes, shape (N, S)."""
        return self.predictions.astype(np.float64) @ names_affinity(self.cost, eps)


def term_of(
    teacher_maps: Sequence[TeacherMap],
    evidence: Evidence,
    *,
    eps: float,
    relaxation: float | None = None,
    temperature: float = 1.0,
    equal: bool = False,
) -> TransportTerm:
    """The term of these teachers, with the weights of `teacher_weights`, or `equal` weights."""
    mapped = [teacher_map.mapped(eps) for teacher_map in teacher_maps]
    left_out = [teacher_map.left_out for teacher_map in teacher_maps]
    if equal:
        weights = np.full((len(mapped[0]), len(teacher_maps)), 1 / len(teacher_maps), dtype=np.float32)
    else:
        weights = teacher_weights(
            mapped, left_out, evidence.labels[evidence.rows], evidence.classes, evidence.at_full_weight
        )
    device = evidence.device
    return TransportTerm(
        [torch.from_numpy(teacher_map.predictions).to(device) for teacher_map in teacher_maps],
        [torch.from_numpy(teacher_map.cost).to(device) for teacher_map in teacher_maps],
        torch.from_numpy(weights).to(device),
        left_out,
        likeliest_classes(mapped, weights).to(device),
        eps=eps,
        relaxation=relaxation,
        temperature=temperature,
    )


def _named(teacher: TeacherSignal, evidence: Evidence, settings: TransportLoss) -> TeacherMap:
    predicted = softmax(teacher.logits, settings.temperature)
    mapped = predicted[evidence.rows].astype(np.float64) @ names_affinity(teacher.name_cost, settings.eps)
    return TeacherMap(predicted, teacher.name_cost, mapped)


def joint_teacher_map(teacher: TeacherSignal, evidence: Evidence, settings: TransportLoss) -> TeacherMap:
    """A teacher with two heads: its own classes, and the student's classes through the learned label map.

    Mass of the own head is transported at a cost from names and evidence; almost all mass of the learned head stays in
    its class. The share of each head maximises the likelihood of held-out labelled items.
    """
    rows, labels, eps = evidence.rows, evidence.labels[evidence.rows], settings.eps
    predicted = softmax(teacher.logits, settings.temperature)
    own = joint_cost(cautious_names(teacher.name_cost, labels, eps), predicted[rows], labels, eps, evidence.folds)
    learned = fit_label_map(teacher.logits, rows, labels, teacher.name_cost)
    each = np.arange(len(labels))
    share = max(
        SHARES,
        key=lambda rho: float(
            np.log((1 - rho) * own.left_out[each, labels] + rho * learned.left_out[each, labels] + 1e-9).sum()
        ),
    )
    heads: list[tuple[Float32, Float32]] = []
    if share < 1:
        heads.append(((1 - share) * predicted, own.cost))
    if share > 0:
        heads.append(((share * learned.mapped).astype(np.float32), own_classes_cost(evidence.classes, eps)))
    return TeacherMap(
        np.concatenate([head[0] for head in heads], axis=1).astype(np.float32),
        np.concatenate([head[1] for head in heads]),
        (1 - share) * own.left_out + share * learned.left_out,
    )
