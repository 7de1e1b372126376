"""Several processes that train together: the same student as one process, up to rounding; told to stop, it stops."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing
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
from worker.distillation.evaluation.measures import HeldOutSet
from worker.distillation.losses import Evidence
from worker.distillation.losses.transport import TransportFamily
from worker.distillation.schedule import plan_for
from worker.distillation.students import Surroundings
from worker.distillation.students.mlp import MlpBlueprint
from worker.distillation.training.checkpoints import Ledger
from worker.distillation.training.multi_process import TrainingProcesses
from worker.distillation.training.step import Material
from worker.distillation.training.trainer import Measures, TrainingStopped, train
from worker.errors import ComputationFailed


class Watching:
    """Counts what it is told; stops at a step, or kills a process there."""

    def __init__(self, stop_at: int | None = None, kill: Any = None) -> None:
        self.steps, self.skipped = 0, 0
        self.epochs: list[EpochMetrics] = []
        self._stop_at, self._kill = stop_at, kill

    def step(self) -> None:
        if self.steps == self._stop_at:
            if self._kill is None:
                raise TrainingStopped
            os.kill(self._kill(), signal.SIGKILL)
        self.steps += 1

    def epoch(self, metrics: EpochMetrics) -> None:
        self.epochs.append(metrics)

    def skip(self, steps: int) -> None:
        self.skipped += steps


@pytest.fixture(scope="module")
def processes() -> Iterator[TrainingProcesses]:
    with closing(TrainingProcesses(2, torch.device("cpu"), "fp32", 1)) as processes:
        yield processes


@pytest.fixture(scope="module")
def setting(digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    data = digits.data()
    folder: Path = tmp_path_factory.mktemp("student")
    blueprint = MlpBlueprint(Surroundings(data.items, data.transfer, 10, "cpu", folder), {})
    rows = np.arange(len(data.labels))
    evidence = Evidence([digits.teacher([0, 1, 2, 3])], data.labels, rows, 10, [], torch.device("cpu"))
    term = TransportFamily().prepare(evidence, TransportLoss())
    material = Material(blueprint.encode(data.items), data.labels, rows, blueprint.encode(data.transfer))
    held_out_set = HeldOutSet(blueprint.encode(data.test), np.arange(len(data.test_labels)), data.test_labels)
    # An odd batch: the shares of the two are not equal.
    return blueprint, material, term, plan_for(30, 370, Training(epochs=3, seed=5, batch_size=63), 3e-3), held_out_set


def _weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([tensor.flatten().float() for tensor in model.state_dict().values()])


def test_two_make_the_student_of_one(processes: TrainingProcesses, setting: Any) -> None:
    blueprint, material, term, plan, held_out_set = setting
    alone, together = Watching(), Watching()
    one = train(blueprint, material, term, 1.0, plan, watch=alone, measures=Measures(test=held_out_set))
    two = processes.train(blueprint, material, term, 1.0, plan, watch=together, measures=Measures(test=held_out_set))
    assert together.steps == alone.steps == plan.steps
    torch.testing.assert_close(_weights(two.model), _weights(one.model), rtol=1e-3, atol=1e-4)
    for ours, theirs in zip(together.epochs, alone.epochs, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, abs=1e-4)
        assert ours.accuracy == pytest.approx(theirs.accuracy, abs=0.01)
    assert two.history == together.epochs


def test_stopped_and_gone_on_with(processes: TrainingProcesses, setting: Any) -> None:
    blueprint, material, term, plan, _ = setting
    whole = processes.train(blueprint, material, term, 1.0, plan, watch=Watching())
    kept, first, rest = Kept(), Watching(stop_at=7), Watching()
    with pytest.raises(TrainingStopped):
        processes.train(blueprint, material, term, 1.0, plan, watch=first, ledger=Ledger(kept, "job"), name="run")
    assert kept.state is not None
    again = processes.train(blueprint, material, term, 1.0, plan, watch=rest, ledger=Ledger(kept, "job"), name="run")
    assert rest.steps < plan.steps
    assert torch.equal(_weights(again.model), _weights(whole.model))


def test_an_early_stop_is_for_all(processes: TrainingProcesses, setting: Any) -> None:
    blueprint, material, _term, plan, held_out_set = setting
    watch = Watching()
    # So high a rate makes the watched items less likely from some epoch on.
    hasty = replace(plan, steps=60, learning_rate=0.5, schedule="constant", patience=2)
    trained = processes.train(
        blueprint, material, None, 0.0, hasty, watch=watch, measures=Measures(watched=held_out_set)
    )
    assert watch.skipped > 0
    assert watch.steps + watch.skipped == hasty.steps
    watched = [entry.watched for entry in trained.history]
    assert held_out_set.surprise(trained.model) == pytest.approx(min(w for w in watched if w is not None))


def test_what_fails_is_said(processes: TrainingProcesses, setting: Any) -> None:
    blueprint, material, term, plan, _ = setting
    with pytest.raises(ComputationFailed, match="became NaN or infinite"):
        processes.train(blueprint, material, term, 1.0, replace(plan, learning_rate=1e30), watch=Watching())


def test_a_killed_process_ends_the_training(setting: Any) -> None:
    blueprint, material, term, plan, _ = setting
    with closing(TrainingProcesses(2, torch.device("cpu"), "fp32", 1)) as processes:
        watch = Watching(stop_at=4, kill=lambda: processes.members[1])
        with pytest.raises(RuntimeError, match="exited unexpectedly"):
            processes.train(blueprint, material, term, 1.0, plan, watch=watch)
        assert processes.members == []


def test_processes_end_with_the_gang(setting: Any) -> None:
    blueprint, material, term, plan, _ = setting
    with closing(TrainingProcesses(2, torch.device("cpu"), "fp32", 1)) as processes:
        processes.train(blueprint, material, term, 1.0, plan, watch=Watching())
        members = processes.members
        assert len(members) == 2
    for member in members:
        with pytest.raises(ProcessLookupError):
            os.kill(member, 0)
