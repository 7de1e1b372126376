"""What the deployment's own distillations say of the estimators."""

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from preceptor.contract.audit import Audit, AuditEntry, EstimatorAudit, TeamAudit
from preceptor.contract.base import now
from preceptor.contract.distillations import DistillationBody
from preceptor.contract.recommendations import RecommendationResult
from service.core.state import State

from .uploads import in_thread


def ordered_pairs(rows: Sequence[tuple[float, float]]) -> tuple[int, int]:
    """Pairs of rows (x, y) that x and y order alike, and those that they order the other way round.

    A pair with equal x or equal y is neither. Rows are taken by rising x; of those with a smaller x, a sorted list
    tells by bisection how many have a smaller y and how many a larger one: O(n log n) comparisons in place of n^2 / 2
    pairs (W. R. Knight, 1966, counts the same by merging).

    Returns
    -------
    tuple
        (alike, unlike).
    """
    alike = unlike = 0
    smaller: list[float] = []
    equal: list[float] = []
    before: float | None = None
    for x, y in sorted(rows):
        if x != before:
            for value in equal:
                insort(smaller, value)
            equal.clear()
            before = x
        alike += bisect_left(smaller, y)
        unlike += len(smaller) - bisect_right(smaller, y)
        equal.append(y)
    return alike, unlike


_SHOWN: Final = 50
_READ: Final = 5000
"""The newest entries, which the audit is of: those of years ago are about another zoo, and all have to be read."""


async def note(state: State, id: str, body: DistillationBody, ranking: RecommendationResult, chosen: list[str]) -> None:
    """Record the scores of the teacher, or of the first teacher of a team, that a recommendation chose.

    Parameters
    ----------
    id
        Of the distillation.
    chosen
        Ids of the teachers that it is distilled from, the best first.
    """
    row = next((row for row in ranking.ranking if row.teacher == chosen[0]), None)
    if body.recommendation is None or row is None:
        return
    assert row.teacher is not None
    scores = {**(row.scores or {}), row.method: row.cost if row.score is None else row.score}
    await state.audits.create(  # Where the request is repeated, what is there may be complete already.
        AuditEntry(
            id=id,
            created_at=now(),
            recommendation=body.recommendation,
            data=body.data,
            teacher=row.teacher,
            name=row.name,
            team=len(chosen),
            rank=row.rank,
            of=ranking.considered,
            scores=scores,
            higher_is_better={row.method: ranking.higher_is_better},
        )
    )


async def audit(state: State) -> Audit:
    """The newest part of the record, summed up."""
    latest: list[AuditEntry] = []
    async for entry in state.audits.all():
        latest.append(entry)
        if len(latest) == _READ:
            break
    return await in_thread(summed_up, [entry for entry in latest if entry.gain is not None])


def summed_up(entries: Sequence[AuditEntry]) -> Audit:
    """What entries with a gain, newest first, say of the estimators."""
    teams = [entry for entry in entries if entry.team > 1]
    entries = [entry for entry in entries if entry.team == 1]
    names = sorted({name for entry in entries for name in entry.scores})
    estimators = [_estimator(name, entries) for name in names]
    return Audit(
        **_gains(entries),
        probes=len({entry.data for entry in entries}),
        estimators=sorted(estimators, key=lambda row: (-(row.kendall or 0), -row.pairs, row.estimator)),
        teams=TeamAudit(**_gains(teams)),
    )


def _gains(entries: Sequence[AuditEntry]) -> dict[str, Any]:
    """What a list of entries gained, and the newest of them."""
    gains = [entry.gain for entry in entries if entry.gain is not None]
    return {
        "entries": len(entries),
        "helped": sum(gain.low > 0 for gain in gains),
        "hurt": sum(gain.high < 0 for gain in gains),
        "mean_gain": round(sum(gain.mean for gain in gains) / len(gains), 6) if gains else None,
        "latest": list(entries[:_SHOWN]),
    }


def _estimator(name: str, entries: Sequence[AuditEntry]) -> EstimatorAudit:
    known = [entry for entry in entries if name in entry.scores and name in entry.higher_is_better]
    scores = [entry.scores[name] * (1 if entry.higher_is_better[name] else -1) for entry in known]
    gains = [entry.gain.mean if entry.gain is not None else 0.0 for entry in known]
    by_probe: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for entry, score, gain in zip(known, scores, gains, strict=True):
        by_probe[entry.data].append((score, gain))
    right = wrong = 0
    for rows in by_probe.values():
        alike, unlike = ordered_pairs(rows)
        right += alike
        wrong += unlike
    pairs = right + wrong
    return EstimatorAudit(
        estimator=name,
        entries=len(known),
        pairs=pairs,
        agreement=round(right / pairs, 4) if pairs else None,
        kendall=round((right - wrong) / pairs, 4) if pairs else None,
        spearman=spearman(scores, gains),
    )


def spearman(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's rho with ties at their mean rank; None below three pairs, or where one side never changes."""
    if len(a) < 3 or len(set(a)) < 2 or len(set(b)) < 2:
        return None
    x, y = _ranks(a), _ranks(b)
    middle = (len(a) + 1) / 2
    covariance = sum((p - middle) * (q - middle) for p, q in zip(x, y, strict=True))
    size = sum((p - middle) ** 2 for p in x) * sum((q - middle) ** 2 for q in y)
    return round(covariance / size**0.5, 4)


def _ranks(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    first: dict[float, int] = {}
    count: dict[float, int] = defaultdict(int)
    for place, value in enumerate(ordered, 1):
        first.setdefault(value, place)
        count[value] += 1
    return [first[value] + (count[value] - 1) / 2 for value in values]
