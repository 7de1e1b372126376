"""The method `auto`: a blend of estimators. Its weights were fitted on a benchmark and are shipped as a table."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .estimators.base import Estimator, MissingEvidence, Need, Score
from .estimators.evidence import Evidence
from .estimators.registry import ESTIMATORS
from .uncertainty import SCORE_TOLERANCE

_WEIGHTS: Final = "auto_weights.json"
CONTROL: Final = "transport_map"
"""The member that is compared with its random-teacher control: the most direct measure of a teacher's information."""
FEW_LABELS: Final = 3
"""Up to this mean number of labelled items a class, a probe counts as having few labels."""
MIN_SPREAD: Final = 0.01
"""Smallest deviation used for standardisation, as a share of the typical one.

If all teachers score alike, the zoo's own deviation is rounding or noise of the probe. Standardised by it, that noise
would have the weight of a real difference.
"""


class Auto:
    """A blend: scores standardised over the zoo, summed with weights; higher is better.

    .. math:: A_t = \\sum_e w_e \\, (s_{te} - \\bar s_e) / \\sigma_e

    with the opposite sign for estimators for which smaller is better. A zoo of one teacher has no deviation; the
    typical one of the benchmark is used for sigma instead. Otherwise sigma is at least a hundredth of it.

    Parameters
    ----------
    weights
        Weight of each estimator.
    scales
        Typical deviation of each estimator over a zoo.
    """

    higher_is_better: Final = True

    def __init__(self, weights: Mapping[str, float], scales: Mapping[str, float]) -> None:
        self.weights = dict(weights)
        self._scales = dict(scales)

    @property
    def members(self) -> list[Estimator]:
        """The estimators, in order of decreasing weight."""
        return [ESTIMATORS[name] for name in sorted(self.weights, key=lambda name: -self.weights[name])]

    def missing(self, evidence: Evidence) -> frozenset[Need]:
        """The missing needs of all members except names: without names, the members that need them are omitted."""
        return frozenset[Need]().union(*(member.missing(evidence) for member in self.members)) - {Need.NAMES}

    def member_scores(self, evidence: Evidence) -> dict[str, Score]:
        """Scores of one teacher by every member; without usable names, by every member that does not need them.

        Raises
        ------
        MissingEvidence
        """
        if missing := self.missing(evidence):
            raise MissingEvidence("auto", missing)
        return {member.name: member.score(evidence) for member in self.members if not member.missing(evidence)}

    def used_weights(self, rows: Sequence[Mapping[str, Score]]) -> dict[str, float]:
        """Weights of the members that scored any teacher, rescaled to the sum of all weights."""
        used = {name: weight for name, weight in self.weights.items() if any(name in row for row in rows)}
        scale = sum(self.weights.values()) / max(sum(used.values()), np.finfo(np.float64).tiny)
        return self.weights if len(used) == len(self.weights) else {n: round(w * scale, 4) for n, w in used.items()}

    def blend(self, rows: Sequence[Mapping[str, Score]]) -> list[Score]:
        """The blended score of every teacher of a zoo.

        A member that did not score a teacher, because it needs names, contributes the mean of the teachers that it
        scored. The weight of a member that scored no teacher is distributed over the others.

        Parameters
        ----------
        rows
            From `member_scores`, one for each teacher, all on the same probe.

        Returns
        -------
        list of Score
            With influences, for fixed mean and deviation of the zoo.
        """
        total = np.zeros(len(rows))
        influences = [np.zeros(_items(row)) for row in rows]
        weights = self.used_weights(rows)
        for member in (member for member in self.members if member.name in weights):
            given = np.array([member.name in row for row in rows])
            values = np.array([row[member.name].value for row in rows if member.name in row])
            spread = float(values.std())
            share = weights[member.name] * (1.0 if member.higher_is_better else -1.0)
            typical = self._scales[member.name]
            share /= max(spread, MIN_SPREAD * typical) if spread > SCORE_TOLERANCE * typical else typical
            total[given] += share * (values - values.mean())
            for influence, row in zip(influences, rows, strict=True):
                own = row[member.name].influence if member.name in row else None
                if own is not None:
                    influence += share * own
        return [Score(float(value), influence) for value, influence in zip(total, influences, strict=True)]


def _items(row: Mapping[str, Score]) -> int:
    return next(len(score.influence) for score in row.values() if score.influence is not None)


def labelled_blend(targets: NDArray[np.int64]) -> Auto:
    """The blend for a labelled probe; with few labels a class, names have more weight.

    Parameters
    ----------
    targets
        Student class of every item, shape (N,).
    """
    return _blend("few labels" if len(targets) <= FEW_LABELS * len(np.unique(targets)) else "labelled")


@cache
def _blend(situation: str) -> Auto:
    text = files("worker.ranking").joinpath(_WEIGHTS).read_text(encoding="utf-8")
    found = json.loads(text)["situations"][situation]
    return Auto(found["weights"], found["scales"])
