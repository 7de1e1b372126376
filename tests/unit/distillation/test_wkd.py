"""WKD-L across label sets: its cost, what it says of left-out items, its gradient, and that it teaches."""

from typing import Any

import numpy as np
import pytest
import torch

from preceptor.contract.losses import WkdLoss
from worker.distillation.evaluation.statistics import stratified_folds
from worker.distillation.inputs import TeacherSignal
from worker.distillation.losses import FAMILIES, Evidence, HeldOutTerm, LikeliestClassTerm, transport
from worker.distillation.losses.relational import space
from worker.distillation.losses.transport import softmax
from worker.distillation.losses.wkd import KAPPAS, cost_of, interrelation, left_out, wkd_teacher_map

EPS = 0.05


def _evidence(digits: Any, *teachers: TeacherSignal, labels: Any = None, rows: Any = None) -> Evidence:
    labels = digits.y[digits.labelled] if labels is None else labels
    rows = np.arange(len(labels)) if rows is None else rows
    return Evidence(list(teachers), labels, rows, 10, stratified_folds(labels[rows], 2, 0), torch.device("cpu"))


def test_cost_rises_with_distance_from_zero_and_stays_below_one() -> None:
    near = np.linspace(1.0, -1.0, 50)
    for kappa in (0.1, 1.0, 10.0):
        cost = cost_of(near, kappa)
        assert cost[0] == 0
        assert (np.diff(cost) > 0).all()
        assert cost.max() == pytest.approx(1 - np.exp(-2 * kappa))
    assert (cost_of(near[1:], 2.0) > cost_of(near[1:], 1.0)).all()


def test_classes_are_nearest_to_themselves(digits: Any) -> None:
    """A teacher of the student's own ten digits, in the student's order and in another."""
    labels, rows = digits.y[digits.labelled], np.arange(30)
    for classes in (list(range(10)), [7, 2, 9, 0, 4, 1, 8, 3, 6, 5]):
        teacher = digits.teacher(sorted(classes))
        shuffled = TeacherSignal(
            "t",
            [teacher.labels[c] for c in classes],
            teacher.labelled_logits[:, classes],
            teacher.name_cost[classes],
            None if teacher.transfer_logits is None else teacher.transfer_logits[:, classes],
        )
        found = interrelation(space(shuffled), softmax(shuffled.logits, 1.0), rows, labels, 10)
        assert (np.abs(found.near) <= 1 + 1e-9).all()
        assert found.near.argmax(axis=1).tolist() == classes


def test_what_is_said_of_an_item_does_not_know_its_label(digits: Any) -> None:
    """By brute force: the cost is recomputed without the item."""
    teacher, labels = digits.teacher([0, 1, 2, 3, 4, 5]), digits.y[digits.labelled]
    said = softmax(teacher.logits, 1.0)
    vectors = space(teacher)
    found = left_out(
        said[:30].astype(np.float64), labels, interrelation(vectors, said, np.arange(30), labels, 10), 1.0, EPS
    )
    assert found.sum(axis=1) == pytest.approx(1.0)
    for item in (0, 13, 29):
        kept = np.delete(np.arange(30), item)
        near = interrelation(vectors, said, kept, labels[kept], 10).near
        kernel = np.exp(-cost_of(near, 1.0) / EPS)
        assert found[item] == pytest.approx(said[item] @ (kernel / kernel.sum(axis=1, keepdims=True)), abs=1e-9)


def test_an_only_item_leaves_nothing_to_compare_with(digits: Any) -> None:
    teacher, labels = digits.teacher([0, 1, 2, 3]), digits.y[digits.labelled]
    rows = np.arange(0, 30, 3)
    found = interrelation(space(teacher), softmax(teacher.logits, 1.0), rows, labels[rows], 10)
    assert (found.without == 0).all()
    mapped = wkd_teacher_map(teacher, _evidence(digits, rows=rows), WkdLoss()).left_out
    assert mapped.sum(axis=1) == pytest.approx(1.0)
    assert np.isfinite(mapped).all()


def test_kappa_is_the_one_that_makes_left_out_labels_likeliest(digits: Any) -> None:
    teacher, labels = digits.teacher([0, 1, 2, 3, 4, 5]), digits.y[digits.labelled]
    evidence, each = _evidence(digits), np.arange(30)
    likely = {}
    for kappa in KAPPAS:
        teacher_map = wkd_teacher_map(teacher, evidence, WkdLoss(kappa=kappa))
        likely[kappa] = np.log(teacher_map.left_out[each, labels]).sum()
    best = max(likely, key=likely.__getitem__)
    chosen = wkd_teacher_map(teacher, evidence, WkdLoss())
    assert chosen.cost == pytest.approx(wkd_teacher_map(teacher, evidence, WkdLoss(kappa=best)).cost)
    assert len({round(value, 3) for value in likely.values()}) == len(KAPPAS)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_gradient_is_that_of_finite_differences(
    digits: Any, monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    monkeypatch.setattr(transport, "_TOLERANCE", 1e-9)
    # At a wider eps than the default: differences of a number in single precision need a smooth one.
    settings = WkdLoss(kappa=1.0, eps=0.2, temperature=temperature)
    term = FAMILIES["wkd"].prepare(_evidence(digits, digits.teacher([0, 1, 2, 3])), settings)
    assert callable(term)
    rows = torch.tensor([0, 9, 200])
    logits = torch.randn(3, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    term(logits, rows).backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() > 1e-3
    step = 1e-4
    for row, column in ((0, 0), (1, 3), (2, 7)):
        moved = torch.zeros(3, 10, dtype=torch.float64)
        moved[row, column] = step
        with torch.no_grad():
            slope = (term(logits + moved, rows) - term(logits - moved, rows)) / (2 * step)
        assert logits.grad[row, column].item() == pytest.approx(slope.item(), abs=2e-5)


def test_a_teacher_of_the_students_own_classes_teaches_them(digits: Any) -> None:
    """The term alone, minimised over free logits of items without labels, ends at the right classes."""
    term = FAMILIES["wkd"].prepare(_evidence(digits, digits.teacher(list(range(10)))), WkdLoss())
    assert callable(term)
    assert isinstance(term, HeldOutTerm)
    assert isinstance(term, LikeliestClassTerm)
    rows = torch.arange(30, 400)
    logits = torch.zeros(370, 10, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.5)
    first = term(logits, rows).item()
    for _ in range(30):
        optimiser.zero_grad()
        loss = term(logits, rows)
        loss.backward()
        optimiser.step()
    assert term(logits, rows).item() < first
    right = logits.detach().argmax(dim=1).numpy() == digits.y[digits.transfer]
    assert right.mean() > 0.85


def test_labels_outside_the_rows_are_not_read(digits: Any) -> None:
    teacher, labels = digits.teacher([0, 1, 2, 3]), digits.y[digits.labelled]
    kept = np.flatnonzero(np.arange(30) % 3 != 0)
    spoiled = np.where(np.arange(30) % 3 == 0, 0, labels)
    values = [
        FAMILIES["wkd"]
        .prepare(_evidence(digits, teacher, labels=given, rows=kept), WkdLoss())(torch.zeros(30, 10), torch.arange(30))
        .item()
        for given in (labels, spoiled)
    ]
    assert values[0] == values[1]
    assert values[0] != 0


def test_noise_is_heard_less(digits: Any) -> None:
    """A teacher of noise has its classes nowhere in particular: its term moves the student less."""
    pulls = []
    for teacher in (digits.teacher(list(range(10))), digits.noise_teacher(0)):
        term = FAMILIES["wkd"].prepare(_evidence(digits, teacher), WkdLoss(kappa=1.0))
        logits = torch.zeros(400, 10, requires_grad=True)
        term(logits, torch.arange(400)).backward()
        assert logits.grad is not None
        pulls.append(logits.grad.abs().sum().item())
    assert pulls[1] < 0.5 * pulls[0]
