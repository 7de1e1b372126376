"""Ground costs: distances between teacher labels and student labels.

One scale for all teachers. A cost matrix is not rescaled per teacher, because that would hide how near a label set is
as a whole.
"""

import torch
from torch import Tensor


def _unit_rows(rows: Tensor, side: str) -> Tensor:
    if rows.ndim != 2 or rows.shape[0] == 0 or rows.shape[1] == 0:
        raise ValueError(f"{side} embeddings must be a non-empty (labels, d) matrix, got {tuple(rows.shape)}")
    rows = rows.detach().to(torch.float64)
    if not torch.isfinite(rows).all():
        raise ValueError(f"{side} embeddings contain a value that is not finite")
    norms = rows.square().sum(dim=1, keepdim=True).sqrt()
    if (norms <= 1e-12).any():
        row = int(norms.squeeze(1).argmin())
        raise ValueError(f"{side} embedding {row} is a zero vector: it has no direction, so no cosine; embed it again")
    return rows / norms


def cosine_cost(teacher: Tensor, student: Tensor) -> Tensor:
    r"""Cosine distance between every teacher label and every student label.

    .. math:: C_{kc} = \max(0, 1 - \cos(t_k, s_c))

    Parameters
    ----------
    teacher : Tensor, shape (K, d)
        Label embeddings, any floating dtype; they need not be normalised.
    student : Tensor, shape (S, d)

    Returns
    -------
    Tensor, shape (K, S), float32
        Between 0 (same direction) and 2 (opposite).

    Raises
    ------
    ValueError
        A zero or non-finite vector, or two different dimensions ``d``.
    """
    if teacher.ndim == 2 and student.ndim == 2 and teacher.shape[1] != student.shape[1]:
        raise ValueError(
            f"teacher embeddings have dimension {teacher.shape[1]}, student embeddings {student.shape[1]}; "
            "embed both with the same encoder"
        )
    cosine = _unit_rows(teacher, "teacher") @ _unit_rows(student, "student").T
    return (1.0 - cosine).clamp_min_(0.0).to(torch.float32)


def blend_cost(text_cost: Tensor, prototype_cost: Tensor, alpha: float) -> Tensor:
    r"""Blend of the two ground costs, :math:`\alpha C^{text} + (1-\alpha) C^{prototype}`.

    Parameters
    ----------
    text_cost, prototype_cost : Tensor, shape (K, S)
    alpha : float in [0, 1]
        1 is names only, 0 is prototypes only.

    Returns
    -------
    Tensor, shape (K, S), float32

    Raises
    ------
    ValueError
        Different shapes, or an alpha outside [0, 1].
    """
    if text_cost.shape != prototype_cost.shape:
        raise ValueError(f"the two costs differ in shape: {tuple(text_cost.shape)}, {tuple(prototype_cost.shape)}")
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha must lie in [0, 1], got {alpha}")
    return (alpha * text_cost + (1.0 - alpha) * prototype_cost).to(torch.float32)
