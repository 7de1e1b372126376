"""Entropic transport in the log domain: slow, and correct for any eps and any range of cost.

Contains the soft transforms, a damped Newton method on the student's potentials and log-domain Sinkhorn. Used for items
for which kernel scaling would need too many iterations or its arithmetic fails. All computations are in float64, on
blocks of (B, K, S).
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_BLOCK_ELEMENTS = 2_000_000
# torch.linalg has no types.
_linalg: Any = torch.linalg


@dataclass(slots=True)
class Response:
    """The plan implied by the student's potentials g: all quantities of one item that a step needs.

    Attributes
    ----------
    rows : Tensor, shape (B, K, S)
        Conditional plans w_kc; each row sums to 1.
    mass : Tensor, shape (B, K)
        Row masses of the plan; the predictions themselves when balanced.
    f : Tensor, shape (B, K)
        Teacher potentials.
    column : Tensor, shape (B, S)
        Student marginal of the plan.
    """

    rows: Tensor
    mass: Tensor
    f: Tensor
    column: Tensor


def block_size(teacher_labels: int, student_labels: int) -> int:
    """Items per (B, K, S) block; a block then takes about 16 MB of float64."""
    return max(1, _BLOCK_ELEMENTS // (teacher_labels * student_labels))


def respond(p: Tensor, log_q: Tensor, cost: Tensor, g: Tensor, eps: float, power: float) -> Response:
    r"""Soft c-transform of g: :math:`f_k = -\lambda\varepsilon\log\sum_c q_c e^{(g_c - C_{kc})/\varepsilon}`.

    ``log_q`` is -inf where q is 0.
    """
    exponent = (log_q + g / eps).unsqueeze(1) - cost / eps
    log_sum = exponent.logsumexp(dim=2)
    rows = (exponent - log_sum.unsqueeze(2)).exp()
    f = -power * eps * log_sum
    mass = p if power == 1.0 else p * ((1.0 - power) * log_sum).exp()
    column = torch.bmm(mass.unsqueeze(1), rows).squeeze(1)
    return Response(rows, mass, f, column)


def student_update(p: Tensor, cost: Tensor, f: Tensor, eps: float) -> Tensor:
    r"""Soft c-transform of f: :math:`g_c = -\varepsilon\log\sum_k p_k e^{(f_k - C_{kc})/\varepsilon}`; (B, S)."""
    exponent = (p.log() + f / eps).unsqueeze(2) - cost / eps
    return -eps * exponent.logsumexp(dim=1)


def newton_direction(response: Response, q: Tensor, eps: float, power: float) -> Tensor:
    r"""Newton step of the concave semi-dual in g.

    .. math::
        H = \frac1\varepsilon \bigl(\mathrm{diag}(P^\top 1) - \lambda \sum_k m_k w_k w_k^\top\bigr),
        \qquad H \,\delta = q - P^\top 1

    H is scaled to unit diagonal; when balanced, its null vector (a constant) is added.
    """
    column, live = response.column, (q > 0) & (response.column > 0)
    root = torch.where(live, column, torch.ones_like(column)).sqrt()
    weighted = response.rows * (response.mass * power).unsqueeze(2)
    matrix = -(response.rows.mT @ weighted) / (root.unsqueeze(2) * root.unsqueeze(1))
    null = torch.where(live, root, torch.zeros_like(root))
    if power == 1.0:
        matrix += null.unsqueeze(2) * null.unsqueeze(1) / null.square().sum(1)[:, None, None]
    matrix.mul_(live.unsqueeze(2) & live.unsqueeze(1))
    size = q.shape[1]
    matrix.diagonal(dim1=1, dim2=2).add_(1.0)
    residual = torch.where(live, (q - column) / root, torch.zeros_like(q))
    jitter = 1e-13
    while True:
        matrix.diagonal(dim1=1, dim2=2).add_(jitter * size)
        factor: Tensor
        failed: Tensor
        factor, failed = _linalg.cholesky_ex(matrix)
        if not bool(failed.any()) or jitter > 1e-3:
            break
        jitter *= 100.0
    step = torch.cholesky_solve(residual.unsqueeze(2), factor).squeeze(2) / root
    return torch.where(live, step, torch.zeros_like(step)) * eps


def newton_block(
    p: Tensor, q: Tensor, cost: Tensor, g: Tensor, *, eps: float, tol: float, power: float, max_steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Damped Newton on g until each item's violation is at most ``tol``.

    The step factor log(1 + d) / d, d the spread of the step in units of eps, guarantees ascent: the third
    derivative of log-sum-exp is bounded by the second times the spread.

    Returns
    -------
    g : Tensor, shape (B, S)
    violation : Tensor, shape (B,)
    steps : Tensor, shape (B,), int64

    References
    ----------
    Bach, "Self-concordant analysis for logistic regression", EJS 2010; Cuturi and Peyre, "Semidual
    regularized optimal transport", SIAM Review 2018.
    """
    g = g.clone()
    violation = torch.full((p.shape[0],), torch.inf, dtype=p.dtype, device=p.device)
    steps = torch.zeros(p.shape[0], dtype=torch.int64, device=p.device)
    running = torch.arange(p.shape[0], device=p.device)
    log_q = q.log()
    for step in range(max_steps + 1):
        response = respond(p[running], log_q[running], cost, g[running], eps, power)
        current = (response.column - q[running]).abs().sum(dim=1)
        violation[running] = current
        open_items = ~(current <= tol)
        if step == max_steps or not bool(open_items.any()):
            break
        running = running[open_items]
        response = Response(
            response.rows[open_items],
            response.mass[open_items],
            response.f[open_items],
            response.column[open_items],
        )
        direction = newton_direction(response, q[running], eps, power)
        spread = ((direction.amax(1) - direction.amin(1)) / eps).clamp_min(1e-12)
        g[running] += (torch.log1p(spread) / spread).unsqueeze(1) * direction
        steps[running] += 1
    return g, violation, steps


def log_sinkhorn_block(
    p: Tensor, q: Tensor, cost: Tensor, g: Tensor, *, eps: float, tol: float, power: float, max_iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Plain Sinkhorn in the log domain; returns g, violation and iterations as :func:`newton_block`."""
    g = g.clone()
    violation = torch.full((p.shape[0],), torch.inf, dtype=p.dtype, device=p.device)
    iterations = torch.zeros(p.shape[0], dtype=torch.int64, device=p.device)
    running = torch.arange(p.shape[0], device=p.device)
    log_q = q.log()
    for done in range(max_iterations):
        response = respond(p[running], log_q[running], cost, g[running], eps, power)
        current = (response.column - q[running]).abs().sum(dim=1)
        violation[running] = current
        open_items = ~(current <= tol)
        if done + 1 == max_iterations or not bool(open_items.any()):
            break
        running = running[open_items]
        g[running] = student_update(p[running], cost, response.f[open_items], eps)
        iterations[running] += 1
    return g, violation, iterations


def anneal(cost: Tensor, eps: float) -> list[float]:
    """Decreasing values of eps from a quarter of the cost's range to ``eps``, each a quarter of the previous one."""
    start = max(eps, float(cost.amax() - cost.amin()) / 4.0)
    stages = max(0, math.ceil(math.log(start / eps, 4.0))) if start > eps else 0
    return [eps * 4.0**k for k in range(stages, 0, -1)] + [eps]


def solve_annealed(
    p: Tensor, q: Tensor, cost: Tensor, *, eps: float, tol: float, relaxation: float | None, max_iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Solve from scratch at any eps: decreasing eps, each stage initialised with the potentials of the previous one.

    Each stage is a few Sinkhorn sweeps and damped Newton steps; the last one ends with plain Sinkhorn for items that
    Newton did not solve, up to ``max_iterations`` in total.

    Returns
    -------
    g : Tensor, shape (B, S)
    violation : Tensor, shape (B,)
    iterations : Tensor, shape (B,), int64
    """
    g = torch.zeros_like(q)
    iterations = torch.zeros(p.shape[0], dtype=torch.int64, device=p.device)
    violation = torch.full((p.shape[0],), torch.inf, dtype=p.dtype, device=p.device)
    stages = anneal(cost, eps)
    for number, stage in enumerate(stages):
        power = 1.0 if relaxation is None else relaxation / (relaxation + stage)
        wanted = tol if stage == stages[-1] else max(tol, 1e-2)
        left = max(1, (max_iterations - int(iterations.max())) // (len(stages) - number))
        g, violation, used = log_sinkhorn_block(
            p, q, cost, g, eps=stage, tol=wanted, power=power, max_iterations=min(left, 30)
        )
        iterations += used
        left -= int(used.max())
        if left > 0 and bool((violation > wanted).any()):
            g, violation, used = newton_block(
                p, q, cost, g, eps=stage, tol=wanted, power=power, max_steps=min(left, 100)
            )
            iterations += used
    left = max_iterations - int(iterations.max())
    if left > 0 and bool((violation > tol).any()):
        power = 1.0 if relaxation is None else relaxation / (relaxation + eps)
        g, violation, used = log_sinkhorn_block(p, q, cost, g, eps=eps, tol=tol, power=power, max_iterations=left)
        iterations += used
    return g, violation, iterations


def finish_in_log_domain(
    p: Tensor, q: Tensor, cost: Tensor, g: Tensor, *, eps: float, power: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A final full update from g: f (B, K), g (B, S), plans (B, K, S) with exact student marginals, value (B,)."""
    log_q = q.log()
    response = respond(p, log_q, cost, g, eps, power)
    renewed = student_update(p, cost, response.f, eps)
    exponent = (response.f.unsqueeze(2) + renewed.unsqueeze(1) - cost) / eps
    plans = (exponent + p.log().unsqueeze(2) + log_q.unsqueeze(1)).exp()
    return response.f, renewed, plans, (plans * cost).sum(dim=(1, 2))
