r"""Local-classifier matching (after ReFilled: Ye, Lu, Zhan, "Distilling Cross-Task Knowledge via Relationship
Matching", CVPR 2020, second stage): a nearest-centre classifier in the teacher's space teaches the student.

.. math:: r_{is} = \mathrm{softmax}_s\big(\cos(\phi_T(x_i), c_s) / \tau\big)

:math:`\phi_T` is the input of the teacher's last layer if it exposes it, else its standardised log-predictions, and
:math:`c_s` the mean of the labelled items of student class s. The paper takes centres of the batch; with few labels
a batch holds too few items, so all labelled items are used. Its first stage, matching triplets of embeddings,
needs a student with an embedding and is left out.
"""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from preceptor.contract.losses import RelationalLoss

from ..inputs import Float32, Int64, TeacherSignal
from ..teaching.label_map import softmax_rows, standardised
from .soft_labels import SoftLabelsTerm
from .term import Evidence

Float64 = NDArray[np.float64]

TEMPERATURES: Final = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_DEFAULT: Final = 0.1
"""If a class has one labelled item: no item can be held out for the choice."""


def space(teacher: TeacherSignal) -> Float64:
    """Unit vectors of all items in the teacher's space, centred over the items, shape (N, D)."""
    if teacher.labelled_features is None:
        values = standardised(teacher.logits)
    else:
        parts: list[Float32] = [teacher.labelled_features]
        if teacher.transfer_features is not None:
            parts.append(teacher.transfer_features)
        values = np.concatenate(parts).astype(np.float64)
        values -= values.mean(axis=0)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def cosines(vectors: Float64, sums: Float64) -> Float64:
    """Cosine of each vector to each class's centre, shape (n, S); the length of a centre does not matter."""
    return vectors @ (sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)).T


def class_sums(vectors: Float64, labels: Int64, classes: int) -> Float64:
    """Sum of the vectors of each class, shape (S, D)."""
    sums = np.zeros((classes, vectors.shape[1]))
    np.add.at(sums, labels, vectors)
    return sums


def best_temperature(vectors: Float64, labels: Int64, sums: Float64) -> float:
    """The temperature that maximises the likelihood of each labelled item, held out of its own centre."""
    if np.bincount(labels).min() < 2:
        return _DEFAULT
    near = cosines(vectors, sums)
    each = np.arange(len(labels))
    without = sums[labels] - vectors
    near[each, labels] = (vectors * without).sum(axis=1) / np.maximum(np.linalg.norm(without, axis=1), 1e-12)
    return max(TEMPERATURES, key=lambda tau: float(np.log(softmax_rows(near / tau)[each, labels] + 1e-9).mean()))


def local_classifier(teacher: TeacherSignal, rows: Int64, labels: Int64, classes: int, tau: float | None) -> Float64:
    """r on all items, shape (N, S), rows sum to 1."""
    vectors = space(teacher)
    sums = class_sums(vectors[rows], labels, classes)
    return softmax_rows(cosines(vectors, sums) / (tau or best_temperature(vectors[rows], labels, sums)))


class RelationalFamily:
    """`relational`."""

    def prepare(self, evidence: Evidence, settings: RelationalLoss) -> SoftLabelsTerm:
        """Build each teacher's local classifier; all teachers have the same weight."""
        labels = evidence.labels[evidence.rows]
        mapped = [
            local_classifier(teacher, evidence.rows, labels, evidence.classes, settings.temperature)
            for teacher in evidence.teachers
        ]
        mixed = np.mean(mapped, axis=0).astype(np.float32)
        return SoftLabelsTerm(
            torch.from_numpy(mixed).to(evidence.device), torch.ones(len(mixed), device=evidence.device)
        )
