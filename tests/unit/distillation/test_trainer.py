"""The trainer: the same every time, stopped at once, gone on from where it was."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from preceptor.contract.distillations import EpochMetrics
from preceptor.contract.losses import TransportLoss
from preceptor.contract.training import Training
from tests.kept_checkpoint import Kept
from worker.distillation.evaluation.measures import predict
from worker.distillation.evaluation.statistics import stratified_folds
from worker.distillation.losses import Evidence, LossTerm
from worker.distillation.losses.transport import TransportFamily
from worker.distillation.schedule import Plan, plan_for, share_of_peak
from worker.distillation.students import Surroundings
from worker.distillation.students.mlp import MlpBlueprint
from worker.distillation.training.checkpoints import Ledger, as_tensor, from_tensor
from worker.distillation.training.step import LABELLED, Material, chosen
from worker.distillation.training.trainer import TrainingStopped, train


class Quiet:
    """Counts, and stops at a step."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.steps = 0
        self.epochs: list[EpochMetrics] = []
        self._stop_at = stop_at

    def step(self) -> None:
        if self.steps == self._stop_at:
            raise TrainingStopped
        self.steps += 1

    def epoch(self, metrics: EpochMetrics) -> None:
        self.epochs.append(metrics)

    def skip(self, steps: int) -> None:
        self.skipped = steps


@pytest.fixture
def setting(digits: Any, tmp_path: Path) -> tuple[MlpBlueprint, Material, LossTerm, Plan]:
    data = digits.data()
    blueprint = MlpBlueprint(Surroundings(data.items, data.transfer, 10, "cpu", tmp_path), {})
    rows = np.arange(len(data.labels))
    evidence = Evidence(
        [digits.teacher([0, 1, 2, 3])],
        data.labels,
        rows,
        10,
        stratified_folds(data.labels, 3, 0),
        torch.device("cpu"),
    )
    material = Material(blueprint.encode(data.items), data.labels, rows, blueprint.encode(data.transfer))
    plan = plan_for(30, 370, Training(epochs=2, seed=5), 3e-3)
    return blueprint, material, TransportFamily().prepare(evidence, TransportLoss()), plan


def _weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([tensor.flatten().float() for tensor in model.state_dict().values()])


def test_equal_seeds_give_equal_weights(setting: Any) -> None:
    blueprint, material, term, plan = setting
    torch.manual_seed(1)
    first = train(blueprint, material, term, 1.0, plan, watch=Quiet())
    torch.manual_seed(2)
    second = train(blueprint, material, term, 1.0, plan, watch=Quiet())
    other = train(blueprint, material, term, 1.0, replace(plan, seed=6), watch=Quiet())
    assert torch.equal(_weights(first.model), _weights(second.model))
    assert not torch.equal(_weights(first.model), _weights(other.model))
    assert [entry.loss for entry in first.history] == [entry.loss for entry in second.history]


def test_the_global_generator_is_put_back(setting: Any) -> None:
    blueprint, material, _, plan = setting
    torch.manual_seed(1)
    before = torch.get_rng_state()
    train(blueprint, material, None, 0.0, plan, watch=Quiet())
    assert torch.equal(torch.get_rng_state(), before)


def test_without_teacher_only_the_term_differs(setting: Any) -> None:
    blueprint, material, term, plan = setting
    plain, nothing = Quiet(), Quiet()
    first = train(blueprint, material, None, 0.0, plan, watch=plain)
    second = train(blueprint, material, term, 0.0, plan, watch=nothing)
    assert plain.steps == nothing.steps == plan.steps == 12
    assert torch.equal(_weights(first.model), _weights(second.model))
    assert [entry.transport for entry in first.history] == [0.0, 0.0]


def test_training_learns(setting: Any, digits: Any) -> None:
    blueprint, material, term, plan = setting
    watch = Quiet()
    trained = train(blueprint, material, term, 1.0, replace(plan, steps=60, steps_per_epoch=6), watch=watch)
    assert len(watch.epochs) == 10
    assert trained.history[-1].loss < trained.history[0].loss
    test = blueprint.encode(digits.data().test)
    right = predict(trained.model, test).argmax(axis=1) == digits.data().test_labels
    assert right.mean() > 0.7


def test_stops_before_the_next_step(setting: Any) -> None:
    blueprint, material, term, plan = setting
    watch = Quiet(stop_at=3)
    with pytest.raises(TrainingStopped):
        train(blueprint, material, term, 1.0, plan, watch=watch)
    assert watch.steps == 3


@pytest.mark.parametrize("stop_at", [0, 4, 6, 11])
def test_goes_on_to_the_same_weights(setting: Any, stop_at: int) -> None:
    blueprint, material, term, plan = setting
    whole = train(blueprint, material, term, 1.0, plan, watch=Quiet())
    kept = Kept()
    with pytest.raises(TrainingStopped):
        train(
            blueprint,
            material,
            term,
            1.0,
            plan,
            watch=Quiet(stop_at),
            ledger=Ledger(kept, "job"),
            name="run",
        )
    rest = Quiet()
    resumed = train(blueprint, material, term, 1.0, plan, watch=rest, ledger=Ledger(kept, "job"), name="run")
    assert rest.steps == plan.steps - stop_at
    assert torch.equal(_weights(whole.model), _weights(resumed.model))
    assert [entry.model_dump(exclude={"seconds", "items_per_second"}) for entry in whole.history] == [
        entry.model_dump(exclude={"seconds", "items_per_second"}) for entry in resumed.history
    ]


def test_state_of_another_job_is_left_alone(setting: Any) -> None:
    blueprint, material, term, plan = setting
    kept = Kept()
    with pytest.raises(TrainingStopped):
        train(blueprint, material, term, 1.0, plan, watch=Quiet(4), ledger=Ledger(kept, "job"), name="run")
    watch = Quiet()
    train(blueprint, material, term, 1.0, plan, watch=watch, ledger=Ledger(kept, "other"), name="run")
    assert watch.steps == plan.steps


def test_a_broken_state_costs_time_only() -> None:
    kept = Kept()
    kept.state = b"\x10\0\0\0\0\0\0\0not a state at all"
    assert Ledger(kept, "job").running("run") is None


def test_ledger_keeps_what_is_finished() -> None:
    kept = Kept(every_seconds=0.0)
    ledger = Ledger(kept, "job")
    ledger.finish("gate/a", {"logits": torch.arange(3.0), "facts": as_tensor({"a": [1, 2.5]})})
    ledger.offer("run", lambda: ({"w": torch.ones(2)}, {"step": 7}))
    again = Ledger(kept, "job")
    finished = again.finished("gate/a")
    assert finished is not None
    assert torch.equal(finished["logits"], torch.arange(3.0))
    assert from_tensor(finished["facts"]) == {"a": [1, 2.5]}
    running = again.running("run")
    assert running is not None
    assert running[1] == {"step": 7}
    assert again.running("other") is None


def test_every_item_comes_once_a_pass() -> None:
    plan = Plan(10, 5, 4, 1e-3, 0.0, 3)
    seen = torch.cat([chosen(10, step, plan.batch_size, plan.seed, stream=LABELLED) for step in range(5)])
    assert sorted(seen[:10].tolist()) == list(range(10))
    assert sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()
    assert len(chosen(3, 0, plan.batch_size, plan.seed, stream=LABELLED)) == 3


def test_learning_rate_rises_and_falls() -> None:
    shares = [share_of_peak("one_cycle", step, 100) for step in range(100)]
    assert shares[0] == pytest.approx(0.1)
    assert max(shares) == shares[9] == pytest.approx(1.0)
    assert shares[-1] < 0.001
    assert share_of_peak("one_cycle", 0, 1) == 1.0
