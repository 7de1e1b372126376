"""Baselines for the gain of a teacher: label smoothing, and a teacher of random weights.

Any soft targets regularise, so a gain over plain training does not show that the teacher was informative. Both
controls are trained only on request, with the seeds and steps of the other arms.
"""

from typing import Final

import numpy as np
import torch

from .evaluation.measures import predict
from .inputs import Float32, TeacherSignal
from .runs import TrainingRuns
from .teaching.label_map import standardised

SMOOTHING: Final = 0.1
"""Label smoothing of Szegedy et al. (arXiv 1512.00567), who introduced it."""
LABEL_SMOOTHING: Final = "label smoothing"
RANDOM_WEIGHTS: Final = "random weights"


def random_teachers(runs: TrainingRuns) -> list[TeacherSignal]:
    """Teachers of the same classes and names whose predictions come from random weights.

    Each is an untrained student of the job's kind with a random last layer on top, with the confidence of the teacher
    that it replaces. Its predictions depend on the items, so it is more than noise: it has the information of any such
    network.
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
    """A random head on untrained outputs; the logits of an item have the teacher's mean standard deviation."""
    raw = standardised(answers) @ generator.normal(size=(answers.shape[1], like.shape[1]))
    width = float(like.std(axis=1).mean())
    return (raw * (width / max(float(raw.std(axis=1).mean()), 1e-12))).astype(np.float32)
