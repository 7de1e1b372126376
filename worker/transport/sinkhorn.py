"""Entropic transport of many items that share one ground cost: the front of the engine.

It decides for the caller what should not concern him: which side is eliminated, in which precision, in which
blocks, and which solver takes the items that plain Sinkhorn would keep iterating on.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from worker.transport import log_domain
from worker.transport.problem import FLOAT32_TOL, EntropicProblem, entropic_problem
from worker.transport.scaling import Scaled, finish_block, scale_block

# exp(-range/eps) must stay a normal number, with room for the scalings that multiply it.
_FLOAT32_RANGE = 80.0
_FLOAT64_RANGE = 600.0
_BLOCK_ELEMENTS = 400_000
_NEWTON_WIDTH = 1024
_NEWTON_STEPS = 60

Engine = Literal["auto", "fused", "torch"]


@dataclass(frozen=True, slots=True)
class SinkhornResult:
    """Solutions of N entropic problems.

    Attributes
    ----------
    value : Tensor, shape (N,)
        The transport cost <P, C> of the entropic plan: what a ranking reads. It is at least the exact
        transport cost, up to the marginal violation.
    dual_value : Tensor, shape (N,)
        The regularised objective, <P, C> + eps KL(P | p q^T) (+ rho KL(P 1 | p) when relaxed), from below: its
        dual at (f, g). What a loss differentiates; its gradient with respect to q is g.
    f : Tensor, shape (N, K)
        Teacher potentials, P = p q^T exp((f + g - C) / eps). Finite also where p is 0.
    g : Tensor, shape (N, S)
        Student potentials, finite also where q is 0. When balanced, (f + t, g - t) is the same solution.
    plan : Tensor, shape (K, S), or None
        Mean of the N plans, when asked for.
    converged : Tensor, shape (N,), bool
        Whether the violation reached the tolerance. False is an answer to act on, not to ignore.
    violation : Tensor, shape (N,)
        L1 distance of the plan's marginal from its target, before the last update.
    iterations : Tensor, shape (N,), int64
        Full updates, Newton steps included.
    precision : str
        Arithmetic that took part, coarsest first: ``float32``, ``float64``, ``log``, joined by ``+``.
    """

    value: Tensor
    dual_value: Tensor
    f: Tensor
    g: Tensor
    plan: Tensor | None
    converged: Tensor
    violation: Tensor
    iterations: Tensor
    precision: str


@dataclass(slots=True)
class _Book:
    """Results in the making, float64 or the dtype of the items."""

    value: Tensor
    f: Tensor
    g: Tensor
    plan: Tensor
    violation: Tensor
    iterations: Tensor
    stages: set[str]


def sinkhorn(
    predictions: Tensor,
    targets: Tensor,
    cost: Tensor,
    *,
    eps: float,
    tol: float = 1e-3,
    max_iterations: int = 10_000,
    teacher_relaxation: float | None = None,
    aggregate_plan: bool = False,
    engine: Engine = "auto",
) -> SinkhornResult:
    r"""Entropic transport of N pairs of distributions that share one ground cost.

    .. math::
        \min_{P \ge 0,\; P^\top 1 = q_i} \langle P, C\rangle
        + \varepsilon\, KL(P \,|\, p_i q_i^\top) + \rho\, KL(P 1 \,|\, p_i)

    Parameters
    ----------
    predictions : Tensor, shape (N, K)
        Teacher distributions p_i; rows sum to 1, zeros allowed.
    targets : Tensor, shape (N, S)
        Student distributions q_i.
    cost : Tensor, shape (K, S)
        Ground cost, any finite values.
    eps : float
        Strength of the entropy, in the units of the cost.
    tol : float
        L1 violation of the marginal at which an item is done.
    max_iterations : int
        Per item, Newton steps included.
    teacher_relaxation : float or None
        rho: price of leaving the teacher's marginal, in the units of the cost. None keeps the marginal exact.
    aggregate_plan : bool
        Also return the mean plan.
    engine : {"auto", "fused", "torch"}
        The compiled loop is used where it exists and pays; ``fused`` insists on it, ``torch`` goes without.

    Returns
    -------
    SinkhornResult
        In the dtype of the inputs (float32 at least), whatever arithmetic was used inside.

    Raises
    ------
    ValueError
        Inputs that are no distributions, shapes that do not match, eps, tol or rho not positive.

    References
    ----------
    Cuturi, "Sinkhorn Distances", NeurIPS 2013; Chizat et al., "Scaling algorithms for unbalanced optimal
    transport problems", Math. Comp. 2018; Cuturi and Peyre, "Semidual regularized optimal transport", 2018.
    """
    device = predictions.device.type
    with torch.no_grad(), torch.autocast(device_type=device, enabled=False):
        return _sinkhorn(
            entropic_problem(
                predictions,
                targets,
                cost,
                eps=eps,
                tol=tol,
                max_iterations=max_iterations,
                relaxation=teacher_relaxation,
            ),
            torch.promote_types(torch.promote_types(predictions.dtype, targets.dtype), torch.float32),
            aggregate_plan,
            engine,
        )


def _sinkhorn(
    problem: EntropicProblem, dtype: torch.dtype, aggregate_plan: bool, engine: Engine
) -> SinkhornResult:
    # The eliminated side should be the long one; a relaxed teacher side is always the eliminated one.
    mirrored = problem.relaxation is None and problem.cost.shape[0] < problem.cost.shape[1]
    book = _solve(problem.swapped() if mirrored else problem, aggregate_plan, engine)
    f, g, plan = (book.g, book.f, book.plan.T) if mirrored else (book.f, book.g, book.plan)
    return SinkhornResult(
        value=book.value.to(dtype),
        dual_value=_dual_value(problem, f, g).to(dtype),
        f=f.to(dtype),
        g=g.to(dtype),
        plan=(plan / max(1, problem.predictions.shape[0])).to(dtype) if aggregate_plan else None,
        converged=book.violation <= problem.tol,
        violation=book.violation.to(dtype),
        iterations=book.iterations,
        precision="+".join(name for name in ("float32", "float64", "log") if name in book.stages),
    )


def _dual_value(problem: EntropicProblem, f: Tensor, g: Tensor) -> Tensor:
    teacher = f if problem.relaxation is None else -problem.relaxation * torch.expm1(-f / problem.relaxation)
    return (problem.predictions * teacher).sum(1) + (problem.targets * g).sum(1)


def _solve(problem: EntropicProblem, with_plan: bool, engine: Engine) -> _Book:
    p, q = problem.predictions, problem.targets
    book = _Book(
        value=p.new_zeros(p.shape[0]),
        f=torch.empty_like(p),
        g=torch.empty_like(q),
        plan=problem.cost.new_zeros(problem.cost.shape),
        violation=p.new_full((p.shape[0],), torch.inf),
        iterations=torch.zeros(p.shape[0], dtype=torch.int64, device=p.device),
        stages=set(),
    )
    row_shift, column_shift, shifted = _shifts(problem)
    reach = float(shifted.amax()) / problem.eps
    rest = torch.arange(p.shape[0], device=p.device)
    if reach < _FLOAT32_RANGE and problem.tol >= FLOAT32_TOL:
        rest = _by_scaling(problem, shifted, torch.float32, rest, with_plan, book)
    if reach < _FLOAT64_RANGE and rest.numel():
        rest = _by_scaling(problem, shifted, torch.float64, rest, with_plan, book)
    if rest.numel():
        _in_log_domain(problem, shifted, rest, with_plan, book)
    book.f += row_shift.to(book.f.dtype)
    book.g += column_shift.to(book.g.dtype)
    if with_plan:
        book.plan = book.plan.to(p.dtype)
    return book


def _shifts(problem: EntropicProblem) -> tuple[Tensor, Tensor, Tensor]:
    """Constants per row and column that potentials absorb, and the cost without them: its range decides the precision.

    A relaxed side may not be shifted: its potential is priced.
    """
    cost = problem.cost
    row = cost.amin(1) if problem.relaxation is None else cost.new_zeros(cost.shape[0])
    column = (cost - row.unsqueeze(1)).amin(0)
    return row, column, cost - row.unsqueeze(1) - column


def _by_scaling(
    problem: EntropicProblem,
    shifted: Tensor,
    dtype: torch.dtype,
    items: Tensor,
    with_plan: bool,
    book: _Book,
) -> Tensor:
    """Kernel scaling in ``dtype``, then Newton for the slow tail; returns the items whose arithmetic failed."""
    kernel = torch.exp(-shifted / problem.eps).to(dtype)
    costs = problem.cost.to(dtype)
    rows, columns = problem.cost.shape
    newton = columns <= _NEWTON_WIDTH
    failed: list[Tensor] = []
    book.stages.add("float32" if dtype == torch.float32 else "float64")
    size = min(4096, max(64, _BLOCK_ELEMENTS // (rows + columns)))
    for block in items.split(size):
        p, q = problem.predictions[block].to(dtype), problem.targets[block].to(dtype)
        scaled = scale_block(
            p,
            q,
            kernel,
            q,
            tol=problem.tol,
            power=problem.power,
            max_iterations=problem.max_iterations,
            slow_after=24,
            slow_rest=6.0 * (20.0 + columns / 2.0) if newton else float("inf"),
        )
        if newton and problem.max_iterations > 24:
            _newton_tail(problem, shifted, block, scaled, book)
        done = finish_block(
            p, q, kernel, costs, scaled.scaling, eps=problem.eps, power=problem.power, with_plan=False
        )
        good = torch.isfinite(done.value) & torch.isfinite(done.f).all(1) & torch.isfinite(done.g).all(1)
        good &= torch.isfinite(scaled.violation)
        if with_plan and bool(good.any()):
            done_plan = finish_block(
                p[good],
                q[good],
                kernel,
                costs,
                scaled.scaling[good],
                eps=problem.eps,
                power=problem.power,
                with_plan=True,
            ).plan
            assert done_plan is not None
            book.plan += done_plan
        kept = block[good]
        book.value[kept] = done.value[good].to(book.value.dtype)
        book.f[kept] = done.f[good].to(book.f.dtype)
        book.g[kept] = done.g[good].to(book.g.dtype)
        book.violation[kept] = scaled.violation[good].to(book.violation.dtype)
        book.iterations[block] += scaled.iterations
        failed.append(block[~good])
    return torch.cat(failed)


def _newton_tail(problem: EntropicProblem, shifted: Tensor, block: Tensor, scaled: Scaled, book: _Book) -> None:
    """Carry the block's open items to the tolerance by Newton, in float64; writes into ``scaled``."""
    open_items = torch.nonzero(
        (scaled.violation > problem.tol)
        & torch.isfinite(scaled.violation)
        & (scaled.iterations < problem.max_iterations)
    ).squeeze(1)
    if not open_items.numel():
        return
    book.stages.add("float64")
    for part in open_items.split(log_domain.block_size(*shifted.shape)):
        p = problem.predictions[block[part]].to(torch.float64)
        q = problem.targets[block[part]].to(torch.float64)
        v = scaled.scaling[part].to(torch.float64)
        start = torch.where(q > 0, problem.eps * (v / q).log(), torch.zeros_like(q))
        g, violation, steps = log_domain.newton_block(
            p,
            q,
            shifted,
            start,
            eps=problem.eps,
            tol=problem.tol,
            power=problem.power,
            max_steps=min(_NEWTON_STEPS, problem.max_iterations),
        )
        scaled.scaling[part] = (q * (g / problem.eps).exp()).to(scaled.scaling.dtype)
        # Left open by Newton: to be taken up again in the log domain.
        scaled.violation[part] = torch.where(violation <= problem.tol, violation, torch.inf).to(
            scaled.violation.dtype
        )
        scaled.iterations[part] += steps


def _in_log_domain(problem: EntropicProblem, shifted: Tensor, items: Tensor, with_plan: bool, book: _Book) -> None:
    book.stages.add("log")
    for block in items.split(log_domain.block_size(*shifted.shape)):
        p = problem.predictions[block].to(torch.float64)
        q = problem.targets[block].to(torch.float64)
        g, violation, iterations = log_domain.solve_annealed(
            p,
            q,
            shifted,
            eps=problem.eps,
            tol=problem.tol,
            relaxation=problem.relaxation,
            max_iterations=problem.max_iterations,
        )
        f, g, plans, _ = log_domain.finish_in_log_domain(p, q, shifted, g, eps=problem.eps, power=problem.power)
        book.value[block] = (plans * problem.cost).sum(dim=(1, 2)).to(book.value.dtype)
        book.f[block] = f.to(book.f.dtype)
        book.g[block] = g.to(book.g.dtype)
        book.violation[block] = violation.to(book.violation.dtype)
        book.iterations[block] += iterations
        if with_plan:
            book.plan += plans.sum(0)
