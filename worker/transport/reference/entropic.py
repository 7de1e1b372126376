"""Log-domain Sinkhorn of one item, line by line from the equations."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EntropicPlan:
    """Solution of one entropic problem; the fields have the meaning of those in ``SinkhornResult``."""

    value: float
    dual_value: float
    plan: Array
    f: Array
    g: Array
    violation: float
    iterations: int


def _log_sum_exp(rows: Array) -> Array:
    top = rows.max(axis=1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    return np.log(np.exp(rows - top).sum(axis=1)) + top[:, 0]


def entropic_reference(
    p: ArrayLike,
    q: ArrayLike,
    cost: ArrayLike,
    *,
    eps: float,
    tol: float = 1e-10,
    teacher_relaxation: float | None = None,
    max_iterations: int = 1_000_000,
) -> EntropicPlan:
    r"""Entropic transport between two distributions.

    .. math::
        f_k = -\lambda\varepsilon \log \sum_c q_c e^{(g_c - C_{kc})/\varepsilon}, \qquad
        g_c = -\varepsilon \log \sum_k p_k e^{(f_k - C_{kc})/\varepsilon}, \qquad
        \lambda = \frac{\rho}{\rho + \varepsilon}

    Parameters
    ----------
    p, q : array, shapes (K,) and (S,)
        Distributions, float64.
    cost : array, shape (K, S)
    eps, tol, teacher_relaxation, max_iterations
        As in :func:`worker.transport.sinkhorn`.

    Returns
    -------
    EntropicPlan

    Raises
    ------
    RuntimeError
        Not converged within ``max_iterations``.
    """
    p, q = np.asarray(p, np.float64), np.asarray(q, np.float64)
    cost = np.asarray(cost, np.float64)
    power = 1.0 if teacher_relaxation is None else teacher_relaxation / (teacher_relaxation + eps)
    with np.errstate(divide="ignore"):
        log_p, log_q = np.log(p), np.log(q)
    f, g = np.zeros_like(p), np.zeros_like(q)
    violation, iteration = np.inf, 0
    while violation > tol:
        iteration += 1
        if iteration > max_iterations:
            raise RuntimeError(f"violation {violation:.2e} after {max_iterations} iterations, wanted {tol:.2e}")
        f = -power * eps * _log_sum_exp(log_q + (g - cost) / eps)
        renewed = -eps * _log_sum_exp(log_p + (f - cost.T) / eps)
        # q exp((g - g') / eps) is the student marginal of the plan before the student's update.
        violation = float(np.abs(np.expm1(np.where(q > 0, (g - renewed) / eps, 0.0)) * q).sum())
        g = renewed
    plan = np.exp(log_p[:, None] + log_q + (f[:, None] + g - cost) / eps)
    rho = teacher_relaxation
    teacher = f if rho is None else -rho * np.expm1(-f / rho)
    return EntropicPlan(float((plan * cost).sum()), float(p @ teacher + q @ g), plan, f, g, violation, iteration)
