"""The forced plan: with one-hot student targets only one coupling exists.

If the student's side has all its mass on the true label, every coupling is the same. The cost of item i is then a plain
expectation: exact, without eps and iterations.
"""

import torch
from torch import Tensor


def _checked(predictions: Tensor, labels: Tensor, classes: int) -> Tensor:
    if predictions.ndim != 2 or predictions.shape[0] == 0:
        raise ValueError(f"predictions must be a non-empty (N, K) matrix, got {tuple(predictions.shape)}")
    if labels.shape != predictions.shape[:1]:
        raise ValueError(f"labels have shape {tuple(labels.shape)}, expected ({predictions.shape[0]},)")
    labels = labels.to(device=predictions.device, dtype=torch.int64)
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise ValueError(f"labels must lie in 0..{classes - 1}, got {int(labels.min())}..{int(labels.max())}")
    return labels


def joint_distribution(predictions: Tensor, labels: Tensor, classes: int) -> Tensor:
    r"""Joint distribution of the teacher's prediction and the true label.

    .. math:: J = \frac1N \sum_i p_i q_i^\top, \qquad q_i = \text{one-hot}(y_i)

    Parameters
    ----------
    predictions : Tensor, shape (N, K)
        Rows sum to 1.
    labels : Tensor, shape (N,), int64
    classes : int
        S, the number of student classes.

    Returns
    -------
    Tensor, shape (K, S)
        In the dtype of the predictions, float32 at least; sums to 1.

    Raises
    ------
    ValueError
        Shapes that do not match or a label outside 0..S-1.
    """
    labels = _checked(predictions, labels, classes)
    values = predictions.detach().to(torch.promote_types(predictions.dtype, torch.float32))
    sums = values.new_zeros(classes, values.shape[1])
    sums.index_add_(0, labels, values)
    return (sums / values.shape[0]).T.contiguous()


def forced_cost(predictions: Tensor, labels: Tensor, cost: Tensor) -> Tensor:
    r"""Transport cost of each item to its one-hot target, :math:`\langle p_i, C_{:, y_i}\rangle`.

    Parameters
    ----------
    predictions : Tensor, shape (N, K)
    labels : Tensor, shape (N,), int64
    cost : Tensor, shape (K, S)

    Returns
    -------
    Tensor, shape (N,)
        Its mean equals ``(joint_distribution(...) * cost).sum()``.

    Raises
    ------
    ValueError
        Shapes that do not match or a label outside 0..S-1.
    """
    if cost.ndim != 2 or cost.shape[0] != predictions.shape[-1]:
        raise ValueError(f"cost has shape {tuple(cost.shape)}, expected ({predictions.shape[-1]}, S)")
    labels = _checked(predictions, labels, cost.shape[1])
    dtype = torch.promote_types(predictions.dtype, torch.float32)
    # One small product, then one gathered number per item: an (N, K) gather of C would move K/S times as much data.
    costs = predictions.detach().to(dtype) @ cost.to(device=predictions.device, dtype=dtype)
    return costs.gather(1, labels.unsqueeze(1)).squeeze(1)
