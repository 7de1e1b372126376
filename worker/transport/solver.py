"""Choice of solver and precision for the items of a batch of entropic problems.

Every item passes through these steps and leaves as soon as it has converged:

1. kernel scaling in float32, if range of the cost and tolerance permit, or as an initialisation;
2. kernel scaling in float64;
3. Newton on the student's potentials, for items that would need many more iterations;
4. the log domain, for items that no kernel can represent.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from worker.transport import _fused, log_domain
from worker.transport._fused import entropic as fused
from worker.transport.problem import FLOAT32_TOL, EntropicProblem, row_products
from worker.transport.scaling import finish_block, scale_block

Engine = Literal["auto", "fused", "torch"]

# exp(-range / eps) must be a normal number, with a margin for the scalings that multiply it.
_FLOAT32_REACH = 80.0
_FLOAT64_REACH = 600.0
# Rounding of a float32 violation, per square root of the number of terms of its sums.
_HEAD_START_TOL = 2e-7
_BLOCK_ELEMENTS = 400_000
_NEWTON_WIDTH = 512
_NEWTON_ROUNDS = 60
# Up to this range of the cost, in units of eps, Sinkhorn needs no initialisation with a larger eps.
_EASY_REACH = 40.0
_STAGE_TOL = 1e-3


@dataclass(slots=True)
class Solutions:
    """Solutions under construction; the fields have the meaning of those in ``SinkhornResult``.

    ``plan`` is a sum, ``dual`` is p . f + q . g, which is the dual value when balanced.
    """

    value: Tensor
    dual: Tensor
    f: Tensor
    g: Tensor
    plan: Tensor
    violation: Tensor
    iterations: Tensor
    stages: set[str] = field(default_factory=set[str])


@dataclass(frozen=True, slots=True)
class _Kernels:
    """A problem's cost minus the part that the potentials absorb, and the Gibbs kernels computed from it."""

    problem: EntropicProblem
    row_shift: Tensor
    column_shift: Tensor
    shifted: Tensor
    reach: float
    compiled: bool
    made: dict[tuple[torch.dtype, float], Tensor] = field(default_factory=dict[tuple[torch.dtype, float], Tensor])

    @classmethod
    def of(cls, problem: EntropicProblem, compiled: bool) -> "_Kernels":
        cost = problem.cost
        # A relaxed side may not be shifted: its potential enters the objective.
        row = cost.amin(1) if problem.relaxation is None else cost.new_zeros(cost.shape[0])
        column = (cost - row.unsqueeze(1)).amin(0)
        shifted = cost - row.unsqueeze(1) - column
        return cls(problem, row, column, shifted, float(shifted.amax()) / problem.eps, compiled)

    def gibbs(self, dtype: torch.dtype, eps: float | None = None) -> Tensor:
        """exp(-C / eps) of the shifted cost, computed once per precision and eps."""
        key = dtype, eps or self.problem.eps
        if key not in self.made:
            self.made[key] = torch.exp(self.shifted / -key[1]).to(dtype).contiguous()
        return self.made[key]

    def stages(self) -> list[float]:
        """Halving eps down to the problem's own: starting far above it, Newton needs many short steps."""
        count = max(0, math.ceil(math.log2(max(self.reach, 1e-9) / _EASY_REACH)))
        return [self.problem.eps * 2.0**halvings for halvings in range(count, -1, -1)]


def solve(problem: EntropicProblem, with_plan: bool, engine: Engine, *, with_f: bool = True) -> Solutions:
    """Solve all items; see the module docstring.

    Raises
    ------
    RuntimeError
        ``engine="fused"`` if the compiled loops are missing or the items are not on the CPU.
    """
    p, q = problem.predictions, problem.targets
    possible = _fused.available() and p.device.type == "cpu"
    if engine == "fused" and not possible:
        raise RuntimeError("the compiled transport loops are not built here, or the items are not on the CPU")
    solutions = Solutions(
        value=p.new_zeros(p.shape[0]),
        dual=p.new_zeros(p.shape[0]),
        f=torch.empty_like(p) if with_f else p.new_empty((p.shape[0], 0)),
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
    return solutions


def _all_items(p: Tensor) -> Tensor:
    return torch.arange(p.shape[0], device=p.device)


def _by_kernel(kernels: _Kernels, with_plan: bool, solutions: Solutions) -> Tensor:
    """Steps 1 to 3; returns the items whose arithmetic failed or that were not finished."""
    problem = kernels.problem
    count = problem.predictions.shape[0]
    # The compiled loops use lanes for any N; torch needs its products in cache-sized blocks.
    size = count if kernels.compiled else min(4096, max(64, _BLOCK_ELEMENTS // sum(problem.cost.shape)))
    single = kernels.reach < _FLOAT32_REACH and problem.tol >= FLOAT32_TOL
    dtype = torch.float32 if single else torch.float64
    gibbs = kernels.gibbs(dtype)
    priced = (gibbs.to(torch.float64) * problem.cost).to(dtype).contiguous()
    failed: list[Tensor] = []
    for first in range(0, count, size):
        block = slice(first, min(first + size, count))
        v, violation, sums = _cascade(kernels, block, single, solutions)
        p, q = (side[block].to(dtype).contiguous() for side in (problem.predictions, problem.targets))
        good = _finish(kernels, p, q, gibbs, priced, v.to(dtype), sums, violation, block, solutions)
        if with_plan:
            plan = finish_block(
                p[good],
                q[good],
                gibbs,
                priced,
                v[good].to(dtype),
                eps=problem.eps,
                power=problem.power,
                with_plan=True,
            ).plan
            assert plan is not None
            solutions.plan += plan
        failed.append(torch.nonzero(~good).squeeze(1) + first)
    return torch.cat(failed)


def _cascade(
    kernels: _Kernels, block: slice, single: bool, solutions: Solutions
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Scalings (B, S), violations (B,) and sums of a block: decreasing eps in float32, then float64 for the rest.

    The sums G^T u (B, S) are returned by the compiled loops only.
    """
    problem = kernels.problem
    p, q = problem.predictions[block], problem.targets[block]
    p32, q32 = p.to(torch.float32).contiguous(), q.to(torch.float32).contiguous()
    iterations = solutions.iterations[block]
    v, violation, sums = q32.clone(), torch.full_like(q32[:, 0], torch.inf), None
    stages = kernels.stages()
    done = 0.0
    # If float32 is only an initialisation, it stops here: the remaining violation would be float32 rounding.
    rounding = _HEAD_START_TOL * math.sqrt(p.shape[1])
    early = [eps for eps in stages if kernels.reach * problem.eps / eps < _FLOAT32_REACH]
    for eps in early:
        last = eps == problem.eps
        wanted = (problem.tol if single else max(problem.tol, rounding)) if last else _STAGE_TOL
        v = _carried(v, q32, done, eps) if done else v
        # Half of the iterations are reserved for float64, in case float32 stops converging.
        budget = max(1, problem.max_iterations // (2 * len(early)))
        v, violation, sums = _scale(kernels, p32, q32, eps, v, tol=wanted, budget=budget, iterations=iterations)
        solutions.stages.add("float32")
        done = eps
    if single:
        rest = torch.nonzero(~(violation <= problem.tol)).squeeze(1)
        if not rest.numel():
            return v, violation, sums
    else:
        rest = None
    solutions.stages.add("float64")
    # Without an index, tensors that are already float64 are not copied.
    p64, q64, v64 = ((side if rest is None else side[rest]).to(torch.float64).contiguous() for side in (p, q, v))
    used = iterations if rest is None else iterations[rest]
    sums64 = None
    reached = torch.full_like(q64[:, 0], torch.inf)
    late = [eps for eps in stages if eps < done] or [problem.eps] if done else stages
    for number, eps in enumerate(late):
        v64 = _carried(v64, q64, done or eps, eps)
        wanted = problem.tol if eps == problem.eps else _STAGE_TOL
        budget = max(1, (problem.max_iterations - int(used.max())) // (len(late) - number))
        v64, reached, sums64 = _scale(kernels, p64, q64, eps, v64, tol=wanted, budget=budget, iterations=used)
        done = eps
    if rest is None:
        return v64, reached, sums64
    iterations[rest] = used
    v, violation = v.to(torch.float64), violation.to(torch.float64)
    v[rest], violation[rest] = v64, reached
    if sums is not None and sums64 is not None:
        sums = sums.to(torch.float64)
        sums[rest] = sums64
    return v, violation, sums


def _carried(v: Tensor, q: Tensor, before: float, eps: float) -> Tensor:
    """The start at ``eps`` from the scaling at the eps ``before``: same potentials g, v = q exp(g / eps)."""
    ratio = before / eps
    start = v if ratio == 1.0 else q * (v / q).pow(ratio)
    # An initialisation with failed arithmetic, or with a lost label, is discarded; labels without mass stay at 0.
    lost = (~(start > 0) | torch.isinf(start)) & (q > 0)
    start = torch.where(q > 0, start, torch.zeros_like(q))
    return torch.where(lost.any(1, keepdim=True), q, start).contiguous()


def _scale(
    kernels: _Kernels, p: Tensor, q: Tensor, eps: float, start: Tensor, *, tol: float, budget: int, iterations: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """One eps, one precision: Sinkhorn, with Newton for slow items; scalings, violations and sums as in `_cascade`.

    ``budget`` bounds the iterations of this call, which are added to ``iterations`` (B,).
    """
    problem = kernels.problem
    gibbs, power = kernels.gibbs(q.dtype, eps), problem.power_at(eps)
    if kernels.compiled:
        violation, used, sums = fused.scale(
            p,
            q,
            gibbs,
            start,
            tol=tol,
            power=power,
            max_iterations=budget,
            max_rounds=_NEWTON_ROUNDS,
        )
        iterations += used
        return start, violation, sums
    columns = q.shape[1]
    newton = columns <= _NEWTON_WIDTH
    scaled = scale_block(
        p,
        q,
        gibbs,
        start,
        tol=tol,
        power=power,
        max_iterations=budget,
        slow_after=24,
        slow_rest=6.0 * (20.0 + columns / 2.0) if newton else float("inf"),
    )
    iterations += scaled.iterations
    v, violation = scaled.scaling, scaled.violation
    left = budget - scaled.iterations
    slow = torch.nonzero((violation > tol) & (left > 0)).squeeze(1)
    if newton:
        size = log_domain.block_size(*kernels.shifted.shape)
        for first in range(0, slow.shape[0], size):
            part = slow[first : first + size]
            v_open, p_open, q_open = (side[part].to(torch.float64) for side in (v, p, q))
            starts = torch.where(torch.isfinite(v_open), v_open, q_open)
            g = torch.where(q_open > 0, eps * (starts / q_open).log(), 0.0)
            rounds = min(_NEWTON_ROUNDS, int(left[part].min()))
            g, reached, steps = log_domain.newton_block(
                p_open, q_open, kernels.shifted, g, eps=eps, tol=tol, power=power, max_steps=rounds
            )
            v[part] = (q_open * (g / eps).exp()).to(v.dtype)
            violation[part] = reached.to(violation.dtype)
            iterations[part] += steps
    return v, violation, None


def _finish(
    kernels: _Kernels,
    p: Tensor,
    q: Tensor,
    gibbs: Tensor,
    priced: Tensor,
    v: Tensor,
    sums: Tensor | None,
    violation: Tensor,
    block: slice,
    solutions: Solutions,
) -> Tensor:
    """Write potentials and values of a block into ``solutions``; returns which items are valid (B,)."""
    problem, with_f = kernels.problem, solutions.f.shape[1] > 0
    if sums is not None:
        f, g, value, dual = fused.finish(
            p,
            q,
            gibbs,
            priced,
            v,
            sums.to(v.dtype),
            kernels.row_shift,
            kernels.column_shift,
            eps=problem.eps,
            power=problem.power,
            with_f=with_f,
        )
    else:
        done = finish_block(p, q, gibbs, priced, v, eps=problem.eps, power=problem.power, with_plan=False)
        f, g, value = done.f + kernels.row_shift.to(p.dtype), done.g + kernels.column_shift.to(p.dtype), done.value
        dual = row_products(p, f) + row_products(q, g)
        f = f if with_f else f[:, :0]
    if f.shape[0] == solutions.f.shape[0] and f.dtype == solutions.f.dtype:
        solutions.f, solutions.g = f, g
    else:
        solutions.f[block], solutions.g[block] = f.to(solutions.f.dtype), g.to(solutions.g.dtype)
    solutions.value[block] = value.to(solutions.value.dtype)
    solutions.dual[block] = dual.to(solutions.dual.dtype)
    solutions.violation[block] = violation.to(solutions.violation.dtype)
    # Newton may have stopped with iterations left. A potential that is not finite makes the dual value not finite, even
    # if its label has no mass (0 times infinity).
    over = (violation <= problem.tol) | (solutions.iterations[block] >= problem.max_iterations)
    return over & torch.isfinite(violation + value + dual)


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
            max_iterations=max(1, problem.max_iterations - int(solutions.iterations[block].max())),
        )
        f, g, plans, _ = log_domain.finish_in_log_domain(p, q, shifted, g, eps=problem.eps, power=problem.power)
        solutions.value[block] = (plans * problem.cost).sum(dim=(1, 2)).to(solutions.value.dtype)
        f, g = f + kernels.row_shift, g + kernels.column_shift
        solutions.dual[block] = (row_products(p, f) + row_products(q, g)).to(solutions.dual.dtype)
        if solutions.f.shape[1]:
            solutions.f[block] = f.to(solutions.f.dtype)
        solutions.g[block] = g.to(solutions.g.dtype)
        solutions.violation[block] = violation.to(solutions.violation.dtype)
        solutions.iterations[block] += iterations
        if with_plan:
            solutions.plan += plans.sum(0)
