"""Sinkhorn by kernel scaling, for many items at once, in plain torch on any device.

With the Gibbs kernel G = exp(-C/eps), one iteration of all items is two matrix products. Two properties make it
fast: the stopping test is free (it uses the product that the iteration computes anyway), and items that have converged
leave the batch, because the slowest item needs tens of times the mean number of iterations.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.transport.problem import row_products

# Between two compactions, converged rows cost a few redundant iterations; a compaction costs one copy of the batch.
_CHECK_EVERY = 4


@dataclass(slots=True)
class Scaled:
    """The state of each item after kernel scaling.

    Attributes
    ----------
    scaling : Tensor, shape (N, S)
        v = q exp(g / eps), the student side's scaling *before* the last student update.
    violation : Tensor, shape (N,)
        L1 distance of the student marginal from its target; infinite if arithmetic failed.
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
    r"""Alternate :math:`u = p \oslash (G v)^\lambda` and :math:`v = q \oslash G^\top u` until each item has converged.

    Each update is extrapolated along the line from the previous one (Anderson mixing of depth 1 in the potentials),
    which halves the number of iterations.

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
        From iteration ``slow_after`` on, items whose extrapolated number of remaining iterations exceeds ``slow_rest``
        are returned unconverged, for another solver.

    Returns
    -------
    Scaled

    References
    ----------
    Cuturi, "Sinkhorn Distances", NeurIPS 2013, algorithm 1; Chizat et al., "Scaling algorithms for unbalanced
    optimal transport problems", Math. Comp. 2018, for the power; Walker and Ni, "Anderson acceleration for
    fixed-point iterations", SIAM J. Numer. Anal. 2011.
    """
    count = predictions.shape[0]
    scaling = start.clone()
    violation = torch.full((count,), torch.inf, dtype=start.dtype, device=start.device)
    iterations = torch.zeros(count, dtype=torch.int64, device=start.device)
    running = torch.arange(count, device=start.device)
    p, q, v = predictions, targets, start
    # Of the previous sweep: plain update, residual, violation. A violation of 0 disables extrapolation.
    before, residual, last = torch.zeros_like(v), torch.zeros_like(v), torch.zeros_like(violation)
    checked: Tensor | None = None
    done = 0
    while running.numel() and done < max_iterations:
        u = p / _powered(v @ kernel.T, power)
        t = u @ kernel
        done += 1
        left = q - v * t
        current = left.abs().sum(dim=1)
        now = q / t
        further = _further(left, residual, current, last)
        if done % _CHECK_EVERY == 0 or done in (1, 2) or done >= max_iterations:
            finite = torch.isfinite(current)
            stopped = (current <= tol) | ~finite
            if checked is not None and done >= slow_after:
                rate = (current / checked).clamp(1e-30, 1 - 1e-7).log() / _CHECK_EVERY
                stopped |= (tol / current).clamp(max=1.0).log() / rate > slow_rest
            checked = current
            if done >= max_iterations:
                stopped = torch.ones_like(stopped)
            if bool(stopped.any()):
                out = running[stopped]
                scaling[out] = v[stopped]
                violation[out] = torch.where(finite, current, torch.inf)[stopped]
                iterations[out] = done
                keep = ~stopped
                running, p, q, checked = running[keep], p[keep], q[keep], checked[keep]
                left, current, now, before, further = left[keep], current[keep], now[keep], before[keep], further[keep]
        v = _ahead(now, before, further)
        before, residual, last = now, left, current
    return Scaled(scaling, violation, iterations)


def _further(left: Tensor, residual: Tensor, current: Tensor, last: Tensor) -> Tensor:
    r"""Extrapolation factor of each item beyond the plain update, b (N, 1).

    With r the residual and d its change, :math:`b = -\langle r, d\rangle / |d|^2` is the least-squares solution on the
    line through the last two; restricted to 0..4, and 0 if the violation has increased.
    """
    change = left - residual
    square = row_products(change, change)
    b = (-row_products(left, change) / square).clamp(0.0, 4.0)
    return torch.where((square > 0) & (current <= last), b, torch.zeros_like(b)).unsqueeze(1)


def _ahead(now: Tensor, before: Tensor, further: Tensor) -> Tensor:
    """``now (now / before)^b`` to second order, by rational functions: within a factor of 14 of ``now``.

    The value is only a starting point of the next sweep, never a result.
    """
    y = 2.0 * further * (now - before) / (now + before + torch.finfo(now.dtype).tiny * 100)
    even = y * y + 12.0
    return now * (even + 6.0 * y) / (even - 6.0 * y)


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
    """A final full update from the scaling v, then the transport cost of the resulting plans.

    ``priced_kernel`` is G * C, with the cost of the value.

    The plan has exact student marginals; its teacher-side violation is at most the returned violation, because a
    Sinkhorn half-step never increases the L1 error.
    """
    a = scaling @ kernel.T
    u = predictions / _powered(a, power)
    t = u @ kernel
    v = targets / t
    violation = (scaling * t - targets).abs().sum(dim=1)
    value = ((u @ priced_kernel) * v).sum(dim=1)
    plan = kernel * (u.T @ v) if with_plan else None
    return Finished(-power * eps * a.log(), -eps * t.log(), value, violation, plan)
