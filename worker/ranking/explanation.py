"""Explanation of a teacher's cost: for each student class, the teacher classes that its mass comes from."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from preceptor.contract.recommendations import ClassPlan, TransportSource

_NO_MASS: Final = 1e-9
"""Shares of the plan below this are rounding errors."""


def explain(
    plan: NDArray[np.floating],
    cost: NDArray[np.floating],
    teacher_labels: Sequence[str],
    student_labels: Sequence[str],
    *,
    sources: int,
    near: float,
) -> list[ClassPlan]:
    """Describe a transport plan class by class.

    Parameters
    ----------
    plan
        Shape (K, S), non-negative, sum 1: mass from teacher class k to student class c.
    cost
        Ground cost, shape (K, S).
    sources
        Number of teacher classes listed for each student class, in order of decreasing mass.
    near
        A student class is covered if the ground cost to some teacher class is at most this.
    """
    rows: list[ClassPlan] = []
    nearest = cost.min(axis=0)
    for column, label in enumerate(student_labels):
        masses = plan[:, column]
        mass = float(masses.sum())
        # By mass, then by cost: among equal masses the nearer class explains more.
        order = np.lexsort((cost[:, column], -masses))[:sources]
        rows.append(
            ClassPlan(
                label=label,
                mass=_rounded(mass),
                cost=_rounded(float(masses @ cost[:, column]) / mass if mass > _NO_MASS else float(nearest[column])),
                covered=bool(nearest[column] <= near),
                sources=[
                    TransportSource(
                        label=teacher_labels[row],
                        mass=_rounded(float(masses[row])),
                        cost=_rounded(float(cost[row, column])),
                    )
                    for row in (int(number) for number in order)
                    if masses[row] > _NO_MASS
                ],
            )
        )
    return rows


def _rounded(value: float) -> float:
    return round(value, 6)
