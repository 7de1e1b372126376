"""Libraries that run in this process, per item or per batch, and their final marginal errors."""

from collections.abc import Callable

import numpy as np
import ot
import torch
from torch import Tensor

from benchmarks.transport.workloads import Batch


def marginal_error(plan: Tensor, p: Tensor, q: Tensor) -> float:
    """Largest L1 violation of both marginals over a batch of plans (B, K, S)."""
    return float(((plan.sum(2) - p).abs().sum(1) + (plan.sum(1) - q).abs().sum(1)).max())


def sinkhorn_loop(batch: Batch, items: int, eps: float, tol: float) -> Callable[[], list[np.ndarray]]:
    """``ot.sinkhorn`` item by item, float64."""
    p, q, cost = (side.double().numpy() for side in (batch.predictions[:items], batch.targets[:items], batch.cost))
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    return lambda: [
        ot.sinkhorn(a, b, cost, eps, stopThr=tol, numItermax=10_000, warn=False) for a, b in zip(p, q, strict=True)
    ]


def emd_loop(batch: Batch, items: int) -> Callable[[], list[float]]:
    """``ot.emd2`` item by item."""
    p, q, cost = (side.double().numpy() for side in (batch.predictions[:items], batch.targets[:items], batch.cost))
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    return lambda: [ot.emd2(a, b, cost) for a, b in zip(p, q, strict=True)]


def solve_batch(batch: Batch, items: int, eps: float, tol: float) -> Callable[[], Tensor]:
    """``ot.solve_batch(method="sinkhorn")``, float32, one call; returns the plans."""
    p, q = batch.predictions[:items], batch.targets[:items]
    cost = batch.cost.expand(items, -1, -1).contiguous()
    return lambda: ot.solve_batch(cost, eps, p, q, max_iter=10_000, tol=tol, method="sinkhorn", grad="detach").plan


def unrolled(batch: Batch, eps: float, tol: float) -> Callable[[], Tensor]:
    """Kernel Sinkhorn in plain torch, float32, all items until the slowest has converged; returns v."""
    kernel = torch.exp(-batch.cost / eps)
    p, q = batch.predictions, batch.targets

    def run() -> Tensor:
        v = q.clone()
        for iteration in range(10_000):
            u = p / (v @ kernel.T)
            t = u @ kernel
            if iteration % 5 == 4 and float((v * t - q).abs().sum(1).max()) <= tol:
                break
            v = q / t
        return v

    return run


def loss_by_solve_batch(batch: Batch, items: int, eps: float, tol: float) -> Callable[[Tensor], Tensor]:
    """Loss of logits (items, S) by ``solve_batch(grad="autodiff")``: value with entropy, as POT defines it."""
    p = batch.predictions[:items]
    cost = batch.cost.expand(items, -1, -1).contiguous()

    def loss(logits: Tensor) -> Tensor:
        q = torch.softmax(logits, 1)
        solved = ot.solve_batch(cost, eps, p, q, max_iter=10_000, tol=tol, method="sinkhorn", grad="autodiff")
        return solved.value.sum()

    return loss


def loss_by_solve_loop(batch: Batch, items: int, eps: float, tol: float) -> Callable[[Tensor], Tensor]:
    """Loss of logits (items, S) by ``ot.solve(grad="envelope")``, item by item, KL-regularised, float64."""
    p = batch.predictions[:items].double()
    p = p / p.sum(1, keepdim=True)
    cost = batch.cost.double()

    def loss(logits: Tensor) -> Tensor:
        q = torch.softmax(logits.double(), 1)
        values = [
            ot.solve(cost, a, b, reg=eps, reg_type="KL", max_iter=10_000, tol=tol, grad="envelope").value
            for a, b in zip(p, q, strict=True)
        ]
        return torch.stack(values).sum()

    return loss


def loss_unrolled(batch: Batch, eps: float, tol: float) -> Callable[[Tensor], Tensor]:
    """Loss of logits (N, S) with back-propagation through plain torch iterations, float32."""
    kernel = torch.exp(-batch.cost / eps)
    p = batch.predictions

    def loss(logits: Tensor) -> Tensor:
        q = torch.softmax(logits, 1)
        v = q
        for iteration in range(10_000):
            u = p / (v @ kernel.T)
            t = u @ kernel
            if iteration % 5 == 4 and float((v * t - q).detach().abs().sum(1).max()) <= tol:
                break
            v = q / t
        # KL-regularised dual value at the last potentials.
        return -eps * (p * (v @ kernel.T).log()).sum() - eps * (q * t.log()).sum()

    return loss
