"""A batch of entropic problems, checked once, so that the solvers can rely on valid inputs."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_SUM_SLACK = 1e-2
# The rounding of a float32 sum of a thousand terms appears as a marginal error of about 1e-7.
FLOAT32_TOL = 1e-5


@dataclass(frozen=True, slots=True)
class EntropicProblem:
    r"""N problems that share one ground cost.

    .. math::
        \min_{P \ge 0,\; P^\top 1 = q_i} \langle P, C\rangle
        + \varepsilon\, KL(P \,|\, p_i q_i^\top) + \rho\, KL(P 1 \,|\, p_i)

    With ``relaxation=None`` (:math:`\rho = \infty`) the teacher's side is a constraint, P 1 = p_i.

    Attributes
    ----------
    predictions : Tensor, shape (N, K), float32 or float64
    targets : Tensor, shape (N, S), same dtype
    cost : Tensor, shape (K, S), float64
    eps : float
    tol : float
        L1 violation of the marginal, per item.
    relaxation : float or None
        rho above.
    max_iterations : int
    """

    predictions: Tensor
    targets: Tensor
    cost: Tensor
    eps: float
    tol: float
    relaxation: float | None
    max_iterations: int

    @property
    def power(self) -> float:
        r"""Exponent of the teacher-side update, :math:`\lambda = \rho / (\rho + \varepsilon)`; 1 when balanced."""
        return self.power_at(self.eps)

    def power_at(self, eps: float) -> float:
        """The exponent at another eps."""
        return 1.0 if self.relaxation is None else self.relaxation / (self.relaxation + eps)

    def swapped(self) -> "EntropicProblem":
        """The same balanced problems with the two sides exchanged."""
        if self.relaxation is not None:
            raise ValueError("a problem relaxed on one side cannot be swapped")
        return EntropicProblem(
            self.targets,
            self.predictions,
            self.cost.T.contiguous(),
            self.eps,
            self.tol,
            None,
            self.max_iterations,
        )


def _distributions(rows: Tensor, name: str, width: int, tol: float) -> Tensor:
    if rows.ndim != 2 or rows.shape[1] != width:
        raise ValueError(f"{name} has shape {tuple(rows.shape)}, expected (N, {width})")
    rows = rows.detach().to(torch.promote_types(rows.dtype, torch.float32))
    if rows.shape[0] == 0:
        return rows
    sums = rows.sum(dim=1, keepdim=True)
    slack = float((sums - 1).abs().amax())
    # NaN fails both comparisons, infinity the second.
    if not (bool(rows.amin() >= 0) and slack <= _SUM_SLACK):
        raise ValueError(f"{name}: every row must be a distribution (non-negative, finite, sum 1 within {_SUM_SLACK})")
    # A sum that is off by less than a hundredth of the tolerance has no effect, and a division copies all rows.
    return rows if slack <= max(0.01 * tol, 4 * torch.finfo(rows.dtype).eps) else rows / sums


def entropic_problem(
    predictions: Tensor,
    targets: Tensor,
    cost: Tensor,
    *,
    eps: float,
    tol: float,
    max_iterations: int,
    relaxation: float | None,
) -> EntropicProblem:
    """Check and normalise the inputs of a batch; see :class:`EntropicProblem` for the meaning.

    Raises
    ------
    ValueError
        Shapes that do not match, rows that are not distributions, a non-finite cost, eps, tol or rho not positive.
    """
    if cost.ndim != 2 or cost.numel() == 0:
        raise ValueError(f"cost must be a non-empty (K, S) matrix, got {tuple(cost.shape)}")
    for name, number in (("eps", eps), ("tol", tol), ("teacher_relaxation", relaxation)):
        if number is not None and not (math.isfinite(number) and number > 0):
            raise ValueError(f"{name} must be a positive number, got {number}")
    if max_iterations < 1:
        raise ValueError(f"max_iterations must be at least 1, got {max_iterations}")
    wide = cost.detach().to(torch.float64).contiguous()
    # A NaN anywhere is both the minimum and the maximum.
    if not (math.isfinite(float(wide.amin())) and math.isfinite(float(wide.amax()))):
        raise ValueError("cost contains a value that is not finite")
    predictions = _distributions(predictions, "predictions", cost.shape[0], tol)
    targets = _distributions(targets, "targets", cost.shape[1], tol)
    if predictions.shape[0] != targets.shape[0]:
        raise ValueError(f"{predictions.shape[0]} predictions but {targets.shape[0]} targets")
    if predictions.device != targets.device:
        raise ValueError(f"predictions are on {predictions.device}, targets on {targets.device}")
    dtype = torch.promote_types(predictions.dtype, targets.dtype)
    if tol < FLOAT32_TOL and dtype != torch.float64:
        # Two float32 rows that sum to 1 differ by more than this tolerance; iterations cannot reduce it.
        dtype = torch.float64
        predictions, targets = predictions.to(dtype), targets.to(dtype)
        # Copies in float64, which may be changed in place.
        predictions /= predictions.sum(1, True)
        targets /= targets.sum(1, True)
    return EntropicProblem(
        predictions.to(dtype),
        targets.to(dtype),
        wide.to(predictions.device),
        float(eps),
        float(tol),
        None if relaxation is None else float(relaxation),
        max_iterations,
    )


def row_products(x: Tensor, y: Tensor) -> Tensor:
    """Inner product of each pair of rows, (N,), without the product matrix."""
    return torch.bmm(x.unsqueeze(1), y.unsqueeze(2)).flatten()
