"""Entropic transport of many items that share one ground cost: the entry point of the engine.

It chooses which side is eliminated, the precision, the blocks, and the solver for items on which plain Sinkhorn would
converge slowly.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.transport.problem import EntropicProblem, entropic_problem, row_products
from worker.transport.solver import Engine, solve
from worker.transport.tally import SOLVED


@dataclass(frozen=True, slots=True)
class SinkhornResult:
    """Solutions of N entropic problems.

    Attributes
    ----------
    value : Tensor, shape (N,)
        The transport cost <P, C> of the entropic plan, used for rankings. It is at least the exact transport cost, up
        to the marginal violation.
    dual_value : Tensor, shape (N,)
        The regularised objective, <P, C> + eps KL(P | p q^T) (+ rho KL(P 1 | p) when relaxed), from below: its dual at
        (f, g). Used for losses; its gradient with respect to q is g.
    f : Tensor, shape (N, K)
        Teacher potentials, P = p q^T exp((f + g - C) / eps). Finite also if p is 0.
    g : Tensor, shape (N, S)
        Student potentials, finite also if q is 0. When balanced, (f + t, g - t) is the same solution.
    plan : Tensor, shape (K, S), or None
        Mean of the N plans, if requested.
    converged : Tensor, shape (N,), bool
        Whether the violation reached the tolerance. The caller must handle False.
    violation : Tensor, shape (N,)
        L1 distance of the plan's marginal from its target, before the last update.
    iterations : Tensor, shape (N,), int64
        Full updates, including Newton steps.
    precision : str
        Arithmetic that was used, lowest precision first: ``float32``, ``float64``, ``log``, joined by ``+``.
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
    teacher_potentials: bool = True,
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
        Entropic regularisation, in units of the cost.
    tol : float
        L1 violation of the marginal at which an item has converged.
    max_iterations : int
        Per item, including Newton steps.
    teacher_relaxation : float or None
        rho: penalty for deviating from the teacher's marginal, in units of the cost. None keeps the marginal exact.
    aggregate_plan : bool
        Also return the mean plan.
    teacher_potentials : bool
        False omits ``f`` (shape (N, 0)): it is the only output as large as the input, and neither a ranking nor a loss
        on the student uses it.
    engine : {"auto", "fused", "torch"}
        ``auto`` uses the compiled loops if they exist and are faster; ``fused`` requires them, ``torch`` avoids them.

    Returns
    -------
    SinkhornResult
        In the dtype of the inputs (at least float32), independent of the arithmetic used internally.

    Raises
    ------
    ValueError
        Inputs that are not distributions, shapes that do not match, eps, tol or rho not positive.

    References
    ----------
    Cuturi, "Sinkhorn Distances", NeurIPS 2013; Chizat et al., "Scaling algorithms for unbalanced optimal
    transport problems", Math. Comp. 2018; Cuturi and Peyre, "Semidual regularized optimal transport", 2018.
    """
    device = predictions.device.type
    with torch.no_grad(), torch.autocast(device_type=device, enabled=False):
        result = _sinkhorn(
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
            aggregate_plan=aggregate_plan,
            teacher_potentials=teacher_potentials,
            engine=engine,
        )
    SOLVED.add(result.converged, result.iterations)
    return result


def _sinkhorn(
    problem: EntropicProblem,
    dtype: torch.dtype,
    *,
    aggregate_plan: bool,
    teacher_potentials: bool,
    engine: Engine,
) -> SinkhornResult:
    # The longer side should be eliminated; a relaxed teacher side is always the eliminated one.
    mirrored = problem.relaxation is None and problem.cost.shape[0] < problem.cost.shape[1]
    # The g of the swapped problem is our f; a relaxed dual value is computed from f.
    with_f = teacher_potentials or mirrored or problem.relaxation is not None
    solved = solve(problem.swapped() if mirrored else problem, aggregate_plan, engine, with_f=with_f)
    f, g, plan = (solved.g, solved.f, solved.plan.T) if mirrored else (solved.f, solved.g, solved.plan)
    dual = _dual_value(problem, f, g, solved.dual)
    return SinkhornResult(
        value=solved.value.to(dtype),
        dual_value=dual.to(dtype),
        f=(f if teacher_potentials else f[:, :0]).to(dtype),
        g=g.to(dtype),
        plan=(plan / max(1, problem.predictions.shape[0])).to(dtype) if aggregate_plan else None,
        converged=solved.violation <= problem.tol,
        violation=solved.violation.to(dtype),
        iterations=solved.iterations,
        precision="+".join(name for name in ("float32", "float64", "log") if name in solved.stages),
    )


def _dual_value(problem: EntropicProblem, f: Tensor, g: Tensor, balanced: Tensor) -> Tensor:
    rho = problem.relaxation
    if rho is None:
        return balanced
    teacher = -rho * torch.expm1(-f / rho)
    return row_products(problem.predictions, teacher) + row_products(problem.targets, g)
