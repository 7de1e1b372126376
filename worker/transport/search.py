"""The k nearest teachers of a zoo, exactly, with few solved problems.

Bounds are computed for all teachers from one product; then problems are solved in the order of the bounds, until the
next bound exceeds the k-th best cost. Dual potentials of solved teachers also bound the others.
"""

import heapq
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from worker.transport import bounds
from worker.transport.bounds import VocabularyCost
from worker.transport.exact import solve_small
from worker.transport.index_state import Zoo
from worker.transport.label_index import LabelIndex

Mode = Literal["balanced", "coverage"]
# float32 costs and sums: rounding alone can put a bound above the exact cost.
_SLACK = 1e-5
_FIRST_SOLVES = 16


@dataclass(frozen=True, slots=True)
class TopK:
    """The nearest teachers.

    Attributes
    ----------
    ids : list of str
        By cost, then by id.
    costs : ndarray, float64
        Exact transport costs, aligned with ``ids``.
    solved : int
        Teachers whose exact cost was computed.
    bounded : int
        Teachers excluded by a bound, or with the same labels and prior as a solved one.
    seconds : float
        Wall-clock time of the query.
    """

    ids: list[str]
    costs: NDArray[np.float64]
    solved: int
    bounded: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Query:
    """A validated student: unit embeddings (S, d) float32 and strictly positive prior (S,) float64."""

    student: NDArray[np.float32]
    prior: NDArray[np.float64]


def make_query(index: LabelIndex, student_embeddings: ArrayLike, student_prior: ArrayLike | None) -> Query:
    """Validate a student; labels without mass are dropped, because they do not affect a cost.

    Raises
    ------
    ValueError
        Shapes that do not match, a zero vector, a bad prior.
    """
    rows = np.asarray(student_embeddings, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[0] == 0 or rows.shape[1] != index.dim:
        raise ValueError(f"student embeddings have shape {rows.shape}, expected (S, {index.dim})")
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(rows).all() or float(norms.min()) <= 1e-12:
        raise ValueError("a student embedding is zero or not finite")
    prior = np.ones(rows.shape[0]) if student_prior is None else np.asarray(student_prior, dtype=np.float64)
    if prior.shape != rows.shape[:1]:
        raise ValueError(f"student prior has shape {prior.shape}, expected ({rows.shape[0]},)")
    if not np.isfinite(prior).all() or float(prior.min()) < 0 or float(prior.sum()) <= 0:
        raise ValueError("a student prior must be non-negative, finite and not all zero")
    live = prior > 0
    return Query((rows / norms)[live].astype(np.float32), prior[live] / prior[live].sum())


def exact_costs(zoo: Zoo, table: VocabularyCost, query: Query, position: int) -> tuple[float, NDArray[np.float64]]:
    """Exact balanced cost of one teacher, and the student's dual potential (S,)."""
    start, count = zoo.starts[position], zoo.counts[position]
    a = zoo.weights[start : start + count].astype(np.float64)
    rows = zoo.members[start : start + count]
    live = a > 0
    if not live.all():
        a, rows = a[live], rows[live]
    value, _, g = solve_small(a / a.sum(), query.prior, table.cost[rows].astype(np.float64))
    return value, g


def coverage_cost(zoo: Zoo, table: VocabularyCost, query: Query, position: int) -> float:
    """Exact coverage cost of one teacher."""
    start, count = zoo.starts[position], zoo.counts[position]
    nearest = table.cost[zoo.members[start : start + count]].min(axis=0)
    return float(nearest.astype(np.float64) @ query.prior)


def brute_force(
    index: LabelIndex,
    student_embeddings: ArrayLike,
    student_prior: ArrayLike | None,
    k: int,
    *,
    mode: Mode = "balanced",
    among: Sequence[str] | None = None,
) -> TopK:
    """The result of :func:`top_k` by solving every teacher; same arguments. For tests and benchmarks."""
    began = time.perf_counter()
    query = make_query(index, student_embeddings, student_prior)
    zoo = index.zoo()
    positions = _positions(zoo, among)
    table = bounds.vocabulary_cost(zoo, query.student, query.prior)
    costs: list[float] = []
    for position in positions:
        if mode == "balanced":
            costs.append(exact_costs(zoo, table, query, int(position))[0])
        else:
            costs.append(coverage_cost(zoo, table, query, int(position)))
    best = sorted(zip(costs, [zoo.teachers[int(p)] for p in positions], strict=True))[:k]
    return TopK(
        [teacher for _, teacher in best],
        np.array([cost for cost, _ in best]),
        len(costs),
        0,
        time.perf_counter() - began,
    )


def _positions(zoo: Zoo, among: Sequence[str] | None) -> NDArray[np.int64]:
    return np.arange(len(zoo.teachers)) if among is None else zoo.positions(list(dict.fromkeys(among)))


def top_k(
    index: LabelIndex,
    student_embeddings: ArrayLike,
    student_prior: ArrayLike | None,
    k: int,
    *,
    mode: Mode = "balanced",
    among: Sequence[str] | None = None,
) -> TopK:
    """The k teachers with the label sets nearest to the student's.

    Parameters
    ----------
    index : LabelIndex
    student_embeddings : array, shape (S, d)
        From the index's encoder.
    student_prior : array, shape (S,), or None
        Uniform by default.
    k : int
    mode : {"balanced", "coverage"}
        ``balanced``: exact transport between the priors. ``coverage``: the teacher's side is free, and each student
        label is matched with its nearest teacher label.
    among : sequence of str, or None
        Restricts the search to these teachers.

    Returns
    -------
    TopK
        Identical to :func:`brute_force`, ties broken by id.

    Raises
    ------
    ValueError
        Invalid shapes, a zero vector, an invalid prior, k below 1, an unknown mode.
    KeyError
        An id in ``among`` that is not in the index.
    """
    began = time.perf_counter()
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if mode not in ("balanced", "coverage"):
        raise ValueError(f"mode must be 'balanced' or 'coverage', got {mode!r}")
    query = make_query(index, student_embeddings, student_prior)
    zoo = index.zoo()
    positions = _positions(zoo, among)
    if not positions.size:
        return TopK([], np.empty(0), 0, 0, time.perf_counter() - began)
    table = bounds.vocabulary_cost(zoo, query.student, query.prior)
    mean = query.prior @ query.student.astype(np.float64)
    first = bounds.first_bounds(zoo, positions, table, query.prior, float(mean @ mean))
    if mode == "coverage":
        costs, solved = _coverage(zoo, table, query, positions, first.coverage, k)
    else:
        costs, solved = _balanced(zoo, table, query, positions, first.best, k)
    chosen = _smallest(zoo, positions, costs, k)
    return TopK(
        [zoo.teachers[int(positions[i])] for i in chosen],
        costs[chosen],
        solved,
        positions.size - solved,
        time.perf_counter() - began,
    )


def _smallest(zoo: Zoo, positions: NDArray[np.int64], costs: NDArray[np.float64], k: int) -> list[int]:
    k = min(k, costs.size)
    limit = np.partition(costs, k - 1)[k - 1]
    near = np.flatnonzero(costs <= limit)
    order = sorted([(float(costs[i]), zoo.teachers[int(positions[i])], int(i)) for i in near])
    return [i for _, _, i in order[:k]]


def _coverage(
    zoo: Zoo,
    table: VocabularyCost,
    query: Query,
    positions: NDArray[np.int64],
    coverage: NDArray[np.float64],
    k: int,
) -> tuple[NDArray[np.float64], int]:
    """The bound is the cost up to float32 sums: recompute the near ones as brute force does."""
    k = min(k, positions.size)
    limit = np.partition(coverage, k - 1)[k - 1]
    costs = np.full(positions.size, np.inf)
    near = np.flatnonzero(coverage <= limit + _SLACK)
    for item in near:
        costs[item] = coverage_cost(zoo, table, query, int(positions[item]))
    return costs, int(near.size)


def _balanced(
    zoo: Zoo,
    table: VocabularyCost,
    query: Query,
    positions: NDArray[np.int64],
    bound: NDArray[np.float64],
    k: int,
) -> tuple[NDArray[np.float64], int]:
    """Exact costs of all teachers that may be among the k best, infinity for the others; and the number solved."""
    costs = np.full(positions.size, np.inf)
    families: dict[int, float] = {}
    best: list[float] = []
    todo = np.argsort(bound, kind="stable")
    at, solves, next_pass = 0, 0, _FIRST_SOLVES
    potentials: list[NDArray[np.float64]] = []
    while at < todo.size:
        item = int(todo[at])
        limit = -best[0] if len(best) == k else np.inf
        if bound[item] > limit + _SLACK:
            break
        at += 1
        family = int(zoo.families[positions[item]])
        if family not in families:
            families[family], g = exact_costs(zoo, table, query, int(positions[item]))
            potentials.append(g)
            solves += 1
        costs[item] = families[family]
        heapq.heappush(best, -families[family])
        if len(best) > k:
            heapq.heappop(best)
        if solves >= next_pass and len(best) == k:
            next_pass = solves * 2
            rest = todo[at:]
            rest = rest[bound[rest] <= -best[0] + _SLACK]
            if rest.size > _FIRST_SOLVES:
                for g in (np.mean(potentials, axis=0), potentials[-1]):
                    again = bounds.potential_bound(zoo, positions[rest], table, query.prior, g)
                    bound[rest] = np.maximum(bound[rest], again)
                potentials.clear()
                rest = rest[bound[rest] <= -best[0] + _SLACK]
                rest = rest[np.argsort(bound[rest], kind="stable")]
            todo, at = rest, 0
    return costs, solves
