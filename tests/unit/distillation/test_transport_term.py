"""The transport term: what it measures, its gradient, and where its minimum lies."""

from typing import Any

import numpy as np
import pytest
import torch

from preceptor.contract.losses import MappedKlLoss, NoLoss, RidgeMapLoss, TransportLoss, WkdLoss
from worker.distillation.evaluation.statistics import stratified_folds
from worker.distillation.losses import FAMILIES, Evidence, LikeliestClassTerm, transport
from worker.distillation.losses.transport import TransportTerm, joint_teacher_map, likeliest_classes, softmax

EPS = 0.05
LEARNING = {"transport": TransportLoss(), "ridge_map": RidgeMapLoss(), "mapped_kl": MappedKlLoss(), "wkd": WkdLoss()}
"""Losses that learn from labels."""


def _problem(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """p (6, 5), T (5, 4) and the cost that stands for T, float64."""
    generator = torch.Generator().manual_seed(seed)
    p = torch.softmax(2 * torch.randn(6, 5, generator=generator, dtype=torch.float64), dim=1)
    table = torch.softmax(2 * torch.randn(5, 4, generator=generator, dtype=torch.float64), dim=1)
    return p, table, -EPS * table.log()


def _term(p: torch.Tensor, cost: torch.Tensor, relaxation: float | None = None) -> TransportTerm:
    return TransportTerm(
        [p], [cost], torch.ones(len(p), 1, dtype=p.dtype), [], p.argmax(1), eps=EPS, relaxation=relaxation
    )


def test_is_zero_where_the_student_says_what_the_teacher_means() -> None:
    p, table, cost = _problem(0)
    logits = (p @ table).log().requires_grad_()
    value = _term(p, cost)(logits, torch.arange(6))
    value.backward()
    assert value.item() == pytest.approx(0.0, abs=1e-3)
    assert logits.grad is not None
    assert logits.grad.abs().max() < 5e-3


def test_is_at_least_the_divergence_from_the_mapped_prediction() -> None:
    p, table, cost = _problem(1)
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    q = torch.softmax(logits, dim=1)
    divergence = (q * (q.log() - (p @ table).log())).sum(dim=1).mean()
    assert _term(p, cost)(logits, torch.arange(6)) > divergence


def test_of_an_undisputed_class_is_the_divergence_from_its_row() -> None:
    _, table, cost = _problem(2)
    p = torch.eye(5, dtype=torch.float64)
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    q = torch.softmax(logits, dim=1)
    divergence = (q * (q.log() - table.log())).sum(dim=1).mean()
    assert _term(p, cost)(logits, torch.arange(5)).item() == pytest.approx(divergence.item(), abs=1e-4)


def test_gradient_is_that_of_finite_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_TOLERANCE", 1e-9)
    p, _, cost = _problem(3)
    term = _term(p, cost)
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64, requires_grad=True)
    term(logits, torch.arange(6)).backward()
    assert logits.grad is not None
    step = 1e-4
    for row, column in ((0, 0), (2, 3), (5, 1)):
        moved = torch.zeros(6, 4, dtype=torch.float64)
        moved[row, column] = step
        with torch.no_grad():
            slope = (term(logits + moved, torch.arange(6)) - term(logits - moved, torch.arange(6))) / (2 * step)
        assert logits.grad[row, column].item() == pytest.approx(slope.item(), abs=2e-5)


def test_relaxation_asks_for_less() -> None:
    p, _, cost = _problem(4)
    logits = 3 * torch.randn(6, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    strict = _term(p, cost)(logits, torch.arange(6))
    loose = _term(p, cost, relaxation=0.02)(logits, torch.arange(6))
    assert loose < strict


def test_rows_choose_the_items() -> None:
    p, _, cost = _problem(5)
    logits = torch.randn(2, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    both = _term(p, cost)(logits, torch.tensor([4, 1]))
    alone = [_term(p, cost)(logits[n : n + 1], torch.tensor([row])) for n, row in ((0, 4), (1, 1))]
    assert both.item() == pytest.approx(sum(value.item() for value in alone) / 2, abs=1e-4)


def test_softmax_keeps_its_rows() -> None:
    found = softmax(np.array([[1000.0, 0.0], [0.0, 0.0]], dtype=np.float32), 2.0)
    assert found == pytest.approx(np.array([[1.0, 0.0], [0.5, 0.5]]))


def _evidence(digits: Any, *teachers: Any) -> Evidence:
    labels = digits.y[digits.labelled]
    rows = np.arange(len(labels))
    return Evidence(list(teachers), labels, rows, 10, stratified_folds(labels, 3, 0), torch.device("cpu"))


def test_two_heads_are_one_distribution(digits: Any) -> None:
    teacher_map = joint_teacher_map(digits.teacher([0, 1, 2]), _evidence(digits), TransportLoss())
    assert teacher_map.predictions.shape[1] == teacher_map.cost.shape[0]
    assert teacher_map.predictions.sum(axis=1) == pytest.approx(np.ones(len(teacher_map.predictions)), abs=1e-5)
    assert teacher_map.mapped(EPS).sum(axis=1) == pytest.approx(np.ones(len(teacher_map.predictions)), abs=2e-3)


def test_labels_outside_the_rows_are_not_read(digits: Any) -> None:
    """The gate's honesty rests on this."""
    teacher, labels = digits.teacher([0, 1, 2, 3]), digits.y[digits.labelled]
    kept = np.flatnonzero(np.arange(len(labels)) % 3 != 0)
    spoiled = labels.copy()
    spoiled[np.arange(len(labels)) % 3 == 0] = 0
    logits = torch.zeros(len(labels), 10)
    values = []
    for given in (labels, spoiled):
        folds = stratified_folds(given[kept], 2, 0)
        evidence = Evidence([teacher], given, kept, 10, folds, torch.device("cpu"))
        for name, settings in LEARNING.items():
            term = FAMILIES[name].prepare(evidence, settings)
            values.append(term(logits, torch.arange(len(labels))).item())
    assert values[: len(LEARNING)] == values[len(LEARNING) :]


def test_a_mapped_teacher_is_followed_to_where_transport_has_its_minimum(digits: Any) -> None:
    """With one teacher both losses are 0 at p T, and KL alone is KL(p T | q) elsewhere."""
    evidence = _evidence(digits, digits.teacher([0, 1, 2, 3]))
    teacher_map = joint_teacher_map(evidence.teachers[0], evidence, TransportLoss())
    meant = torch.from_numpy(teacher_map.mapped(EPS).astype(np.float32))
    term = FAMILIES["mapped_kl"].prepare(evidence, MappedKlLoss())
    rows = torch.arange(len(meant))
    assert term(meant.clamp_min(1e-9).log(), rows).item() == pytest.approx(0.0, abs=1e-4)
    away = torch.zeros(len(meant), 10, requires_grad=True)
    value = term(away, rows)
    value.backward()
    assert value.item() > 0.05
    assert away.grad is not None
    # Downhill leads to what was meant.
    agree = (away.grad * (meant.mean(1, keepdim=True) - meant)).sum(1) >= 0
    assert agree.float().mean() > 0.95


def test_no_loss_is_no_loss(digits: Any) -> None:
    term = FAMILIES["none"].prepare(_evidence(digits), NoLoss())
    logits = torch.ones(2, 10, requires_grad=True)
    term(logits, torch.arange(2)).backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0


def test_what_the_teachers_say_is_told_by_class(digits: Any) -> None:
    """A teacher of the first four digits is right about most of what it knows, and the heard one of two is believed."""
    evidence = _evidence(digits, digits.teacher([0, 1, 2, 3]))
    term = FAMILIES["transport"].prepare(evidence, TransportLoss())
    assert isinstance(term, LikeliestClassTerm)
    known = evidence.labels < 4
    likeliest = term.likeliest[: len(known)].numpy()
    assert (likeliest[known] == evidence.labels[known]).mean() > 0.7
    sure, other = np.eye(3), np.roll(np.eye(3), 1, axis=1)
    assert likeliest_classes([sure, other], np.array([[0.9, 0.1]] * 3, np.float32)).tolist() == [0, 1, 2]
    assert likeliest_classes([sure, other], np.array([[0.1, 0.9]] * 3, np.float32)).tolist() == [1, 2, 0]
