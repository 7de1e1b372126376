r"""The gate for one labelled item a class: do the teachers' names and predictions agree with the labels?

No item can be held out then. But a map that was never fitted to labels can be tested on all of them: the teachers'
predictions mapped by names only, :math:`r_{is} = \sum_k p_{ik} \, T^0_{ks}`. The statistic is the mean of
:math:`\log r_{i y_i}`; its null distribution is that of the same predictions with the labels shuffled among the items,
so neither a teacher's confidence nor the class shares count as evidence.

It tests the worst map that the term can start from. A teacher with misleading names is rejected, even if the labelled
items alone could have mapped it.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from ..inputs import Int64, TeacherSignal
from .gate import GateDecision
from .joint_cost import names_affinity
from .label_map import softmax_rows

SHUFFLES: Final = 999
LEVEL: Final = 0.02
"""With four classes no labelling is rarer than one in 24, so no test can pass."""
WEIGHT: Final = 1.0
_FLOOR: Final = 1e-4
_EPS: Final = 0.05


def agreement(teachers: Sequence[TeacherSignal], rows: Int64, labels: Int64, seed: int) -> float:
    """Share of shuffled labellings that fit the teachers' predictions at least as well as the true one.

    Parameters
    ----------
    rows, labels
        Labelled items and their classes, shape (n,).

    Returns
    -------
    float
        In 0..1; small if the teachers are informative and their names match the classes.
    """
    mapped = np.mean(
        [
            softmax_rows(teacher.labelled_logits[rows].astype(np.float64)) @ names_affinity(teacher.name_cost, _EPS)
            for teacher in teachers
        ],
        axis=0,
    )
    likely = np.log(mapped + _FLOOR)
    each = np.arange(len(labels))
    generator = np.random.default_rng(seed)
    truth = likely[each, labels].mean()
    # Sums of the same numbers in another order differ in their last bits.
    fits = sum(bool(likely[each, generator.permutation(labels)].mean() >= truth - 1e-12) for _ in range(SHUFFLES))
    return (1 + fits) / (1 + SHUFFLES)


def decide_by_names(teachers: Sequence[TeacherSignal], rows: Int64, labels: Int64, seed: int) -> GateDecision:
    """Weight 1 if names and labels agree beyond chance, else 0."""
    chance = agreement(teachers, rows, labels, seed)
    single = "a class has a single labelled item, so no weight can be cross-validated"
    if chance <= LEVEL:
        return GateDecision(
            WEIGHT,
            reason=f"{single}; but the teachers' predictions, mapped by names only, fit the labels better than "
            f"{1 - chance:.1%} of shuffled labels, so weight {WEIGHT:g} was chosen",
        )
    return GateDecision(
        0.0,
        reason=f"{single}, and the teachers' predictions, mapped by names only, do not fit the labels clearly better "
        f"than shuffled ones (p = {chance:.2f}); give two labelled items a class, or a weight of your own",
    )
