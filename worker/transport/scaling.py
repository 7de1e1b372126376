"""Sinkhorn by kernel scaling, many items at once, in plain torch on any device.

With the Gibbs kernel G = exp(-C/eps) one iteration of all items is two matrix products. Two things
make it fast: the stopping test costs nothing (it uses the product that the iteration needs anyway),
and items that have converged leave the batch, because the slowest item needs tens of times the mean.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# Rows between two compactions cost a few redundant iterations; a compaction costs one copy of the batch.
_CHECK_EVERY = 4


@dataclass(slots=True)
class Scaled:
    """Where kernel scaling left each item.

    Attributes
    ----------
    scaling : Tensor, shape (N, S)
        v = q exp(g / eps), the student side's scaling *before* the last student update.
    violation : Tensor, shape (N,)
        L1 distance of the student marginal from its target; infinite where arithmetic failed.
    iterations : Tensor, shape (N,), int64
    """

    scaling: Tensor
    violation: Tensor
    iterations: Tensor


def scale_block(
    predictions: Tensor,
    targets: Tensor,
    kernel: Tensor,
    start: Tensor,
    *,
    tol: float,
    power: float,
    max_iterations: int,
    slow_after: int,
    slow_rest: float,
) -> Scaled:
    r"""Alternate :math:`u = p \oslash (G v)^\lambda` and :math:`v = q \oslash G^\top u` until each item is done.

    Parameters
    ----------
    predictions, targets : Tensor, shapes (N, K) and (N, S)
    kernel : Tensor, shape (K, S)
        exp(-(C - shift) / eps), in the dtype to compute in.
    start : Tensor, shape (N, S)
        First v.
    tol : float
        An item stops when its L1 violation is at most this.
    power : float
        lambda; 1 is balanced.
    max_iterations : int
    slow_after, slow_rest : int, float
        From iteration ``slow_after`` on, items whose extrapolated remaining iterations exceed ``slow_rest``
        leave unconverged, for a solver that suits them better.

    Returns
    -------
    Scaled

    References
    ----------
    Cuturi, "Sinkhorn Distances", NeurIPS 2013, algorithm 1; Chizat et al., "Scaling algorithms for unbalanced
    optimal transport problems", Math. Comp. 2018, for the power.
    """
    count = predictions.shape[0]
    scaling = start.clone()
    violation = torch.full((count,), torch.inf, dtype=start.dtype, device=start.device)
    iterations = torch.zeros(count, dtype=torch.int64, device=start.device)
    running = torch.arange(count, device=start.device)
    p, q, v = predictions, targets, start
    transposed = kernel.T
    before: Tensor | None = None
    done = 0
    while running.numel() and done < max_iterations:
        u = p / _powered(v @ transposed, power)
        t = u @ kernel
        done += 1
        check = done % _CHECK_EVERY == 0 or done in (1, 2) or done >= max_iterations
        if not check:
            v = q / t
            continue
        current = (v * t - q).abs().sum(dim=1)
        finite = torch.isfinite(current)
        stopped = (current <= tol) | ~finite
        if before is not None and done >= slow_after:
            rate = (current / before).clamp(1e-30, 1 - 1e-7).log() / _CHECK_EVERY
            stopped |= (tol / current).clamp(max=1.0).log() / rate > slow_rest
        before = current
        if done >= max_iterations:
            stopped = torch.ones_like(stopped)
        if bool(stopped.any()):
            out = running[stopped]
            scaling[out] = v[stopped]
            violation[out] = torch.where(finite, current, torch.inf)[stopped]
            iterations[out] = done
            keep = ~stopped
            running, p, q, t, before = running[keep], p[keep], q[keep], t[keep], before[keep]
        v = q / t
    return Scaled(scaling, violation, iterations)


def _powered(base: Tensor, power: float) -> Tensor:
    return base if power == 1.0 else base**power


@dataclass(slots=True)
class Finished:
    """Potentials and value of a block: f (N, K), g (N, S), value (N,), violation (N,), plan (K, S) or None."""

    f: Tensor
    g: Tensor
    value: Tensor
    violation: Tensor
    plan: Tensor | None


def finish_block(
    predictions: Tensor,
    targets: Tensor,
    kernel: Tensor,
    priced_kernel: Tensor,
    scaling: Tensor,
    *,
    eps: float,
    power: float,
    with_plan: bool,
) -> Finished:
    """One last full update from the scaling v, then the transport cost of the resulting plans.

    ``priced_kernel`` is G * C, with the cost that the value shall have.

    The plan has exact student marginals; its teacher-side violation is no larger than the violation returned,
    because a Sinkhorn half-step never increases the L1 error.
    """
    a = scaling @ kernel.T
    u = predictions / _powered(a, power)
    t = u @ kernel
    v = targets / t
    violation = (scaling * t - targets).abs().sum(dim=1)
    value = ((u @ priced_kernel) * v).sum(dim=1)
    plan = kernel * (u.T @ v) if with_plan else None
    return Finished(-power * eps * a.log(), -eps * t.log(), value, violation, plan)
