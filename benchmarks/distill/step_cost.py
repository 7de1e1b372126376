"""Cost of the transport term in a training step of a ResNet-18-class student, compared with KL in the same run."""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from transformers import ResNetConfig, ResNetForImageClassification

from benchmarks.report import Report
from worker.transport.loss import transport_loss

BATCH, TEACHER_CLASSES, CLASSES = 128, 1000, 100
_EPS = 0.05


def measure(report: Report, *, rounds: int, side: int) -> None:
    """Time whole steps, interleaved: cross-entropy only, with KL to fixed soft labels, with the transport term.

    Parameters
    ----------
    rounds
        Steps of each kind.
    side
        Side of the pictures in pixels.
    """
    torch.manual_seed(0)
    config = ResNetConfig(
        embedding_size=64,
        hidden_sizes=[64, 128, 256, 512],
        depths=[2, 2, 2, 2],
        layer_type="basic",
        num_labels=CLASSES,
    )
    student = ResNetForImageClassification(config)
    optimiser = torch.optim.SGD(student.parameters(), lr=1e-3)
    pictures = torch.randn(BATCH, 3, side, side)
    labels = torch.randint(0, CLASSES, (BATCH,))
    teacher = torch.softmax(3 * torch.randn(BATCH, TEACHER_CLASSES), dim=1)
    mapped = torch.softmax(3 * torch.randn(BATCH, CLASSES), dim=1)
    cost = torch.rand(TEACHER_CLASSES, CLASSES)

    def kl(logits: Tensor) -> Tensor:
        return nn.functional.kl_div(logits.log_softmax(1), mapped, reduction="batchmean")

    def transport(logits: Tensor) -> Tensor:
        return transport_loss(logits, teacher, cost, eps=_EPS) / _EPS

    kinds: dict[str, Callable[[Tensor], Tensor] | None] = {"CE alone": None, "KL": kl, "transport": transport}

    def step(term: Callable[[Tensor], Tensor] | None) -> float:
        began = time.thread_time() if torch.get_num_threads() == 1 else time.perf_counter()
        logits = student(pictures).logits
        loss = nn.functional.cross_entropy(logits, labels)
        if term is not None:
            loss = loss + term(logits)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        ended = time.thread_time() if torch.get_num_threads() == 1 else time.perf_counter()
        return ended - began

    for term in kinds.values():
        step(term)
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, term in kinds.items():
            seconds[name].append(step(term))
    case = f"batch {BATCH}, {side} px, K {TEACHER_CLASSES}, S {CLASSES}"
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    for name, values in seconds.items():
        low, high = np.quantile(values, [0.25, 0.75])
        report.row("step", case, name, median_s=medians[name], quartiles=[round(low, 3), round(high, 3)])
    # The terms separately, because a step of seconds hides milliseconds.
    logits = torch.randn(BATCH, CLASSES, requires_grad=True)
    alone: dict[str, float] = {}
    for name, term in (("KL", kl), ("transport", transport)):
        times: list[float] = []
        for _ in range(20):
            began = time.perf_counter()
            term(logits).backward()
            times.append(time.perf_counter() - began)
        alone[name] = float(np.median(times))
        report.row("step", case, f"{name}, forward and gradient alone", median_s=alone[name])
    share = alone["transport"] / medians["CE alone"]
    report.target("transport term's share of a step", 0.10, share, at_most=True)
