"""Optimal couplings in the float64 arrays that the estimators use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from worker.assessment.estimators.evidence import Matrix, Vector


@dataclass(frozen=True, eq=False)
class OptimalCoupling:
    """Value of an exact transport problem and its dual potentials, ``value = a . f + b . g``."""

    value: float
    f: Vector
    g: Vector


def optimal_coupling(a: Vector, b: Vector, cost: Matrix) -> OptimalCoupling:
    """Solve ``min <P, C>`` over couplings P of `a` (K,) and `b` (S,), exactly.

    Raises
    ------
    ValueError
        If the shapes disagree.
    """
    from worker.transport.exact import exact_transport

    plan = exact_transport(a, b, cost)
    f, g = np.asarray(plan.f, dtype=np.float64), np.asarray(plan.g, dtype=np.float64)
    return OptimalCoupling(float(plan.value), f, g)
