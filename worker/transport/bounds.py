"""Lower bounds on the transport cost of every teacher of a zoo, from one product with the vocabulary.

The cosine cost of unit vectors is half a squared Euclidean distance, which the centroid bound uses. All bounds hold for
any priors; a pass over the zoo reads each label reference once.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.transport import _fused
from worker.transport._fused import zoo as fused
from worker.transport.index_state import Zoo

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Positions = NDArray[np.int64]
_NEVER_LEAST = np.float32(-1e30)


@dataclass(frozen=True, slots=True)
class VocabularyCost:
    """Costs of each vocabulary row for a query, in one array.

    Attributes
    ----------
    table : ndarray, shape (V, width), float32
        Columns 0..S-1: the ground cost to each student label, max(0, 1 - cosine). Column S: product with the
        student's mean embedding. Column S + 1: the smallest cost. The rest is padding. Bounds, solver and brute force
        all read this array.
    labels : int
        S.
    """

    table: Floats
    labels: int

    @property
    def cost(self) -> Floats:
        """The costs, (V, S): a view."""
        return self.table[:, : self.labels]


def vocabulary_cost(zoo: Zoo, student: Floats, prior: Doubles) -> VocabularyCost:
    """One product of the vocabulary with the student's unit embeddings (S, d) and their mean."""
    labels, dimension = student.shape
    width = -(-(labels + 2) // fused.WIDTH) * fused.WIDTH
    packed = np.zeros((dimension, width), dtype=np.float32)
    packed[:, :labels] = student.T
    packed[:, labels] = prior @ student.astype(np.float64)
    if _fused.available():
        return VocabularyCost(fused.project(zoo.vocabulary, packed, labels), labels)
    table = zoo.vocabulary @ packed
    np.maximum(1.0 - table[:, :labels], 0.0, out=table[:, :labels])
    table[:, :labels].min(axis=1, out=table[:, labels + 1])
    return VocabularyCost(table, labels)


@dataclass(frozen=True, slots=True)
class FirstBounds:
    """Bounds of the first pass, each of shape (M,).

    Attributes
    ----------
    coverage : ndarray
        Teacher side free, sum_c b_c min_k C_kc: a bound, and equal to the coverage cost.
    nearest : ndarray
        Student side free, sum_k a_k min_c C_kc.
    centroid : ndarray
        From means and variances only.
    """

    coverage: Doubles
    nearest: Doubles
    centroid: Doubles

    @property
    def best(self) -> Doubles:
        """The largest of the three."""
        return np.maximum(np.maximum(self.coverage, self.nearest), self.centroid)


def first_bounds(
    zoo: Zoo, positions: Positions, costs: VocabularyCost, prior: Doubles, student_concentration: float
) -> FirstBounds:
    r"""One pass over the label references of the teachers at ``positions``.

    The centroid bound is

    .. math::
        OT \ge 1 - \langle m_a, m_b\rangle - \sqrt{(1 - |m_a|^2)(1 - |m_b|^2)}

    since the cost is 1 - <x, y> on unit vectors, and the trace of a coupling's covariance is at most the product of the
    standard deviations (Cauchy-Schwarz): Gelbrich's bound (1990) if only the traces are known.

    Parameters
    ----------
    student_concentration : float
        Squared norm of the student's mean embedding.
    """
    if _fused.available():
        coverage, likeness, nearest = fused.bound(
            costs.table, zoo.members, zoo.weights, zoo.starts[positions], zoo.counts[positions], prior
        )
    else:
        references = _References.of(zoo, positions)
        coverage = references.coverage(costs.cost, prior)
        likeness = references.expectation(costs.table[:, costs.labels])
        nearest = references.expectation(costs.table[:, costs.labels + 1])
    spread = np.clip(1.0 - zoo.concentrations[positions], 0.0, None) * max(0.0, 1.0 - student_concentration)
    return FirstBounds(coverage, nearest, 1.0 - likeness - np.sqrt(spread))


def potential_bound(zoo: Zoo, positions: Positions, costs: VocabularyCost, prior: Doubles, g: Doubles) -> Doubles:
    r"""Bound from any student potential g, (M,): :math:`\sum_k a_k \min_c (C_{kc} - g_c) + \sum_c b_c g_c`.

    Weak duality: the inner minimum is the largest f that is feasible with g. A g that is good for one teacher is good
    for every teacher with similar labels.
    """
    single = g.astype(np.float32)
    if _fused.available():
        padded = np.full(costs.table.shape[1], _NEVER_LEAST)
        padded[: costs.labels] = single
        sums = fused.reduce(costs.table, padded, zoo.members, zoo.weights, zoo.starts[positions], zoo.counts[positions])
    else:
        sums = _References.of(zoo, positions).expectation((costs.cost - single).min(axis=1))
    return sums + float(prior @ single)


@dataclass(frozen=True, slots=True)
class _References:
    """Label references of some teachers, concatenated in order of the teachers, for numpy's segment sums."""

    weights: Doubles
    members: NDArray[np.int32]
    heads: Positions

    @classmethod
    def of(cls, zoo: Zoo, positions: Positions) -> "_References":
        counts = zoo.counts[positions]
        heads = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
        index = np.repeat(zoo.starts[positions] - heads, counts) + np.arange(int(counts.sum()))
        return cls(zoo.weights[index].astype(np.float64), zoo.members[index], heads)

    def expectation(self, column: Floats) -> Doubles:
        return np.add.reduceat(self.weights * column[self.members], self.heads)

    def coverage(self, cost: Floats, prior: Doubles) -> Doubles:
        total = np.zeros(self.heads.shape[0])
        for column, share in zip(cost.T, prior, strict=True):
            total += share * np.minimum.reduceat(np.ascontiguousarray(column)[self.members], self.heads)
        return total
