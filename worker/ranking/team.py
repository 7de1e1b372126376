"""A team: after the first teacher, the teachers that most improve the classes served worst so far."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .blend import CONTROL
from .scoring import Scored

Matrix = NDArray[np.float64]

LARGEST: Final = 5
_MIN_IMPROVEMENT: Final = 0.02
"""A teacher joins if it lowers the team's loss by at least this share."""
_NAMES_EPS: Final = 0.05
"""Difference of mean ground cost that changes a teacher's weight for a class by a factor of e."""


@dataclass(frozen=True)
class Member:
    """A teacher of the team.

    Attributes
    ----------
    number
        Its position among the given teachers.
    loss
        The team's mean loss over the classes after it has joined.
    weights
        Its weight for every class, shape (S,); the weights of a team sum to 1 for each class.
    """

    number: int
    loss: float
    weights: NDArray[np.float64]


def class_losses(scored: Sequence[Scored], targets: NDArray[np.int64] | None, classes: int) -> tuple[Matrix, float]:
    """Loss on every student class with every teacher, shape (T, S), and the loss that changes weights by a factor of e.

    After a blend: minus the mean log-likelihood of the class's items under the transport map, in nats. Otherwise the
    mean ground cost of the mass that the class receives in the teacher's plan.
    """
    losses = np.empty((len(scored), classes))
    for row, one in zip(losses, scored, strict=True):
        control = one.members.get(CONTROL)
        if control is not None and control.influence is not None and targets is not None:
            items = -(control.value + control.influence)
            sums = np.bincount(targets, items, minlength=classes)
            counts = np.bincount(targets, minlength=classes)
            row[:] = np.where(counts > 0, sums / np.maximum(counts, 1), items.mean())
        else:
            mass = one.plan.sum(axis=0)
            reached = (one.plan * one.ground_cost).sum(axis=0) / np.maximum(mass, 1e-12)
            row[:] = np.where(mass > 1e-9, reached, one.ground_cost.min(axis=0))
    return losses, 1.0 if any(CONTROL in one.members for one in scored) else _NAMES_EPS


def choose_team(losses: Matrix, prior: NDArray[np.floating], first: int, unit: float) -> list[Member]:
    r"""Greedily lower :math:`\sum_c b_c \min_{t \in team} \ell_{tc}` (facility location).

    The gain is submodular, so the greedy team reaches at least 1 - 1/e of the largest possible gain (Nemhauser,
    Wolsey, Fisher, Math. Programming 14, 1978).

    Parameters
    ----------
    losses
        Shape (T, S).
    prior
        b, shape (S,), sum 1.
    first
        The leader: position of the first teacher of the ranking.
    unit
        Loss that changes a weight by a factor of e.

    Returns
    -------
    list of Member
        At most `LARGEST` members, the leader first.
    """
    chosen = [first]
    totals = [float(losses[first] @ prior)]
    best = losses[first]
    while len(chosen) < min(LARGEST, len(losses)):
        with_each = np.minimum(best, losses) @ prior
        with_each[chosen] = np.inf
        candidate = int(with_each.argmin())
        if totals[-1] - with_each[candidate] < _MIN_IMPROVEMENT * max(totals[-1], 1e-12):
            break
        chosen.append(candidate)
        totals.append(float(with_each[candidate]))
        best = np.minimum(best, losses[candidate])
    weights = np.exp(-(losses[chosen] - losses[chosen].min(axis=0)) / unit)
    weights /= weights.sum(axis=0)
    return [Member(number, total, row) for number, total, row in zip(chosen, totals, weights, strict=True)]
