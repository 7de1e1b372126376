"""The losses beside transport: what each one measures, and that none looks at what it must not."""

from typing import Any

import numpy as np
import pytest
import torch

from preceptor.contract.losses import RelationalLoss, UldLoss
from worker.distillation.inputs import TeacherSignal
from worker.distillation.losses import FAMILIES, Evidence
from worker.distillation.losses.relational import (
    TEMPERATURES,
    best_temperature,
    class_sums,
    cosines,
    local_classifier,
    space,
)
from worker.distillation.losses.soft_labels import SoftLabelsTerm


def _evidence(teachers: list[TeacherSignal], labels: np.ndarray, rows: np.ndarray, classes: int) -> Evidence:
    return Evidence(teachers, labels, rows, classes, [], torch.device("cpu"))


def _teacher(logits: np.ndarray, classes: int) -> TeacherSignal:
    width = logits.shape[1]
    cost = np.ones((width, classes), dtype=np.float32)
    return TeacherSignal("t", [str(n) for n in range(width)], logits.astype(np.float32), cost)


def test_soft_labels_are_a_divergence_weighted_by_item() -> None:
    targets = torch.tensor([[0.7, 0.3], [0.5, 0.5], [1.0, 0.0]])
    term = SoftLabelsTerm(targets, torch.tensor([1.0, 0.0, 2.0]))
    logits = torch.tensor([[0.2, -0.4], [3.0, 0.0], [0.0, 0.0]])
    first = torch.nn.functional.kl_div(torch.log_softmax(logits[:1], 1), targets[:1], reduction="sum")
    expected = (first + 2 * np.log(2)) / 3
    assert term(logits, torch.arange(3)).item() == pytest.approx(expected.item(), abs=1e-6)
    assert term(targets[:1].log(), torch.tensor([0])).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("width", [2, 3, 6])
def test_sorted_predictions_are_compared_whatever_their_number(width: int) -> None:
    generator = np.random.default_rng(width)
    logits, ours = generator.normal(size=(5, width)), generator.normal(size=(5, 3))
    term = FAMILIES["uld"].prepare(_evidence([_teacher(logits, 3)], np.zeros(5, int), np.arange(5), 3), UldLoss())

    def falling(values: np.ndarray) -> np.ndarray:
        p = np.exp(values) / np.exp(values).sum(1, keepdims=True)
        return np.pad(-np.sort(-p, axis=1), ((0, 0), (0, 6 - values.shape[1])))

    expected = np.abs(falling(logits) - falling(ours)).sum(1).mean()
    assert term(torch.from_numpy(ours), torch.arange(5)).item() == pytest.approx(expected, abs=1e-6)


def test_sorted_predictions_do_not_know_which_class_is_which() -> None:
    logits = np.random.default_rng(0).normal(size=(4, 5))
    terms = [
        FAMILIES["uld"].prepare(_evidence([_teacher(given, 3)], np.zeros(4, int), np.arange(4), 3), UldLoss())
        for given in (logits, logits[:, ::-1])
    ]
    ours = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    values = [term(ours, torch.arange(4)) for term in terms]
    assert values[0].item() == pytest.approx(values[1].item())
    values[0].backward()
    assert ours.grad is not None
    assert ours.grad.abs().max() > 0


def test_centres_in_the_teachers_space_tell_the_classes(digits: Any) -> None:
    """Digits 0 to 7 from linear scores of these, from three labelled pictures each."""
    labels = digits.y[digits.labelled]
    said = local_classifier(digits.teacher(list(range(8))), np.arange(30), labels, 10, None)
    assert said.sum(axis=1) == pytest.approx(1.0)
    transfer = said[30:].argmax(axis=1) == digits.y[digits.transfer]
    assert transfer.mean() > 0.8
    noise = local_classifier(digits.noise_teacher(0), np.arange(30), labels, 10, None)
    assert (noise[30:].argmax(axis=1) == digits.y[digits.transfer]).mean() < 0.25


def test_features_are_taken_where_they_are_shown(digits: Any) -> None:
    plain = digits.noise_teacher(0)
    shown = TeacherSignal(
        plain.name,
        plain.labels,
        plain.labelled_logits,
        plain.name_cost,
        plain.transfer_logits,
        digits.x[digits.labelled],
        digits.x[digits.transfer],
    )
    assert space(shown).shape == (400, 64)
    assert np.linalg.norm(space(shown), axis=1) == pytest.approx(1.0)
    said = local_classifier(shown, np.arange(30), digits.y[digits.labelled], 10, 0.1)
    assert (said[30:].argmax(axis=1) == digits.y[digits.transfer]).mean() > 0.6


def test_temperature_is_chosen_by_left_out_items() -> None:
    """By brute force: each item's own centre is recomputed without it."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 4)
    vectors = generator.normal(size=(12, 5)) + 0.8 * np.eye(3, 5)[labels]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = {}
    for tau in TEMPERATURES:
        likely = []
        for item in range(12):
            kept = np.arange(12) != item
            near = cosines(vectors[[item]], class_sums(vectors[kept], labels[kept], 3))[0]
            own = near[labels[item]]
            full = cosines(vectors[[item]], class_sums(vectors, labels, 3))[0]
            full[labels[item]] = own
            likely.append(full[labels[item]] / tau - np.log(np.exp(full / tau).sum()))
        scores[tau] = np.mean(likely)
    assert best_temperature(vectors, labels, class_sums(vectors, labels, 3)) == max(scores, key=scores.__getitem__)
    assert best_temperature(vectors[:3], np.arange(3), class_sums(vectors[:3], np.arange(3), 3)) == 0.1


def test_a_fold_that_is_left_out_is_not_looked_at(digits: Any) -> None:
    teacher, labels = digits.teacher([0, 1, 2, 3]), digits.y[digits.labelled]
    kept = np.flatnonzero(np.arange(30) % 3 != 0)
    spoiled = np.where(np.arange(30) % 3 == 0, 0, labels)
    logits = torch.zeros(30, 10)
    values = [
        FAMILIES["relational"]
        .prepare(_evidence([teacher], given, kept, 10), RelationalLoss())(logits, torch.arange(30))
        .item()
        for given in (labels, spoiled)
    ]
    assert values[0] == values[1] > 0
