"""How long a job's runs are: from epochs, within the time limit, and shorter for the gate."""

import hashlib
import math
from dataclasses import replace
from typing import Final, Literal

from .evaluation.statistics import stratified_folds
from .inputs import Float32, Int64
from .losses import SpeakingTerm, Term
from .runs import FOLDS, Bench
from .schedule import Plan, plan_for
from .teaching.gate import WEIGHTS, GateDecision, choose_weight
from .teaching.gate_by_names import decide_by_names
from .training.checkpoints import as_tensor, from_tensor

_GATE_STEPS: Final = 120
_HEAVY_FOLDS: Final = 3
_HEAVY_WEIGHTS: Final = (1.0,)
_SHARE_OF_LIMIT: Final = 0.85


def arms_of(compare: bool | Literal["full"]) -> int:
    """How many arms are trained where a teacher takes part: with it, without it, and two controls."""
    return 4 if compare == "full" else 1 + int(compare)


def plan_of(bench: Bench, *, auto: bool) -> Plan:
    """The plan of every run; the first seed's.

    Parameters
    ----------
    auto
        Whether the gate will run; it takes part of a time limit.
    """
    training = bench.recipe.training
    plan = plan_for(
        len(bench.rows),
        0 if bench.transfer is None else len(bench.transfer),
        training,
        bench.blueprint.learning_rate,
    )
    if training.time_limit_seconds is None:
        return plan
    # Measured once: a job that goes on elsewhere must take as many steps there.
    known = bench.ledger.finished("steps")
    steps = (
        _affordable(bench, plan, training.time_limit_seconds, auto)
        if known is None
        else int(from_tensor(known["steps"]))
    )
    bench.ledger.finish("steps", {"steps": as_tensor(steps)})
    return replace(plan, steps=steps)


def _affordable(bench: Bench, plan: Plan, limit: float, auto: bool) -> int:
    """As many steps a run as the limit allows; the same for both arms, so that they stay comparable."""
    trial = replace(plan, steps=4, steps_per_epoch=4, patience=None)
    term = bench.term(bench.rows) if bench.teachers else None
    material = bench.material(bench.rows)
    # The first steps of a process pay for much that later ones do not: the second trial counts.
    bench.train(bench.blueprint, material, term, 1.0, trial, watch=bench.progress)
    spent = bench.train(bench.blueprint, material, term, 1.0, trial, watch=bench.progress).seconds
    runs = bench.recipe.training.seeds * arms_of(bench.recipe.compare)
    steps = runs * plan.steps + (gate_steps(bench, plan) if auto else 0)
    share = _SHARE_OF_LIMIT * limit / (steps * spent / trial.steps)
    return plan.steps if share >= 1 else max(1, math.floor(plan.steps * share))


def _shorter(bench: Bench, plan: Plan) -> Plan:
    most = _GATE_STEPS if bench.blueprint.light else max(_GATE_STEPS // 2, plan.steps // 3)
    # What is left out of a fold is wanted for the score; nothing is left to watch.
    return replace(plan, steps=min(plan.steps, most), patience=None)


def gate_steps(bench: Bench, plan: Plan) -> int:
    """Steps that the gate will take at most."""
    light = bench.blueprint.light
    folds = len(stratified_folds(bench.labels, FOLDS if light else _HEAVY_FOLDS, bench.recipe.training.seed))
    return folds * (1 + len(WEIGHTS if light else _HEAVY_WEIGHTS)) * _shorter(bench, plan).steps


def choose(bench: Bench, plan: Plan) -> GateDecision:
    """The gate, with the job's own student on a shorter course; fewer choices where it is slow to train."""
    seed = bench.recipe.training.seed
    if not stratified_folds(bench.labels, FOLDS, seed):
        return decide_by_names(bench.teachers, bench.rows, bench.labels, seed)
    light, shorter = bench.blueprint.light, _shorter(bench, plan)
    terms: dict[str, Term] = {}
    bench.progress.begin("choosing the weight of the teachers", arm="gate", epochs=False)

    def fit(kept: Int64, left_out: Int64, weight: float) -> Float32:
        fold = hashlib.sha256(kept.tobytes()).hexdigest()[:16]
        if weight > 0 and fold not in terms:
            terms[fold] = bench.term(bench.rows[kept])
        term = terms[fold] if weight > 0 else None
        rows, held = bench.rows[kept], bench.rows[left_out]
        return bench.left_out(f"gate/{fold}/{weight:g}", rows, held, term, weight, shorter)

    whole = bench.term(bench.rows)
    decision = choose_weight(
        bench.labels,
        fit,
        spoken=whole.left_out if isinstance(whole, SpeakingTerm) else (),
        weights=WEIGHTS if light else _HEAVY_WEIGHTS,
        folds=FOLDS if light else _HEAVY_FOLDS,
        seed=bench.recipe.training.seed,
    )
    if not decision.in_full:
        return decision
    names = ", ".join(bench.teachers[number].name for number in sorted(decision.in_full))
    told = f"; heard in full, for telling more than the student alone even where less sure: {names}"
    return replace(decision, reason=decision.reason + told)
