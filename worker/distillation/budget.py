"""The number of steps of a job's runs: from epochs, within the time limit, and fewer for the gate."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final, Literal

import numpy as np

from .evaluation.statistics import stratified_folds
from .inputs import Float32, Int64
from .losses import HeldOutTerm, Term
from .runs import FOLDS, TrainingRuns
from .schedule import Plan, plan_for
from .teaching.gate import WEIGHTS, GateDecision, choose_weight
from .teaching.gate_by_names import decide_by_names
from .training.checkpoints import as_tensor, from_tensor
from .training.lockstep import Row

_GATE_STEPS: Final = 120
_HEAVY_FOLDS: Final = 3
_HEAVY_WEIGHTS: Final = (1.0,)
_SHARE_OF_LIMIT: Final = 0.85


def arms_of(compare: bool | Literal["full"]) -> int:
    """Number of arms if a teacher takes part: with it, without it, and two controls."""
    return 4 if compare == "full" else 1 + int(compare)


def plan_of(runs: TrainingRuns, *, auto: bool) -> Plan:
    """The plan of every run; the first seed's.

    Parameters
    ----------
    auto
        Whether the gate runs; it uses part of the time limit.
    """
    training = runs.recipe.training
    plan = plan_for(
        len(runs.rows),
        0 if runs.transfer is None else len(runs.transfer),
        training,
        runs.blueprint.learning_rate,
    )
    if training.time_limit_seconds is None:
        return plan
    # Measured once: a job that another worker resumes must take the same number of steps.
    known = runs.ledger.finished("steps")
    steps = (
        _affordable(runs, plan, training.time_limit_seconds, auto)
        if known is None
        else int(from_tensor(known["steps"]))
    )
    runs.ledger.finish("steps", {"steps": as_tensor(steps)})
    return replace(plan, steps=steps)


def _affordable(runs: TrainingRuns, plan: Plan, limit: float, auto: bool) -> int:
    """Steps of a run within the limit; the same for all arms, so that they stay comparable."""
    trial = replace(plan, steps=4, steps_per_epoch=4, patience=None)
    term = runs.term(runs.rows) if runs.teachers else None
    material = runs.material(runs.rows)
    # The first steps of a process include one-off costs: the second trial counts.
    runs.train(runs.blueprint, material, term, 1.0, trial, watch=runs.progress)
    spent = runs.train(runs.blueprint, material, term, 1.0, trial, watch=runs.progress).seconds
    trainings = runs.recipe.training.seeds * arms_of(runs.recipe.compare)
    steps = trainings * plan.steps + (gate_steps(runs, plan) if auto else 0)
    share = _SHARE_OF_LIMIT * limit / (steps * spent / trial.steps)
    return plan.steps if share >= 1 else max(1, math.floor(plan.steps * share))


def _shorter(runs: TrainingRuns, plan: Plan) -> Plan:
    most = _GATE_STEPS if runs.blueprint.light else max(_GATE_STEPS // 2, plan.steps // 3)
    # The held-out items of a fold are needed for the score; none remain for early stopping.
    return replace(plan, steps=min(plan.steps, most), patience=None)


def gate_steps(runs: TrainingRuns, plan: Plan) -> int:
    """Largest number of steps of the gate."""
    light = runs.blueprint.light
    folds = len(stratified_folds(runs.labels, FOLDS if light else _HEAVY_FOLDS, runs.recipe.training.seed))
    return folds * (1 + len(WEIGHTS if light else _HEAVY_WEIGHTS)) * _shorter(runs, plan).steps


def choose(runs: TrainingRuns, plan: Plan) -> GateDecision:
    """The gate, with the job's student and fewer steps; fewer choices if it is slow to train."""
    seed = runs.recipe.training.seed
    if not stratified_folds(runs.labels, FOLDS, seed):
        return decide_by_names(runs.teachers, runs.rows, runs.labels, seed)
    light, shorter = runs.blueprint.light, _shorter(runs, plan)
    weights, folds = (WEIGHTS, FOLDS) if light else (_HEAVY_WEIGHTS, _HEAVY_FOLDS)
    runs.progress.begin("choosing the weight of the teachers", arm="gate", epochs=False)
    whole = runs.term(runs.rows)
    left_out = _LeftOut(runs, shorter, stratified_folds(runs.labels, folds, seed), weights, whole)
    decision = choose_weight(
        runs.labels,
        left_out.logits,
        mapped=whole.left_out if isinstance(whole, HeldOutTerm) else (),
        weights=weights,
        folds=folds,
        seed=seed,
    )
    left_out.skip_untried()
    if not decision.at_full_weight:
        return decision
    names = ", ".join(runs.teachers[number].name for number in sorted(decision.at_full_weight))
    added = f"; at full weight, since better than the student alone even at low confidence: {names}"
    return replace(decision, reason=decision.reason + added)


class _LeftOut:
    """The gate's students and what they answer for the fold that each did not see.

    All folds are trained without a teacher, and then with every weight: in lockstep or side by side where the student
    allows it.

    Parameters
    ----------
    parts
        The folds, as positions in the rows of the runs.
    whole
        The term of all rows: those of the folds are of its kind.
    """

    def __init__(
        self, runs: TrainingRuns, plan: Plan, parts: list[Int64], weights: Sequence[float], whole: Term
    ) -> None:
        self._runs, self._plan, self._parts, self._weights = runs, plan, parts, weights
        self._together = runs.together(plan, [whole], len(parts) * len(weights))
        self._terms: dict[str, Term] = {}
        self._found: dict[tuple[str, float], Float32] = {}
        self._untried = len(parts) * (1 + len(weights))

    def logits(self, kept: Int64, left_out: Int64, weight: float) -> Float32:
        """Logits on the held-out rows, shape (h, S); see `gate.FitAndPredict`."""
        fold = _digest(kept)
        if (fold, weight) not in self._found:
            # Sequential runs train only the requested fold: the gate may need one only.
            single = not self._together and self._runs.abreast == 1
            self._train((0.0,) if weight == 0 else self._weights, [left_out] if single else self._parts)
        return self._found[fold, weight]

    def skip_untried(self) -> None:
        """Report the students that need no training."""
        self._runs.progress.skip(self._untried * self._plan.steps)

    def _train(self, weights: Sequence[float], parts: list[Int64]) -> None:
        runs, everything = self._runs, np.arange(len(self._runs.rows), dtype=np.int64)
        kept = [np.setdiff1d(everything, held) for held in parts]
        folds = [_digest(positions) for positions in kept]
        taught = any(weight > 0 for weight in weights)
        rows = [
            Row(
                runs.rows[positions],
                self._term(fold, runs.rows[positions]) if taught else None,
                self._plan.seed,
            )
            for fold, positions in zip(folds, kept, strict=True)
        ]
        names = [[_name(fold, weight) for weight in weights] for fold in folds]
        held = [runs.rows[part] for part in parts]
        if self._together:
            answers = runs.left_out_together(names, rows, held, weights, self._plan)
        else:
            trainings = [
                partial(runs.left_out, name, row.rows, items, row.term if weight > 0 else None, weight, self._plan)
                for titles, row, items in zip(names, rows, held, strict=True)
                for name, weight in zip(titles, weights, strict=True)
            ]
            each = runs.at_once(trainings)
            answers = [each[first : first + len(weights)] for first in range(0, len(each), len(weights))]
        for fold, several in zip(folds, answers, strict=True):
            for weight, logits in zip(weights, several, strict=True):
                self._found[fold, weight] = logits
        self._untried -= len(folds) * len(weights)

    def _term(self, fold: str, rows: Int64) -> Term:
        if fold not in self._terms:
            self._terms[fold] = self._runs.term(rows)
        return self._terms[fold]


def _digest(kept: Int64) -> str:
    return hashlib.sha256(kept.tobytes()).hexdigest()[:16]


def _name(fold: str, weight: float) -> str:
    return f"gate/{fold}/{weight:g}"
