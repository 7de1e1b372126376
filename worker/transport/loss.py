r"""The distillation loss: entropic transport between teacher and student predictions, across label sets.

The gradient comes from the dual potential (envelope theorem): with KL-regularised transport,

.. math:: \nabla_q OT_\varepsilon(p, q) = g,

so nothing is back-propagated through iterations. It is a custom operator, so that ``torch.compile`` does not split it
and autocast does not lower its precision.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from worker.transport.sinkhorn import sinkhorn

_MAX_ITERATIONS = 5_000
# At 1e-3 the gradient error is about one percent, here 2e-5 to 1e-4; see docs/transport.md.
_TOL = 1e-5


class UnconvergedWarning(UserWarning):
    """Some items of a loss stopped short of the tolerance; their gradient is approximate."""


@torch.library.custom_op("preceptor::entropic_transport", mutates_args=())
def _entropic_transport(
    predictions: Tensor, targets: Tensor, cost: Tensor, eps: float, tol: float, relaxation: float, both: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Regularised value (N,) and potentials f (N, K), g (N, S); ``relaxation`` is inf when balanced.

    f is omitted, (N, 0), unless ``both`` sides need a gradient.
    """
    result = sinkhorn(
        predictions,
        targets,
        cost,
        eps=eps,
        tol=tol,
        max_iterations=_MAX_ITERATIONS,
        teacher_relaxation=None if math.isinf(relaxation) else relaxation,
        teacher_potentials=both,
    )
    if not bool(result.converged.all()):
        missed = int((~result.converged).sum())
        warnings.warn(
            f"{missed} of {predictions.shape[0]} items did not reach tol {tol} "
            f"(worst {float(result.violation.max()):.1e}); raise eps or tol",
            UnconvergedWarning,
            stacklevel=2,
        )
    return result.dual_value, result.f, result.g


@_entropic_transport.register_fake  # pyright: ignore[reportUnknownMemberType]
def _(  # pyright: ignore[reportUnusedFunction]
    predictions: Tensor, targets: Tensor, cost: Tensor, eps: float, tol: float, relaxation: float, both: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        predictions.new_empty(predictions.shape[0]),
        torch.empty_like(predictions) if both else predictions.new_empty(predictions.shape[0], 0),
        torch.empty_like(targets),
    )


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    _, f, g = output
    ctx.save_for_backward(f, g)
    ctx.eps, ctx.relaxation = inputs[3], inputs[5]


def _envelope(ctx: Any, grad_value: Tensor, grad_f: Tensor, grad_g: Tensor) -> tuple[Tensor | None, ...]:
    f, g = ctx.saved_tensors
    rho = ctx.relaxation
    teacher = f if math.isinf(rho) else -(rho + ctx.eps) * torch.expm1(-f / rho)
    scale = grad_value.unsqueeze(1)
    to_predictions = scale * teacher if ctx.needs_input_grad[0] else None
    to_targets = scale * g if ctx.needs_input_grad[1] else None
    return to_predictions, to_targets, None, None, None, None, None


_entropic_transport.register_autograd(  # pyright: ignore[reportUnknownMemberType]
    _envelope, setup_context=_remember
)


def entropic_value(
    predictions: Tensor,
    targets: Tensor,
    cost: Tensor,
    *,
    eps: float,
    tol: float = _TOL,
    teacher_relaxation: float | None = None,
) -> Tensor:
    """Regularised transport of each pair, differentiable in both distributions; shape (N,).

    It is ``SinkhornResult.dual_value``. Its gradient with respect to a distribution is defined up to a constant
    per row, which a softmax removes.

    Raises
    ------
    ValueError
        As :func:`worker.transport.sinkhorn`.
    """
    rho = math.inf if teacher_relaxation is None else teacher_relaxation
    dtype = torch.promote_types(torch.promote_types(predictions.dtype, targets.dtype), torch.float32)
    value, _, _ = _entropic_transport(
        predictions.to(dtype), targets.to(dtype), cost.detach(), eps, tol, rho, predictions.requires_grad
    )
    return value


def _reduced(values: Tensor, weights: Tensor | None, reduction: str) -> Tensor:
    if weights is not None:
        if weights.shape != values.shape:
            raise ValueError(f"weights have shape {tuple(weights.shape)}, expected {tuple(values.shape)}")
        values = values * weights
    if reduction == "mean":
        return values.mean()
    if reduction == "sum":
        return values.sum()
    if reduction == "none":
        return values
    raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


def transport_loss(
    student_logits: Tensor,
    teacher_probabilities: Tensor,
    cost: Tensor,
    *,
    eps: float,
    tol: float = _TOL,
    teacher_relaxation: float | None = None,
    debias: bool = False,
    weights: Tensor | None = None,
    reduction: str = "mean",
    student_cost: Tensor | None = None,
    teacher_cost: Tensor | None = None,
) -> Tensor:
    r"""Transport from the teacher's predictions to the student's, as a loss on the student's logits.

    .. math::
        \ell_i = OT_\varepsilon(p_i, q_i; C), \qquad q_i = \mathrm{softmax}(z_i), \qquad
        \frac{\partial \ell_i}{\partial z_i} = q_i \odot (g_i - \langle q_i, g_i\rangle)

    Debiased (the Sinkhorn divergence): :math:`\ell_i - \tfrac12 OT_\varepsilon(p_i, p_i; C^{tt})
    - \tfrac12 OT_\varepsilon(q_i, q_i; C^{ss})`.

    Parameters
    ----------
    student_logits : Tensor, shape (N, S)
        Any floating dtype; lower precision is converted to float32.
    teacher_probabilities : Tensor, shape (N, K)
        Rows sum to 1. No gradient flows into them.
    cost : Tensor, shape (K, S)
    eps, tol, teacher_relaxation
        As in :func:`worker.transport.sinkhorn`.
    debias : bool
        Needs ``student_cost`` (S, S) and ``teacher_cost`` (K, K), on the same scale as ``cost``. Balanced only.
    weights : Tensor, shape (N,), or None
        One factor per item, applied before the reduction. ``mean`` divides by N, not by their sum.
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    Tensor
        Scalar, or shape (N,) with ``reduction="none"``.

    Warns
    -----
    UnconvergedWarning
        Items stopped short of ``tol``.

    Raises
    ------
    ValueError
        Shapes that do not match, an unknown reduction, ``debias`` without its costs or with a relaxation.

    References
    ----------
    Feydy et al., "Interpolating between Optimal Transport and MMD using Sinkhorn Divergences", AISTATS 2019.
    """
    targets = _softmax(student_logits)
    teacher = teacher_probabilities.detach()
    values = entropic_value(teacher, targets, cost, eps=eps, tol=tol, teacher_relaxation=teacher_relaxation)
    if debias:
        if teacher_relaxation is not None:
            raise ValueError("debias is defined for balanced transport: omit teacher_relaxation")
        if student_cost is None or teacher_cost is None:
            raise ValueError("debias needs student_cost (S, S) and teacher_cost (K, K)")
        own = entropic_value(targets, targets, student_cost, eps=eps, tol=tol)
        with torch.no_grad():
            constant = entropic_value(teacher, teacher, teacher_cost, eps=eps, tol=tol)
        values = values - 0.5 * own - 0.5 * constant
    return _reduced(values, weights, reduction)


def _softmax(logits: Tensor) -> Tensor:
    return torch.softmax(logits, dim=1, dtype=torch.promote_types(logits.dtype, torch.float32))


def coverage_weights(costs: Sequence[Tensor], temperature: float) -> Tensor:
    r"""Weight of each teacher for each student class, by the distance of its nearest label.

    .. math:: W_{mc} = \mathrm{softmax}_m\bigl(-\min_k C^{(m)}_{kc} / \tau\bigr)

    Parameters
    ----------
    costs : sequence of Tensor, shapes (K_m, S)
    temperature : float
        tau, in the units of the cost.

    Returns
    -------
    Tensor, shape (M, S)
        Columns sum to 1.

    Raises
    ------
    ValueError
        No teacher, or a temperature that is not positive.
    """
    if not costs:
        raise ValueError("coverage_weights needs at least one cost matrix")
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    nearest = torch.stack([cost.amin(dim=0) for cost in costs])
    return torch.softmax(-nearest / temperature, dim=0)


def faculty_loss(
    student_logits: Tensor,
    teacher_probabilities: Sequence[Tensor],
    costs: Sequence[Tensor],
    *,
    eps: float,
    tol: float = _TOL,
    weights: Tensor | None = None,
    teacher_relaxation: float | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Several teachers at once: :math:`\ell_i = \sum_m w_{mi}\, OT_\varepsilon(p^{(m)}_i, q_i; C^{(m)})`.

    Parameters
    ----------
    student_logits : Tensor, shape (N, S)
    teacher_probabilities : sequence of M Tensors, shapes (N, K_m)
    costs : sequence of M Tensors, shapes (K_m, S)
    weights : Tensor, shape (M,) or (M, N), or None
        Equal weights by default. If labels y are available, ``coverage_weights(costs, tau)[:, y]``.
    eps, tol, teacher_relaxation, reduction
        As in :func:`transport_loss`.

    Returns
    -------
    Tensor
        Scalar, or shape (N,) with ``reduction="none"``.

    Raises
    ------
    ValueError
        No teacher, counts or shapes that do not match.
    """
    count = len(teacher_probabilities)
    if count == 0 or len(costs) != count:
        raise ValueError(
            f"{count} teachers and {len(costs)} cost matrices: expected one of each per teacher, at least one"
        )
    if weights is None:
        weights = torch.full((count,), 1.0 / count, device=student_logits.device)
    if weights.shape[0] != count or weights.shape[1:] not in ((), student_logits.shape[:1]):
        raise ValueError(f"weights have shape {tuple(weights.shape)}, expected ({count},) or ({count}, N)")
    targets = _softmax(student_logits)
    total = targets.new_zeros(targets.shape[0])
    for share, probabilities, cost in zip(weights, teacher_probabilities, costs, strict=True):
        value = entropic_value(
            probabilities.detach(), targets, cost, eps=eps, tol=tol, teacher_relaxation=teacher_relaxation
        )
        total = total + share.to(value.dtype) * value
    return _reduced(total, None, reduction)
