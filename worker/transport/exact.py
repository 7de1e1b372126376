"""Exact transport of small problems, by POT's network simplex with little overhead.

``ot.emd2`` spends about 100 to 300 us per call on checks and backends; the simplex itself takes about 10 us for the
sizes of label sets. The raw entry point is private to POT, so only this module calls it; if it has moved, the public
function is used.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MAX_PIVOTS = 10_000_000
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ExactPlan:
    """An optimal coupling and its certificate.

    Attributes
    ----------
    value : float
        The transport cost, ``(plan * cost).sum()``.
    plan : ndarray, shape (K, S), float64
        Non-negative.
    f, g : ndarray, shapes (K,) and (S,), float64
        Dual potentials with ``f[:, None] + g <= cost`` up to rounding and ``f @ a + g @ b == value``.
    """

    value: float
    plan: Array
    f: Array
    g: Array


def _find_simplex() -> Callable[[Array, Array, Array], tuple[Array, float, Array, Array, int]]:
    """The raw simplex of the installed POT, or its public function with the same results."""
    ot: Any = importlib.import_module("ot")
    try:
        raw: Any = importlib.import_module("ot.lp.emd_wrap").emd_c
        raw(np.ones(1), np.ones(1), np.zeros((1, 1)), 10, 1)
    except (ImportError, AttributeError, TypeError, ValueError):

        def public(a: Array, b: Array, cost: Array) -> tuple[Array, float, Array, Array, int]:
            plan, log = ot.emd(a, b, cost, numItermax=_MAX_PIVOTS, log=True)
            return plan, float(log["cost"]), log["u"], log["v"], int(log["result_code"])

        return public

    def direct(a: Array, b: Array, cost: Array) -> tuple[Array, float, Array, Array, int]:
        return raw(a, b, cost, _MAX_PIVOTS, 1)

    return direct


_simplex = _find_simplex()


def _marginal(weights: ArrayLike, name: str, size: int) -> Array:
    weights = np.ascontiguousarray(weights, dtype=np.float64)
    if weights.shape != (size,):
        raise ValueError(f"{name} has shape {weights.shape}, expected ({size},)")
    total = float(weights.sum())
    if not np.isfinite(total) or total <= 0 or float(weights.min()) < 0:
        raise ValueError(f"{name} must be non-negative, finite and not all zero")
    return weights / total


def _cost(cost: ArrayLike) -> Array:
    cost = np.ascontiguousarray(cost, dtype=np.float64)
    if cost.ndim != 2 or cost.size == 0:
        raise ValueError(f"cost must be a non-empty (K, S) matrix, got {cost.shape}")
    if not np.isfinite(cost).all():
        raise ValueError("cost contains a value that is not finite")
    return cost


def _solve(a: Array, b: Array, cost: Array) -> tuple[Array, float, Array, Array]:
    plan, value, f, g, code = _simplex(a, b, cost)
    if code != 1:
        raise RuntimeError(f"the network simplex stopped with code {code} on a {cost.shape} problem")
    return plan, float(value), f, g


def solve_small(a: Array, b: Array, cost: Array) -> tuple[float, Array, Array]:
    """Value and dual potentials for valid inputs, without checks: the inner call of the search.

    Parameters
    ----------
    a, b : ndarray, shapes (K,) and (S,), float64, C-contiguous
        Strictly positive, of equal sum.
    cost : ndarray, shape (K, S), float64, C-contiguous
    """
    _, value, f, g = _solve(a, b, cost)
    return value, f, g


def exact_transport(a: ArrayLike, b: ArrayLike, cost: ArrayLike) -> ExactPlan:
    r"""Optimal transport between two priors, :math:`\min_{P 1 = a, P^\top 1 = b} \langle P, C\rangle`.

    Parameters
    ----------
    a, b : array, shapes (K,) and (S,)
        Non-negative weights; each is normalised to sum 1.
    cost : array, shape (K, S)

    Returns
    -------
    ExactPlan

    Raises
    ------
    ValueError
        Shapes that do not match, negative or all-zero weights, a non-finite cost.
    RuntimeError
        The simplex failed; the message has its code.
    """
    cost = _cost(cost)
    a, b = _marginal(a, "a", cost.shape[0]), _marginal(b, "b", cost.shape[1])
    rows, columns = np.flatnonzero(a), np.flatnonzero(b)
    whole = rows.size == a.size and columns.size == b.size
    if whole:
        plan, value, f, g = _solve(a, b, cost)
        return ExactPlan(value, plan, f, g)
    part = np.ascontiguousarray(cost[np.ix_(rows, columns)])
    small, value, f_part, g_part = _solve(a[rows], b[columns], part)
    plan = np.zeros_like(cost)
    plan[np.ix_(rows, columns)] = small
    # Labels without mass have the largest feasible potential (the c-transform).
    g = (cost[rows] - f_part[:, None]).min(axis=0)
    g[columns] = g_part
    f = (cost - g).min(axis=1)
    f[rows] = f_part
    return ExactPlan(value, plan, f, g)


def exact_cost(a: ArrayLike, b: ArrayLike, cost: ArrayLike) -> float:
    """The value of :func:`exact_transport` only; same arguments, same errors."""
    cost = _cost(cost)
    a, b = _marginal(a, "a", cost.shape[0]), _marginal(b, "b", cost.shape[1])
    if not (a.all() and b.all()):
        rows, columns = np.flatnonzero(a), np.flatnonzero(b)
        a, b, cost = a[rows], b[columns], np.ascontiguousarray(cost[np.ix_(rows, columns)])
    return _solve(a, b, cost)[1]


def coverage_transport(b: ArrayLike, cost: ArrayLike) -> ExactPlan:
    r"""Transport with a free teacher side: each student class is matched with its nearest teacher classes.

    .. math:: \min_{P^\top 1 = b} \langle P, C\rangle = \sum_c b_c \min_k C_{kc}

    The limit of the KL-relaxed problem as the relaxation tends to 0. Ties share the mass equally.

    Parameters
    ----------
    b : array, shape (S,)
    cost : array, shape (K, S)

    Returns
    -------
    ExactPlan
        ``f`` is zero (a free side has no potential), ``g`` is the column minimum of the cost.

    Raises
    ------
    ValueError
        As :func:`exact_transport`.
    """
    cost = _cost(cost)
    b = _marginal(b, "b", cost.shape[1])
    nearest = cost.min(axis=0)
    ties = (cost == nearest).astype(np.float64)
    plan = ties / ties.sum(axis=0) * b
    return ExactPlan(float(nearest @ b), plan, np.zeros(len(cost), dtype=np.float64), nearest)


def coverage_cost(b: ArrayLike, cost: ArrayLike) -> float:
    """The value of :func:`coverage_transport` only; same arguments, same errors."""
    cost = _cost(cost)
    return float(cost.min(axis=0) @ _marginal(b, "b", cost.shape[1]))
