"""What a teacher must beat to have taught anything: label smoothing, and a teacher of random weights.

Soft targets regularise whatever they say, so a gain over plain training alone does not show that the teacher knew
something. Both controls are trained only where they are asked for, with the seeds and steps of the other arms.
"""

from typing import Final

import numpy as np
import torch

from .evaluation.measures import predict
from .inputs import Float32, TeacherSignal
from .runs import TrainingRuns
from .teaching.label_map import standardised

SMOOTHING: Final = 0.1
"""Of label smoothing: the value of Szegedy et al. (arXiv 1512.00567), where it comes from."""
LABEL_SMOOTHING: Final = "label smoothing"
RANDOM_WEIGHTS: Final = "random weights"


def random_teachers(runs: TrainingRuns) -> list[TeacherSignal]:
    """Teachers of the same classes and names whose answers come from random weights.

    Each is an untrained student of the job's own kind with a random last layer on top, as sure as the teacher it
    stands for. It answers for the items, so it is more than noise: what it holds is what any such network does.
    """
    found: list[TeacherSignal] = []
    for number, teacher in enumerate(runs.teachers):
        seed = [runs.recipe.training.seed, 1 + number]
        with torch.random.fork_rng():
            torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
            model = runs.blueprint.build()
        model.eval()
        answers = predict(model, runs.labelled)
        if runs.transfer is not None:
            answers = np.concatenate([answers, predict(model, runs.transfer)])
        logits = _spread(answers, teacher.logits, np.random.default_rng(seed))
        first = len(runs.labelled)
        found.append(
            TeacherSignal(
                name=f"random weights for {teacher.name}",
                labels=teacher.labels,
                labelled_logits=logits[:first],
                name_cost=teacher.name_cost,
                transfer_logits=None if runs.transfer is None else logits[first:],
            )
        )
    return found


def _spread(answers: Float32, like: Float32, generator: np.random.Generator) -> Float32:
    """A random head on untrained outputs; each item's logits spread as widely as the teacher's do on average."""
    raw = standardised(answers) @ generator.normal(size=(answers.shape[1], like.shape[1]))
    width = float(like.std(axis=1).mean())
    return (raw * (width / max(float(raw.std(axis=1).mean()), 1e-12))).astype(np.float32)
