"""What a request may say of the training: each option does what its name says."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from preceptor.contract.distillations import EpochMetrics
from preceptor.contract.losses import FeaturesLoss, TransportLoss
from preceptor.contract.training import EarlyStopping, Training
from tests.kept_checkpoint import Kept
from worker.distillation.evaluation.measures import Agreement, HeldOutSet, predict
from worker.distillation.inputs import Recipe, TeacherSignal
from worker.distillation.losses import FAMILIES, Evidence
from worker.distillation.losses.term import EmbeddingTerm
from worker.distillation.progress import Progress
from worker.distillation.runs import prepare
from worker.distillation.schedule import Plan, plan_for, share_of_peak
from worker.distillation.students import Surroundings
from worker.distillation.students.mlp import MlpBlueprint
from worker.distillation.training.checkpoints import Ledger
from worker.distillation.training.devices import Accelerated, Machine, machine_for
from worker.distillation.training.step import EmbeddingProbe, Material, Stepper, parts_of
from worker.distillation.training.trainer import Measures, TrainingStopped, train
from worker.errors import ComputationFailed

CPU = torch.device("cpu")


class Counting:
    """Counts; stops at a step."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.steps, self.skipped = 0, 0
        self._stop_at = stop_at

    def step(self) -> None:
        if self.steps == self._stop_at:
            raise TrainingStopped
        self.steps += 1

    def epoch(self, metrics: EpochMetrics) -> None:
        pass

    def skip(self, steps: int) -> None:
        self.skipped = steps


@pytest.fixture
def setting(digits: Any, tmp_path: Path) -> tuple[MlpBlueprint, Material, Plan, HeldOutSet]:
    data = digits.data()
    blueprint = MlpBlueprint(Surroundings(data.items, data.transfer, 10, "cpu", tmp_path), {})
    rows = np.arange(len(data.labels))
    material = Material(blueprint.encode(data.items), data.labels, rows, blueprint.encode(data.transfer))
    held_out_set = HeldOutSet(blueprint.encode(data.test), np.arange(len(data.test_labels)), data.test_labels)
    return blueprint, material, plan_for(30, 370, Training(epochs=4, seed=5), 3e-3), held_out_set


def _evidence(digits: Any) -> Evidence:
    data = digits.data()
    return Evidence([digits.teacher([0, 1, 2, 3])], data.labels, np.arange(len(data.labels)), 10, [], CPU)


def _weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([tensor.flatten().float() for tensor in model.state_dict().values()])


def _same(whole: Any, resumed: Any) -> None:
    assert torch.equal(_weights(whole.model), _weights(resumed.model))
    assert [e.model_dump(exclude={"seconds", "items_per_second"}) for e in whole.history] == [
        e.model_dump(exclude={"seconds", "items_per_second"}) for e in resumed.history
    ]


def _interrupted(stop_at: int, *given: Any, **more: Any) -> Any:
    kept = Kept()
    with pytest.raises(TrainingStopped):
        train(*given, watch=Counting(stop_at), ledger=Ledger(kept, "job"), name="run", **more)
    return train(*given, watch=Counting(), ledger=Ledger(kept, "job"), name="run", **more)


def test_schedules() -> None:
    shares = {name: [share_of_peak(name, step, 100) for step in range(100)] for name in ("cosine", "constant")}
    assert shares["cosine"][0] == 1.0
    assert np.all(np.diff(shares["cosine"]) < 0)
    assert shares["cosine"][-1] < 0.001
    assert set(shares["constant"]) == {1.0}


def test_the_learning_rate_is_reported(setting: Any) -> None:
    blueprint, material, plan, _ = setting
    trained = train(blueprint, material, None, 0.0, replace(plan, schedule="constant"), watch=Counting())
    assert {entry.learning_rate for entry in trained.history} == {plan.learning_rate}
    assert all(entry.items_per_second and entry.items_per_second > 0 for entry in trained.history)


@pytest.mark.parametrize("parts", [2, 3, 64])
def test_parts_of_a_batch_make_the_step_of_the_whole(setting: Any, digits: Any, parts: int) -> None:
    blueprint, material, plan, _ = setting
    term = FAMILIES["transport"].prepare(_evidence(digits), _loss("transport"))
    whole = train(blueprint, material, term, 1.0, plan, watch=Counting())
    split = train(blueprint, material, term, 1.0, replace(plan, parts=parts), watch=Counting())
    torch.testing.assert_close(_weights(split.model), _weights(whole.model), rtol=1e-3, atol=1e-4)
    assert [e.loss for e in split.history] == pytest.approx([e.loss for e in whole.history], abs=1e-4)


@pytest.mark.parametrize(("rows", "parts", "sizes"), [(7, 3, [3, 2, 2]), (3, 64, [3]), (5, 4, [3, 2]), (1, 2, [1])])
def test_no_part_holds_a_single_item_of_several(rows: int, parts: int, sizes: list[int]) -> None:
    found = parts_of(torch.arange(rows), parts)
    assert [len(part) for part in found] == sizes
    assert sorted(torch.cat(found).tolist()) == list(range(rows))


def test_the_running_mean_is_delivered(setting: Any) -> None:
    blueprint, material, plan, held_out_set = setting
    plan = replace(plan, ema=0.9, schedule="constant", learning_rate=0.02)
    asked = Measures(test=held_out_set)
    mean = train(blueprint, material, None, 0.0, plan, watch=Counting(), measures=asked)
    last = train(blueprint, material, None, 0.0, replace(plan, ema=None), watch=Counting(), measures=asked)
    # The mean is of the last weights and those before: near, not equal.
    apart = (_weights(mean.model) - _weights(last.model)).norm() / _weights(last.model).norm()
    assert 1e-4 < apart < 0.3
    assert mean.history[-1].accuracy == pytest.approx(float(held_out_set.right(mean.model).mean()))
    assert torch.equal(mean.model.get_buffer("mean"), last.model.get_buffer("mean"))


def test_the_running_mean_by_hand(setting: Any) -> None:
    blueprint, material, plan, _ = setting
    torch.manual_seed(0)
    stepper = Stepper(blueprint.build(), material, None, 0.0, replace(plan, ema=0.5), Machine())
    seen, mean = [], None
    for step in range(6):
        stepper.step(step)
        now = stepper.state()["model.head.weight"].clone()
        kept = min(0.5, (1 + step) / (10 + step))
        mean = now if mean is None else kept * mean + (1 - kept) * now
        seen.append(now)
    assert mean is not None
    torch.testing.assert_close(stepper.student.get_parameter("head.weight").detach(), mean)


@pytest.mark.parametrize("stop_at", [2, 6, 13])
def test_mean_and_early_stop_survive_a_stop(setting: Any, digits: Any, stop_at: int) -> None:
    blueprint, material, plan, held_out_set = setting
    plan = replace(plan, steps=60, ema=0.9, patience=3, learning_rate=0.05)
    term = FAMILIES["transport"].prepare(_evidence(digits), _loss("transport"))
    asked = Measures(watched=held_out_set)
    whole = train(blueprint, material, term, 1.0, plan, watch=Counting(), measures=asked)
    _same(whole, _interrupted(stop_at, blueprint, material, term, 1.0, plan, measures=asked))


def test_an_early_stop_delivers_the_best(setting: Any) -> None:
    blueprint, material, plan, held_out_set = setting
    hasty = replace(plan, steps=120, learning_rate=0.5, schedule="constant", patience=3)
    watch = Counting()
    trained = train(blueprint, material, None, 0.0, hasty, watch=watch, measures=Measures(watched=held_out_set))
    watched = [entry.watched for entry in trained.history]
    assert watch.skipped > 0
    assert watch.steps + watch.skipped == hasty.steps
    assert watched.index(min(watched)) == len(watched) - 1 - 3
    assert held_out_set.surprise(trained.model) == pytest.approx(min(watched))


def test_watched_items_are_of_every_class_and_not_trained_on(digits: Any, tmp_path: Path) -> None:
    data = digits.data()
    recipe = Recipe(training=Training(early_stopping=EarlyStopping(held_out=0.3)))
    blueprint = MlpBlueprint(Surroundings(data.items, data.transfer, 10, "cpu", tmp_path), {})
    runs = prepare(
        recipe, data, [], blueprint, CPU, Progress(lambda kind, event: None, lambda: False), Ledger(None, "")
    )
    assert set(data.labels[runs.watched]) == set(data.labels)
    assert not set(runs.rows) & set(runs.watched)
    assert len(runs.rows) + len(runs.watched) == len(data.labels)
    measures = runs.measures(None, reported=False)
    assert measures.watched is not None
    assert list(measures.watched.labels) == list(data.labels[runs.watched])


def test_nothing_to_watch_is_said(digits: Any, tmp_path: Path) -> None:
    data = digits.data()
    firsts = np.unique(data.labels, return_index=True)[1]
    one = replace(
        data,
        items=type(data.items)(features=data.items.features[firsts]),
        labels=data.labels[firsts],
    )
    recipe = Recipe(training=Training(early_stopping=EarlyStopping()))
    blueprint = MlpBlueprint(Surroundings(one.items, None, 10, "cpu", tmp_path), {})
    with pytest.raises(ComputationFailed, match="early_stopping has none to watch"):
        prepare(recipe, one, [], blueprint, CPU, Progress(lambda k, e: None, lambda: False), Ledger(None, ""))


def test_balanced_classes_weigh_the_same(setting: Any) -> None:
    blueprint, material, plan, held_out_set = setting
    # Class 0 with one item, nine times as many of the others: without weights it is not learnt.
    rows = np.concatenate([material.rows[material.labels == 0][:1], material.rows[material.labels != 0]])
    rare = replace(material, rows=rows, transfer=None)
    stepper = Stepper(blueprint.build(), rare, None, 0.0, replace(plan, balanced=True), Machine())
    importance = stepper._importance
    assert importance is not None
    counts = np.bincount(rare.labels[rows])
    np.testing.assert_allclose(importance.numpy() * counts, len(rows) / 10, rtol=1e-5)
    longer = replace(plan, steps=60)
    plain = train(blueprint, rare, None, 0.0, longer, watch=Counting())
    fair = train(blueprint, rare, None, 0.0, replace(longer, balanced=True), watch=Counting())
    zeros = held_out_set.labels == 0
    assert held_out_set.right(fair.model)[zeros].mean() > held_out_set.right(plain.model)[zeros].mean()


def test_agreement_is_with_what_was_told(setting: Any) -> None:
    blueprint, material, plan, _exam = setting
    trained = train(blueprint, material, None, 0.0, plan, watch=Counting())
    own = _answers(trained.model, material)
    asked = Measures(agreement=Agreement.over(material.transfer, own))
    again = train(blueprint, material, None, 0.0, plan, watch=Counting(), measures=asked)
    assert again.history[-1].agreement == 1.0
    assert again.history[0].agreement < 1.0


def _answers(model: nn.Module, material: Material) -> Any:
    return predict(model, material.transfer).argmax(axis=1)


def _loss(name: str) -> Any:
    return {"transport": TransportLoss, "features": FeaturesLoss}[name]()


class TestFeatures:
    """Matching the embedding through a projector."""

    def test_gradients_reach_student_and_projector(self, digits: Any) -> None:
        term = FAMILIES["features"].prepare(_evidence(digits), _loss("features"))
        assert isinstance(term, EmbeddingTerm)
        torch.manual_seed(0)
        projector = term.projector(6).double()
        hidden = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
        rows = torch.tensor([0, 3, 31, 40, 399])
        term._vectors = [vectors.double() for vectors in term._vectors]
        assert torch.autograd.gradcheck(lambda h: term.match(h, rows, projector), hidden)
        term.match(hidden, rows, projector).backward()
        assert all(parameter.grad is not None for parameter in projector.parameters())

    def test_student_comes_to_share_the_geometry(self, setting: Any, digits: Any) -> None:
        blueprint, material, plan, _ = setting
        term = FAMILIES["features"].prepare(_evidence(digits), _loss("features"))
        trained = train(blueprint, material, term, 1.0, replace(plan, steps=120), watch=Counting())
        assert trained.history[-1].transport < 0.5 * trained.history[0].transport
        # What was hung onto the model for training is gone.
        assert not any(module._forward_pre_hooks for module in trained.model.modules())

    @pytest.mark.parametrize("stop_at", [1, 9])
    def test_the_projector_survives_a_stop(self, setting: Any, digits: Any, stop_at: int) -> None:
        blueprint, material, plan, _ = setting
        term = FAMILIES["features"].prepare(_evidence(digits), _loss("features"))
        whole = train(blueprint, material, term, 1.0, plan, watch=Counting())
        _same(whole, _interrupted(stop_at, blueprint, material, term, 1.0, plan))

    def test_a_student_without_linear_layer_is_refused(self) -> None:
        with pytest.raises(ComputationFailed, match="no linear last layer"):
            EmbeddingProbe(nn.Sequential(nn.Conv2d(1, 1, 1)))

    def test_teachers_features_are_preferred(self, digits: Any) -> None:
        given = digits.teacher([0, 1, 2, 3])
        known = TeacherSignal(
            given.name,
            given.labels,
            given.labelled_logits,
            given.name_cost,
            given.transfer_logits,
            labelled_features=np.ones((30, 7), np.float32),
            transfer_features=np.zeros((370, 7), np.float32),
        )
        term = FAMILIES["features"].prepare(replace(_evidence(digits), teachers=[known]), _loss("features"))
        assert isinstance(term, EmbeddingTerm)
        assert term.projector(3)[0].in_features == 7


class TestPrecision:
    """Mixed precision through accelerate."""

    def test_bf16_learns_nearly_the_same(self, setting: Any) -> None:
        blueprint, material, plan, held_out_set = setting
        machine = machine_for("bf16", CPU, light=True)
        assert isinstance(machine, Accelerated)
        half = train(blueprint, material, None, 0.0, replace(plan, steps=40), watch=Counting(), machine=machine)
        full = train(blueprint, material, None, 0.0, replace(plan, steps=40), watch=Counting())
        assert half.model.get_parameter("head.weight").dtype == torch.float32
        assert not torch.equal(_weights(half.model), _weights(full.model))
        assert held_out_set.right(half.model).mean() == pytest.approx(held_out_set.right(full.model).mean(), abs=0.05)

    def test_precision_may_change_from_job_to_job(self) -> None:
        for mixed in ("bf16", "no", "bf16"):
            assert Accelerated(mixed, CPU).processes == 1

    def test_auto_is_full_on_a_processor(self) -> None:
        assert type(machine_for("auto", CPU, light=False)) is Machine

    def test_fp16_wants_an_accelerator(self) -> None:
        with pytest.raises(ComputationFailed, match="fp16 needs an accelerator"):
            machine_for("fp16", CPU, light=False)


def test_a_rate_that_is_too_high_is_said(setting: Any) -> None:
    blueprint, material, plan, _ = setting
    with pytest.raises(ComputationFailed, match="try a learning_rate below 1e\\+30"):
        train(blueprint, material, None, 0.0, replace(plan, learning_rate=1e30), watch=Counting())
