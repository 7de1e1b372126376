"""A stopped run goes on where the same training is asked for, and begins again where another one is."""

from typing import Annotated, Any

from pydantic import Field

from preceptor.contract.losses import TransportLoss
from preceptor.contract.training import Training
from preceptor.contract.versions import CONTRACT, Since
from worker.distillation.inputs import Recipe
from worker.distillation.training.checkpoints import fingerprint


class NewerTraining(Training):
    """The training of a later release, which has one more option."""

    warm_restarts: Annotated[int, Since(CONTRACT + 1)] = Field(default=0)


def test_an_option_that_a_newer_release_brings_does_not_make_a_stopped_run_begin_again(digits: Any) -> None:
    data, teachers = digits.data(), [digits.teacher([0, 1, 2])]
    before = fingerprint(Recipe(training=Training(epochs=3)), data, teachers, "cpu")
    assert fingerprint(Recipe(training=NewerTraining(epochs=3)), data, teachers, "cpu") == before
    assert fingerprint(Recipe(training=NewerTraining(epochs=3, warm_restarts=1)), data, teachers, "cpu") != before


def test_another_training_loss_teacher_or_label_is_another_run(digits: Any) -> None:
    data, teachers = digits.data(), [digits.teacher([0, 1, 2])]
    runs = [
        fingerprint(Recipe(), data, teachers, "cpu"),
        fingerprint(Recipe(training=Training(ema=0.9)), data, teachers, "cpu"),
        fingerprint(Recipe(loss=TransportLoss(eps=0.2)), data, teachers, "cpu"),
        fingerprint(Recipe(compare="full"), data, teachers, "cpu"),
        fingerprint(Recipe(), data, [digits.random_teacher(0)], "cpu"),
        fingerprint(Recipe(), data, teachers * 2, "cpu"),
        fingerprint(Recipe(), data, teachers, "cuda"),
    ]
    data.labels[0] = (data.labels[0] + 1) % 10
    runs.append(fingerprint(Recipe(), data, teachers, "cpu"))
    assert len(set(runs)) == len(runs)
