"""Lower bounds on the transport cost of every teacher of a zoo, from one product with the vocabulary.

Cosine cost between unit vectors is half a squared Euclidean distance, which the centroid bound uses.
All bounds hold for any priors; a pass over the zoo reads each label reference once.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.transport.label_index import Zoo

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class VocabularyCost:
    """Ground cost between every vocabulary row and every student label.

    Attributes
    ----------
    cost : ndarray, shape (V, S), float32
        max(0, 1 - cosine). Bounds, solver and brute force all read this one array.
    nearest : ndarray, shape (V,), float32
        Row minimum.
    likeness : ndarray, shape (V,), float32
        Product with the student's mean embedding.
    """

    cost: Floats
    nearest: Floats
    likeness: Floats


def vocabulary_cost(zoo: Zoo, student: Floats, prior: NDArray[np.float64]) -> VocabularyCost:
    """One product of the vocabulary with the student's unit embeddings (S, d)."""
    mean = (prior @ student.astype(np.float64)).astype(np.float32)
    product = zoo.vocabulary @ np.concatenate([student, mean[None]]).T
    likeness = np.ascontiguousarray(product[:, -1])
    cost = np.maximum(1.0 - product[:, :-1], 0.0).astype(np.float32)
    return VocabularyCost(np.ascontiguousarray(cost), cost.min(axis=1), likeness)


@dataclass(frozen=True, slots=True)
class Gather:
    """Label references of some teachers, laid out one teacher after the other."""

    index: NDArray[np.int64]
    weights: NDArray[np.float64]
    members: NDArray[np.int32]
    heads: NDArray[np.int64]

    @classmethod
    def of(cls, zoo: Zoo, positions: NDArray[np.int64]) -> "Gather":
        """The references of the teachers at ``positions``."""
        counts = zoo.counts[positions]
        heads = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
        index = np.repeat(zoo.starts[positions] - heads, counts) + np.arange(int(counts.sum()))
        return cls(index, zoo.weights[index].astype(np.float64), zoo.members[index], heads)

    def expectation(self, column: NDArray[np.floating]) -> NDArray[np.float64]:
        """Prior-weighted mean of a per-row quantity (V,) over each teacher's labels; shape (M,)."""
        return np.add.reduceat(self.weights * column[self.members], self.heads)


def student_side(gather: Gather, cost: Floats, prior: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Teacher side free: :math:`\sum_c b_c \min_k C_{kc}`, the coverage cost itself; shape (M,)."""
    total = np.zeros(gather.heads.shape[0])
    for column, share in zip(cost.T, prior, strict=True):
        total += share * np.minimum.reduceat(np.ascontiguousarray(column)[gather.members], gather.heads)
    return total


def centroid(
    zoo: Zoo, gather: Gather, positions: NDArray[np.int64], likeness: Floats, student_concentration: float
) -> NDArray[np.float64]:
    r"""Bound from means and spreads alone.

    .. math::
        OT \ge 1 - \langle m_a, m_b\rangle - \sqrt{(1 - |m_a|^2)(1 - |m_b|^2)}

    since the cost is 1 - <x, y> on unit vectors, and the covariance of a coupling is at most the product of the
    two standard deviations (Cauchy-Schwarz). Gelbrich's bound with only the traces known.
    """
    spread = np.sqrt(np.clip(1.0 - zoo.concentrations[positions], 0, None) * max(0.0, 1.0 - student_concentration))
    return 1.0 - gather.expectation(likeness) - spread


def potential(
    gather: Gather, cost: Floats, prior: NDArray[np.float64], g: NDArray[np.float64]
) -> NDArray[np.float64]:
    r"""Bound from any student potential g: :math:`\sum_k a_k \min_c (C_{kc} - g_c) + \sum_c b_c g_c`; shape (M,)."""
    return gather.expectation((cost - g.astype(np.float32)).min(axis=1)) + float(prior @ g)
