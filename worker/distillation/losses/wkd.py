r"""Transport at a cost from the teacher's space (WKD-L: Lv, Yang, Li, "Wasserstein Distance Rivals Kullback-Leibler
Divergence for Knowledge Distillation", NeurIPS 2024, arXiv 2412.08139), generalised to different label sets.

.. math:: C_{ks} = 1 - \exp\big(-\kappa\,(1 - IR_{ks})\big), \qquad
          IR_{ks} = \cos\Big(\sum_i p_{ik}\,\bar\phi_T(x_i),\ \sum_{y_i = s} \bar\phi_T(x_i)\Big)

The paper compares the classes of one label set by the teacher's features of their items (by CKA, or by the cosine of
class centres). Here the centre of a teacher class is the mean of all items, weighted by the teacher's prediction, and
that of a student class the mean of its labelled items. :math:`\bar\phi_T` is the teacher's space (see `relational`),
less its mean over all items: the centres of an uncertain teacher are near that mean.

The transport term is that of `transport`, with its entropy and its teacher weights. The paper treats the
labelled class separately; a teacher of other classes has none, so that part is omitted.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from preceptor.contract.losses import WkdLoss

from ..inputs import Float32, Int64, TeacherSignal
from .relational import class_sums, cosines, space
from .term import Evidence
from .transport import TeacherMap, TransportTerm, softmax, term_of

Float64 = NDArray[np.float64]

KAPPAS: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_DEFAULT: Final = 1.0
"""If a class has one labelled item: no item can be held out for the choice."""


def cost_of(near: Float64, kappa: float) -> Float64:
    """C of the interrelation of classes; 0 where it is 1, below 1 everywhere."""
    return 1 - np.exp(-kappa * (1 - near))


@dataclass(frozen=True)
class Interrelation:
    """Similarity of the classes of a teacher and of a student in the teacher's space.

    Attributes
    ----------
    near
        IR, shape (K, S), in -1..1.
    without
        IR of each teacher class and the class of each labelled item, computed without that item, shape (K, n); 0 if the
        class has no other item.
    """

    near: Float64
    without: Float64


def interrelation(vectors: Float64, predicted: Float32, rows: Int64, labels: Int64, classes: int) -> Interrelation:
    """Compare the centres of the teacher's and of the student's classes.

    Parameters
    ----------
    vectors
        All items in the teacher's space, shape (N, D).
    predicted
        The teacher's predictions on them, shape (N, K).
    rows, labels
        The labelled items that may be used, and their classes, shape (n,).
    """
    centred = vectors - vectors.mean(axis=0)
    theirs = predicted.T.astype(np.float64) @ centred
    theirs /= np.maximum(np.linalg.norm(theirs, axis=1, keepdims=True), 1e-12)
    seen = centred[rows]
    sums = class_sums(seen, labels, classes)
    without = sums[labels] - seen
    # A difference that should be 0 is rounding error, and would have a direction.
    without[np.bincount(labels, minlength=classes)[labels] < 2] = 0.0
    return Interrelation(cosines(theirs, sums), cosines(theirs, without))


def left_out(predicted: Float64, labels: Int64, found: Interrelation, kappa: float, eps: float) -> Float64:
    """The teacher's predictions for the labelled items, each at a cost fitted without it, shape (n, S), rows sum to 1.

    Without an item one class's column of the cost changes, and with it the sum of every row of exp(-C/eps).

    Parameters
    ----------
    predicted
        The teacher's predictions on the labelled items, shape (n, K).
    """
    each = np.arange(len(labels))
    kernel = np.exp(-cost_of(found.near, kappa) / eps)
    column = np.exp(-cost_of(found.without, kappa) / eps).T
    shares = predicted / (kernel.sum(axis=1) - kernel[:, labels].T + column)
    mapped = shares @ kernel
    mapped[each, labels] = (shares * column).sum(axis=1)
    return mapped


def wkd_teacher_map(teacher: TeacherSignal, evidence: Evidence, settings: WkdLoss) -> TeacherMap:
    """A teacher's predictions, and the cost of its classes to the student's."""
    rows, labels, eps = evidence.rows, evidence.labels[evidence.rows], settings.eps
    predicted = softmax(teacher.logits, settings.temperature)
    # The class centres use the teacher's predictions at temperature 1, independent of the loss's temperature.
    found = interrelation(space(teacher), softmax(teacher.logits, 1.0), rows, labels, evidence.classes)
    seen = predicted[rows].astype(np.float64)

    def likely(kappa: float) -> float:
        mapped = left_out(seen, labels, found, kappa, eps)
        return float(np.log(mapped[np.arange(len(labels)), labels] + 1e-9).sum())

    kappa = settings.kappa
    if kappa is None:
        alone = np.bincount(labels, minlength=evidence.classes).min() < 2
        kappa = _DEFAULT if alone else max(KAPPAS, key=likely)
    cost = cost_of(found.near, kappa).astype(np.float32)
    return TeacherMap(predicted, cost, left_out(seen, labels, found, kappa, eps))


class WkdFamily:
    """`wkd`."""

    def prepare(self, evidence: Evidence, settings: WkdLoss) -> TransportTerm:
        """Costs from the class centres in each teacher's space."""
        teacher_maps = [wkd_teacher_map(teacher, evidence, settings) for teacher in evidence.teachers]
        return term_of(teacher_maps, evidence, eps=settings.eps, temperature=settings.temperature)
