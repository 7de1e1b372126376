"""Which solver, in which precision, for which items of a batch of entropic problems.

Every item passes through a cascade and leaves it as soon as it is done:

1. kernel scaling in float32, where the range of the cost and the tolerance allow it, or as a head start;
2. kernel scaling in float64;
3. Newton on the student's potentials, for items that would need many more iterations;
4. the log domain, for whatever no kernel can represent.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from worker.transport import _fused as fused, log_domain
from worker.transport.problem import FLOAT32_TOL, EntropicProblem
from worker.transport.scaling import finish_block, scale_block

Engine = Literal["auto", "fused", "torch"]

# exp(-range / eps) must stay a normal number, with room for the scalings that multiply it.
_FLOAT32_REACH = 80.0
_FLOAT64_REACH = 600.0
# Where float32 is only a head start it stops here: its own rounding would be all that is left.
_HEAD_START_TOL = 1e-4
_BLOCK_ELEMENTS = 400_000
_NEWTON_WIDTH = 512
_NEWTON_STEPS = 60
_NEVER = 2**30


@dataclass(slots=True)
class Solutions:
    """Solutions in the making; the fields mean what they mean in ``SinkhornResult``, ``plan`` being a sum."""

    value: Tensor
    f: Tensor
    g: Tensor
    plan: Tensor
    violation: Tensor
    iterations: Tensor
    stages: set[str] = field(default_factory=set[str])


@dataclass(frozen=True, slots=True)
class _Kernels:
    """A problem's cost without what potentials absorb, and the Gibbs kernels made of it."""

    problem: EntropicProblem
    row_shift: Tensor
    column_shift: Tensor
    shifted: Tensor
    reach: float
    compiled: bool

    @classmethod
    def of(cls, problem: EntropicProblem, compiled: bool) -> "_Kernels":
        cost = problem.cost
        # A relaxed side may not be shifted: its potential has a price.
        row = cost.amin(1) if problem.relaxation is None else cost.new_zeros(cost.shape[0])
        column = (cost - row.unsqueeze(1)).amin(0)
        shifted = cost - row.unsqueeze(1) - column
        return cls(problem, row, column, shifted, float(shifted.amax()) / problem.eps, compiled)

    def gibbs(self, dtype: torch.dtype) -> Tensor:
        return torch.exp(-self.shifted / self.problem.eps).to(dtype).contiguous()


def solve(problem: EntropicProblem, with_plan: bool, engine: Engine) -> Solutions:
    """Solve all items; see the module for how.

    Raises
    ------
    RuntimeError
        ``engine="fused"`` where the compiled loops are missing or the items are not on the CPU.
    """
    p, q = problem.predictions, problem.targets
    possible = fused.available() and p.device.type == "cpu"
    if engine == "fused" and not possible:
        raise RuntimeError("the compiled transport loops are not built here, or the items are not on the CPU")
    solutions = Solutions(
        value=p.new_zeros(p.shape[0]),
        f=torch.empty_like(p),
        g=torch.empty_like(q),
        plan=problem.cost.new_zeros(problem.cost.shape),
        violation=p.new_full((p.shape[0],), torch.inf),
        iterations=torch.zeros(p.shape[0], dtype=torch.int64, device=p.device),
    )
    if p.shape[0] == 0:
        return solutions
    kernels = _Kernels.of(problem, possible and engine != "torch")
    rest = _by_kernel(kernels, with_plan, solutions) if kernels.reach < _FLOAT64_REACH else _all_items(p)
    if rest.numel():
        _in_log_domain(kernels, rest, with_plan, solutions)
    solutions.f += kernels.row_shift.to(solutions.f.dtype)
    solutions.g += kernels.column_shift.to(solutions.g.dtype)
    return solutions


def _all_items(p: Tensor) -> Tensor:
    return torch.arange(p.shape[0], device=p.device)


def _by_kernel(kernels: _Kernels, with_plan: bool, solutions: Solutions) -> Tensor:
    """Steps 1 to 3 of the cascade; returns the items whose arithmetic failed."""
    problem = kernels.problem
    single = kernels.reach < _FLOAT32_REACH and problem.tol >= FLOAT32_TOL
    count = problem.predictions.shape[0]
    rows, columns = problem.cost.shape
    gibbs = {dtype: kernels.gibbs(dtype) for dtype in (torch.float32, torch.float64)}
    priced = {dtype: (gibbs[dtype] * problem.cost).to(dtype) for dtype in gibbs}
    # The compiled loops keep to their lanes whatever N is; torch needs its products in cache-sized blocks.
    size = count if kernels.compiled else min(4096, max(64, _BLOCK_ELEMENTS // (rows + columns)))
    failed: list[Tensor] = []
    for first in range(0, count, size):
        block = slice(first, min(first + size, count))
        p, q = problem.predictions[block], problem.targets[block]
        iterations = solutions.iterations[block]
        p32, q32 = p.to(torch.float32).contiguous(), q.to(torch.float32).contiguous()
        v, violation = _scale(
            kernels,
            p32,
            q32,
            gibbs[torch.float32],
            q32.clone(),
            tol=problem.tol if single else max(problem.tol, _HEAD_START_TOL),
            iterations=iterations,
        )
        solutions.stages.add("float32")
        if single:
            p, q = p32, q32
        again = (violation > problem.tol) if single else torch.ones_like(violation, dtype=torch.bool)
        open_items = torch.nonzero(again).squeeze(1)
        if open_items.numel():
            v = v if single else v.to(torch.float64)
            improved, reached = _in_double(
                kernels,
                problem.predictions[block][open_items],
                problem.targets[block][open_items],
                gibbs[torch.float64],
                v[open_items],
                iterations,
                open_items,
            )
            v[open_items] = improved.to(v.dtype)
            violation = violation.to(torch.float64)
            violation[open_items] = reached
            solutions.stages.add("float64")
        dtype = v.dtype
        p, q = p.to(dtype).contiguous(), q.to(dtype).contiguous()
        good = _finish(kernels, p, q, gibbs[dtype], priced[dtype], v, violation, block, solutions)
        if with_plan:
            plan = finish_block(
                p[good], q[good], gibbs[dtype], priced[dtype], v[good], eps=problem.eps, power=problem.power, with_plan=True
            ).plan
            assert plan is not None
            solutions.plan += plan
        failed.append(torch.nonzero(~good).squeeze(1) + first)
    return torch.cat(failed)


def _scale(
    kernels: _Kernels,
    p: Tensor,
    q: Tensor,
    gibbs: Tensor,
    start: Tensor,
    *,
    tol: float,
    iterations: Tensor,
    slow_after: int = 16,
) -> tuple[Tensor, Tensor]:
    problem = kernels.problem
    columns = q.shape[1]
    limits = {
        "tol": tol,
        "power": problem.power,
        "max_iterations": problem.max_iterations,
        "slow_after": slow_after if columns <= _NEWTON_WIDTH else _NEVER,
        "slow_rest": _newton_worth(kernels),
    }
    if kernels.compiled:
        violation, used = fused.scale(p, q, gibbs, start, **limits)
        iterations += used
        return start, violation
    scaled = scale_block(p, q, gibbs, start, **limits)
    iterations += scaled.iterations
    return scaled.scaling, scaled.violation


def _newton_worth(kernels: _Kernels) -> float:
    """Sinkhorn iterations that cost as much as the Newton steps an item needs: the break-even of leaving."""
    columns = kernels.problem.cost.shape[1]
    return 4.0 * (8.0 + columns / 4.0) if kernels.compiled else 6.0 * (20.0 + columns / 2.0)


def _in_double(
    kernels: _Kernels,
    p: Tensor,
    q: Tensor,
    gibbs: Tensor,
    v: Tensor,
    iterations: Tensor,
    at: Tensor,
) -> tuple[Tensor, Tensor]:
    """Finish items in float64 from a float32 start: scaling for the quick ones, Newton for the slow ones."""
    problem = kernels.problem
    p, q, v = p.to(torch.float64).contiguous(), q.to(torch.float64).contiguous(), v.to(torch.float64)
    # A start whose arithmetic failed, or that lost a label, is no start.
    lost = ~torch.isfinite(v) | ((v <= 0) & (q > 0))
    v = torch.where(lost.any(1, keepdim=True), q, v).contiguous()
    used = iterations[at]
    v, violation = _scale(kernels, p, q, gibbs, v, tol=problem.tol, iterations=used, slow_after=8)
    slow = torch.nonzero((violation > problem.tol) & (used < problem.max_iterations)).squeeze(1)
    if slow.numel() and q.shape[1] <= _NEWTON_WIDTH:
        starts = v[slow]
        starts = torch.where(torch.isfinite(starts), starts, q[slow]).contiguous()
        v[slow], violation[slow], steps = _newton(kernels, p[slow].contiguous(), q[slow].contiguous(), gibbs, starts)
        used[slow] += steps
    iterations[at] = used
    return v, violation


def _newton(kernels: _Kernels, p: Tensor, q: Tensor, gibbs: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    problem = kernels.problem
    limits = {"tol": problem.tol, "power": problem.power, "max_steps": min(_NEWTON_STEPS, problem.max_iterations)}
    if kernels.compiled:
        violation, steps = fused.newton(p, q, gibbs, v, **limits)
    else:
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        size = log_domain.block_size(*kernels.shifted.shape)
        for first in range(0, p.shape[0], size):
            part = slice(first, first + size)
            g = torch.where(q[part] > 0, problem.eps * (v[part] / q[part]).log(), 0.0)
            parts.append(log_domain.newton_block(p[part], q[part], kernels.shifted, g, eps=problem.eps, **limits))
        v = q * (torch.cat([part[0] for part in parts]) / problem.eps).exp()
        violation, steps = torch.cat([part[1] for part in parts]), torch.cat([part[2] for part in parts])
    # What Newton left open is taken up again in the log domain.
    return v, torch.where(violation <= problem.tol, violation, torch.inf), steps


def _finish(
    kernels: _Kernels,
    p: Tensor,
    q: Tensor,
    gibbs: Tensor,
    priced: Tensor,
    v: Tensor,
    violation: Tensor,
    block: slice,
    solutions: Solutions,
) -> Tensor:
    """Potentials and values of a block into ``solutions``; returns which items are sound (B,)."""
    problem = kernels.problem
    if kernels.compiled:
        f, g, value, _ = fused.finish(p, q, gibbs, priced, v, eps=problem.eps, power=problem.power)
    else:
        done = finish_block(p, q, gibbs, priced, v, eps=problem.eps, power=problem.power, with_plan=False)
        f, g, value = done.f, done.g, done.value
    solutions.f[block], solutions.g[block] = f.to(solutions.f.dtype), g.to(solutions.g.dtype)
    solutions.value[block] = value.to(solutions.value.dtype)
    solutions.violation[block] = violation.to(solutions.violation.dtype)
    # A potential that is not finite makes its sum so.
    return torch.isfinite(violation) & torch.isfinite(value) & torch.isfinite(f.sum(1)) & torch.isfinite(g.sum(1))


def _in_log_domain(kernels: _Kernels, items: Tensor, with_plan: bool, solutions: Solutions) -> None:
    problem, shifted = kernels.problem, kernels.shifted
    solutions.stages.add("log")
    size = log_domain.block_size(*shifted.shape)
    for first in range(0, items.numel(), size):
        block = items[first : first + size]
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
        solutions.value[block] = (plans * problem.cost).sum(dim=(1, 2)).to(solutions.value.dtype)
        solutions.f[block] = f.to(solutions.f.dtype)
        solutions.g[block] = g.to(solutions.g.dtype)
        solutions.violation[block] = violation.to(solutions.violation.dtype)
        solutions.iterations[block] += iterations
        if with_plan:
            solutions.plan += plans.sum(0)
