"""Students that are trained together are those that are trained alone; stopped, they go on to the same weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from preceptor.contract.losses import RelationalLoss, RidgeMapLoss, TransportLoss
from preceptor.contract.training import Training
from tests.kept_checkpoint import Kept
from worker.distillation.evaluation.measures import HeldOutSet
from worker.distillation.evaluation.statistics import stratified_folds
from worker.distillation.inputs import ArrayItems
from worker.distillation.losses import FAMILIES, Evidence, Term
from worker.distillation.schedule import plan_for
from worker.distillation.students import Surroundings
from worker.distillation.students.bow import BowBlueprint
from worker.distillation.students.cnn import CnnBlueprint
from worker.distillation.students.mlp import MlpBlueprint
from worker.distillation.training.checkpoints import Ledger
from worker.distillation.training.lockstep import Row, fits, train_together
from worker.distillation.training.step import Material
from worker.distillation.training.trainer import Measures, TrainingStopped, train
from worker.errors import ComputationFailed

from .test_trainer import Quiet

PLAN = plan_for(30, 370, Training(epochs=2, seed=5, batch_size=32), 3e-3)
WEIGHTS = (0.0, 0.3, 3.0)


def _weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([tensor.flatten().float() for tensor in model.state_dict().values()])


@pytest.fixture
def blueprint(digits: Any, tmp_path: Path) -> MlpBlueprint:
    data = digits.data()
    return MlpBlueprint(Surroundings(data.items, data.transfer, 10, "cpu", tmp_path), {})


@pytest.fixture
def material(digits: Any, blueprint: MlpBlueprint) -> Material:
    data = digits.data()
    return Material(blueprint.encode(data.items), data.labels, np.arange(30), blueprint.encode(data.transfer))


def _term(digits: Any, rows: np.ndarray, loss: Any) -> Term:
    data = digits.data()
    folds = stratified_folds(data.labels[rows], 3, 0)
    teachers = [digits.teacher([0, 1, 2, 3]), digits.teacher([4, 5, 6])]
    evidence = Evidence(teachers, data.labels, rows, 10, folds, torch.device("cpu"))
    return FAMILIES[loss.name].prepare(evidence, loss)


def _rows(digits: Any, loss: Any) -> list[Row]:
    """Three folds of unequal size and another seed."""
    parts = [np.arange(0, 8), np.arange(8, 19), np.arange(19, 30)]
    kept = [np.setdiff1d(np.arange(30), part) for part in parts]
    found = [Row(rows, _term(digits, rows, loss), 5) for rows in kept]
    return [*found, replace(found[0], seed=6)]


@pytest.mark.parametrize("loss", [TransportLoss(), RidgeMapLoss(), RelationalLoss()])
@pytest.mark.parametrize("change", [{}, {"ema": 0.9, "balanced": True, "smoothing": 0.1}])
def test_together_and_alone_give_the_same_students(
    digits: Any, blueprint: MlpBlueprint, material: Material, loss: Any, change: dict[str, Any]
) -> None:
    rows, plan = _rows(digits, loss), replace(PLAN, **change)
    watch = Quiet()
    grid = train_together(blueprint, material, rows, WEIGHTS, plan, watch=watch)
    assert watch.steps == plan.steps * len(rows) * len(WEIGHTS)
    for row, students in zip(rows, grid, strict=True):
        for weight, student in zip(WEIGHTS, students, strict=True):
            alone = train(
                blueprint,
                replace(material, rows=row.rows),
                row.term,
                weight,
                replace(plan, seed=row.seed),
                watch=Quiet(),
            )
            torch.testing.assert_close(_weights(student.model), _weights(alone.model), rtol=1e-3, atol=2e-4)
    assert not torch.allclose(_weights(grid[0][0].model), _weights(grid[3][0].model), atol=1e-2)


def test_texts_of_unequal_length_do_not_disturb_each_other(tmp_path: Path) -> None:
    """The longest text of a batch differs from row to row, and hidden tokens with it."""
    texts = [" ".join(["even" if n % 2 else "odd", *["word"] * (n % 7), str(n % 5)]) for n in range(40)]
    labelled, transfer = ArrayItems(texts=texts[:12]), ArrayItems(texts=texts[12:])
    blueprint = BowBlueprint(Surroundings(labelled, transfer, 2, "cpu", tmp_path), {})
    labels = np.arange(12) % 2
    material = Material(blueprint.encode(labelled), labels, np.arange(12), blueprint.encode(transfer))
    rows = [Row(np.arange(0, 9), None, 1), Row(np.arange(3, 12), None, 1), Row(np.arange(1, 12), None, 2)]
    plan = replace(PLAN, steps=8, steps_per_epoch=4, batch_size=5)
    grid = train_together(blueprint, material, rows, (0.0,), plan, watch=Quiet())
    for row, (student,) in zip(rows, grid, strict=True):
        alone = train(
            blueprint, replace(material, rows=row.rows), None, 0.0, replace(plan, seed=row.seed), watch=Quiet()
        )
        torch.testing.assert_close(_weights(student.model), _weights(alone.model), rtol=1e-3, atol=2e-4)


def test_epochs_of_some_students_are_measured(digits: Any, blueprint: MlpBlueprint, material: Material) -> None:
    data = digits.data()
    held_out_set = HeldOutSet(blueprint.encode(data.test), np.arange(len(data.test_labels)), data.test_labels)
    rows = _rows(digits, TransportLoss())[:1]
    told: list[tuple[int, int, int]] = []
    grid = train_together(
        blueprint,
        material,
        rows,
        WEIGHTS,
        PLAN,
        watch=Quiet(),
        measures={(0, 0): Measures(held_out_set), (0, 2): Measures(held_out_set)},
        on_epoch=lambda row, column, metrics: told.append((row, column, metrics.epoch)),
    )
    assert told == [(0, 0, 1), (0, 2, 1), (0, 0, 2), (0, 2, 2)]
    alone = train(
        blueprint,
        replace(material, rows=rows[0].rows),
        rows[0].term,
        3.0,
        PLAN,
        watch=Quiet(),
        measures=Measures(held_out_set),
    )
    for ours, theirs in zip(grid[0][2].history, alone.history, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, abs=1e-4)
        assert ours.transport == pytest.approx(theirs.transport, abs=1e-4)
        assert ours.accuracy == pytest.approx(theirs.accuracy, abs=0.01)
    assert grid[0][0].history[-1].transport == 0
    assert grid[0][1].history == []


@pytest.mark.parametrize("stop_at", [0, 5, 12, 17])
@pytest.mark.parametrize("ema", [None, 0.9])
def test_stopped_together_they_go_on_to_the_same_weights(
    digits: Any, blueprint: MlpBlueprint, material: Material, stop_at: int, ema: float | None
) -> None:
    rows, plan = _rows(digits, TransportLoss())[:2], replace(PLAN, ema=ema)
    data = digits.data()
    held_out_set = HeldOutSet(blueprint.encode(data.test), np.arange(len(data.test_labels)), data.test_labels)
    measures = {(0, 1): Measures(held_out_set)}

    def run(watch: Quiet, ledger: Ledger | None) -> list[Any]:
        grid = train_together(
            blueprint, material, rows, WEIGHTS, plan, watch=watch, measures=measures, ledger=ledger, name="grid"
        )
        return [student for students in grid for student in students]

    whole, kept = run(Quiet(), None), Kept()
    with pytest.raises(TrainingStopped):
        run(Quiet(stop_at * 6 + 2), Ledger(kept, "job"))
    rest = Quiet()
    resumed = run(rest, Ledger(kept, "job"))
    assert rest.steps == (plan.steps - stop_at) * 6
    for one, other in zip(whole, resumed, strict=True):
        assert torch.equal(_weights(one.model), _weights(other.model))
    timeless = {"seconds", "items_per_second"}
    assert [entry.model_dump(exclude=timeless) for entry in whole[1].history] == [
        entry.model_dump(exclude=timeless) for entry in resumed[1].history
    ]


def test_what_becomes_no_number_is_said(digits: Any, blueprint: MlpBlueprint, material: Material) -> None:
    rows = _rows(digits, TransportLoss())[:1]
    with pytest.raises(ComputationFailed, match="became NaN or infinite"):
        train_together(blueprint, material, rows, WEIGHTS, replace(PLAN, learning_rate=1e30), watch=Quiet())


def test_only_light_students_whose_course_is_fixed_are_trained_together(
    digits: Any, blueprint: MlpBlueprint, tmp_path: Path
) -> None:
    assert fits(blueprint, PLAN, [None], 20)
    assert not fits(blueprint, replace(PLAN, patience=3), [None], 20)
    assert not fits(blueprint, replace(PLAN, parts=2), [None], 20)
    assert not fits(blueprint, PLAN, [None], 10_000)
    pictures = ArrayItems(images=[b""])
    assert not fits(CnnBlueprint(Surroundings(pictures, None, 10, "cpu", tmp_path), {}), PLAN, [None], 20)
