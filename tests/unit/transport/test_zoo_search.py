"""The cascade over a zoo: its bounds never exceed the exact cost, its answer is brute force's."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from tests.unit.transport.problems import PROPERTY
from worker.transport import (
    LabelIndex,
    _fused,
    bounds,
    brute_force,
    cosine_cost,
    coverage_cost,
    exact_cost,
    exact_transport,
    search,
    top_k,
)

DIM = 12
Teacher = tuple[str, list[str], NDArray[np.float64], NDArray[np.float64] | None]
MODES: tuple[Literal["balanced", "coverage"], ...] = ("balanced", "coverage")


def make_zoo(
    folder: Path, *, teachers: int, seed: int, words: int = 40, shared: float = 0.0, ties: float = 0.0, largest: int = 9
) -> tuple[LabelIndex, NDArray[np.float64], NDArray[np.float64], list[Teacher]]:
    """An index, a student's embeddings and prior, and the teachers; some share the student's labels or each other's."""
    draw = np.random.default_rng(seed)
    vocabulary = draw.normal(size=(words, DIM)) + 1.5 * draw.normal(size=(6, DIM))[draw.integers(0, 6, words)]
    own = draw.choice(words, size=int(draw.integers(1, 8)), replace=False)
    prior = draw.dirichlet(np.ones(len(own)))
    zoo: list[Teacher] = []
    for number in range(teachers):
        if zoo and draw.random() < ties:
            _, labels, rows, weights = zoo[int(draw.integers(len(zoo)))]
            zoo.append((f"t{number:04d}", labels, rows, weights))
            continue
        chosen = own if draw.random() < shared else draw.choice(words, size=int(draw.integers(1, largest)))
        weights = draw.dirichlet(np.ones(len(chosen)))
        if draw.random() < 0.3:
            weights[draw.integers(len(chosen))] = 0.0
        uniform = draw.random() < 0.3 or weights.sum() == 0
        zoo.append((f"t{number:04d}", [f"w{w}" for w in chosen], vocabulary[chosen], None if uniform else weights))
    index = LabelIndex.open(folder, "encoder", DIM)
    index.add_many([zoo[i] for i in draw.permutation(teachers)])
    return index, vocabulary[own], prior, zoo


def assert_same_answer(index: LabelIndex, student: Any, prior: Any, k: int, **options: Any) -> search.TopK:
    fast, slow = top_k(index, student, prior, k, **options), brute_force(index, student, prior, k, **options)
    assert fast.ids == slow.ids
    np.testing.assert_allclose(fast.costs, slow.costs, rtol=0, atol=1e-12)
    assert fast.solved + fast.bounded == slow.solved
    return fast


@pytest.fixture(params=["compiled", "numpy"])
def passes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways over a zoo: the compiled passes and numpy's."""
    if request.param == "numpy":
        monkeypatch.setattr(_fused, "available", lambda: False)
    return request.param


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("shared", "ties"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.5), (0.3, 0.5), (1.0, 0.3)])
def test_identical_to_brute_force(
    tmp_path: Path, shared: float, ties: float, mode: Literal["balanced", "coverage"], passes: str
) -> None:
    for seed in range(3):
        index, student, prior, _ = make_zoo(tmp_path / str(seed), teachers=250, seed=seed, shared=shared, ties=ties)
        for k in (1, 10, 249, 250, 400):
            assert_same_answer(index, student, prior, k, mode=mode)
        assert_same_answer(index, student, None, 5, mode=mode)


@settings(PROPERTY, max_examples=25)
@given(
    st.integers(1, 60),
    st.integers(0, 2**20),
    st.integers(1, 12),
    st.sampled_from([0.0, 0.4, 1.0]),
    st.sampled_from([0.0, 0.6]),
    st.sampled_from(MODES),
)
def test_identical_to_brute_force_on_any_zoo(
    tmp_path_factory: pytest.TempPathFactory,
    teachers: int,
    seed: int,
    k: int,
    shared: float,
    ties: float,
    mode: Literal["balanced", "coverage"],
) -> None:
    folder = tmp_path_factory.mktemp("zoo")
    index, student, prior, _ = make_zoo(folder, teachers=teachers, seed=seed, words=8, shared=shared, ties=ties)
    assert_same_answer(index, student, prior, k, mode=mode)


def test_ties_are_broken_by_id(tmp_path: Path) -> None:
    """Fifty teachers with one label set and prior: the ten smallest ids, from one solve."""
    draw = np.random.default_rng(0)
    rows, prior = draw.normal(size=(4, DIM)), draw.dirichlet(np.ones(4))
    index = LabelIndex.open(tmp_path, "encoder", DIM)
    order = draw.permutation(50)
    index.add_many([(f"t{n:02d}", list("abcd"), rows, prior) for n in order])
    found = assert_same_answer(index, draw.normal(size=(3, DIM)), None, 10)
    assert found.ids == [f"t{n:02d}" for n in range(10)]
    assert found.solved == 1
    assert found.bounded == 49


def test_costs_are_those_of_the_public_functions(tmp_path: Path) -> None:
    """The whole way from embeddings: cosine cost, exact transport, coverage."""
    index, student, prior, zoo = make_zoo(tmp_path, teachers=40, seed=5)
    known = {name: (rows, weights) for name, _, rows, weights in zoo}
    for mode in MODES:
        found = top_k(index, student, prior, 40, mode=mode)
        for name, cost in zip(found.ids, found.costs, strict=True):
            rows, weights = known[name]
            matrix = cosine_cost(torch.from_numpy(rows), torch.from_numpy(student)).numpy()
            weights = np.ones(len(rows)) if weights is None else weights
            expected = exact_cost(weights, prior, matrix) if mode == "balanced" else coverage_cost(prior, matrix)
            assert cost == pytest.approx(expected, abs=2e-6)


def test_most_teachers_are_never_solved(tmp_path: Path) -> None:
    index, student, prior, _ = make_zoo(tmp_path, teachers=2000, seed=6, words=400, largest=25)
    found = assert_same_answer(index, student, prior, 10)
    assert found.solved < 400
    assert found.seconds > 0


def test_shared_label_sets_are_pruned_by_potentials(tmp_path: Path) -> None:
    """Teachers with the student's own labels have relaxed cost 0: only dual potentials can rule them out."""
    draw = np.random.default_rng(7)
    words = draw.normal(size=(12, DIM))
    zoo = [(f"t{n:04d}", [f"w{i}" for i in range(12)], words, draw.dirichlet(np.ones(12))) for n in range(1500)]
    index = LabelIndex.open(tmp_path, "encoder", DIM)
    index.add_many(zoo)
    found = assert_same_answer(index, words, draw.dirichlet(np.ones(12)), 10)
    assert found.solved < 1000


@settings(PROPERTY, max_examples=25)
@given(st.integers(0, 2**20), st.sampled_from([0.0, 0.5]), st.booleans())
def test_bounds_never_exceed_the_exact_cost(
    tmp_path_factory: pytest.TempPathFactory, seed: int, shared: float, compiled: bool
) -> None:
    index, rows, weights, _ = make_zoo(tmp_path_factory.mktemp("zoo"), teachers=25, seed=seed, words=15, shared=shared)
    query, zoo = search.make_query(index, rows, weights), index.zoo()
    positions = np.arange(len(zoo.teachers))
    before = _fused.available
    try:
        if not compiled:
            _fused.available = lambda: False
        table = bounds.vocabulary_cost(zoo, query.student, query.prior)
        mean = query.prior @ query.student.astype(np.float64)
        first = bounds.first_bounds(zoo, positions, table, query.prior, float(mean @ mean))
        exact = [search.exact_costs(zoo, table, query, int(m)) for m in positions]
        costs = np.array([value for value, _ in exact])
        slack = search._SLACK
        for bound in (first.coverage, first.nearest, first.centroid, first.best):
            assert float((bound - costs).max()) <= slack
        # One-sided relaxations are ordered as they should be, and the best is the largest.
        np.testing.assert_array_equal(first.best, np.max([first.coverage, first.nearest, first.centroid], axis=0))
        draw = np.random.default_rng(seed)
        for m, (value, g) in enumerate(exact[:6]):
            again = bounds.potential_bound(zoo, positions, table, query.prior, g)
            assert float((again - costs).max()) <= slack
            assert again[m] == pytest.approx(value, abs=slack), "a teacher's own potential is tight"
        anything = bounds.potential_bound(zoo, positions, table, query.prior, draw.normal(size=len(query.prior)))
        assert float((anything - costs).max()) <= slack
    finally:
        _fused.available = before


def test_compiled_and_numpy_passes_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One student label up to more than a padded row, on every instruction set of this processor."""
    for labels in (1, 2, 30, 31, 33, 70):
        index, _, _, _ = make_zoo(tmp_path / str(labels), teachers=60, seed=labels, words=97)
        draw = np.random.default_rng(labels)
        query = search.make_query(index, draw.normal(size=(labels, DIM)), draw.dirichlet(np.ones(labels)))
        zoo = index.zoo()
        positions = draw.permutation(60)[:45]
        g = draw.normal(size=labels)
        mean = query.prior @ query.student.astype(np.float64)

        def everything(
            query: Any = query, zoo: Any = zoo, positions: Any = positions, g: Any = g, mean: Any = mean
        ) -> Any:
            table = bounds.vocabulary_cost(zoo, query.student, query.prior)
            first = bounds.first_bounds(zoo, positions, table, query.prior, float(mean @ mean))
            again = bounds.potential_bound(zoo, positions, table, query.prior, g)
            return [table.cost, first.coverage, first.nearest, first.centroid, again]

        with monkeypatch.context() as patch:
            patch.setattr(_fused, "available", lambda: False)
            expected = everything()
        for level in range(_fused.level() + 1):
            with monkeypatch.context() as patch:
                patch.setattr("worker.transport._fused.zoo.level", lambda level=level: level)
                for fast, plain in zip(everything(), expected, strict=True):
                    np.testing.assert_allclose(fast, plain, atol=2e-5)


def test_among_restricts_the_zoo(tmp_path: Path) -> None:
    index, student, prior, _ = make_zoo(tmp_path, teachers=80, seed=8)
    some = [f"t{n:04d}" for n in range(0, 80, 7)]
    for mode in MODES:
        found = assert_same_answer(index, student, prior, 5, mode=mode, among=some)
        assert set(found.ids) <= set(some)
    assert top_k(index, student, prior, 5, among=[]).ids == []
    with pytest.raises(KeyError):
        top_k(index, student, prior, 5, among=["unknown"])


def test_student_labels_without_mass_do_not_count(tmp_path: Path) -> None:
    index, student, prior, _ = make_zoo(tmp_path, teachers=60, seed=9)
    extra = np.concatenate([student, np.random.default_rng(1).normal(size=(2, DIM))])
    with_zeros = top_k(index, extra, np.concatenate([prior, [0.0, 0.0]]), 10)
    without = top_k(index, student, prior, 10)
    assert with_zeros.ids == without.ids
    np.testing.assert_allclose(with_zeros.costs, without.costs, atol=1e-6)


def test_empty_zoo_has_no_teachers(tmp_path: Path) -> None:
    index = LabelIndex.open(tmp_path, "encoder", DIM)
    found = top_k(index, np.eye(3, DIM), None, 10)
    assert (found.ids, found.solved, found.bounded) == ([], 0, 0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"student": np.ones((3, DIM + 1))}, r"expected \(S, 12\)"),
        ({"student": np.zeros((3, DIM))}, "zero or not finite"),
        ({"student": np.full((3, DIM), np.nan)}, "zero or not finite"),
        ({"prior": [0.5, 0.5]}, "student prior has shape"),
        ({"prior": [0.0, 0.0, 0.0]}, "not all zero"),
        ({"prior": [2.0, -1.0, 0.0]}, "non-negative"),
        ({"k": 0}, "k must be at least 1"),
        ({"mode": "nearest"}, "mode must be"),
    ],
)
def test_bad_queries_are_refused(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    index, _, _, _ = make_zoo(tmp_path, teachers=5, seed=10)
    given: dict[str, Any] = {"student": np.eye(3, DIM), "prior": None, "k": 2, "mode": "balanced"} | change
    with pytest.raises(ValueError, match=reason):
        top_k(index, given["student"], given["prior"], given["k"], mode=given["mode"])


def test_potentials_of_the_search_are_those_of_exact_transport(tmp_path: Path) -> None:
    index, student, prior, _ = make_zoo(tmp_path, teachers=10, seed=11)
    query, zoo = search.make_query(index, student, prior), index.zoo()
    table = bounds.vocabulary_cost(zoo, query.student, query.prior)
    for position in range(10):
        part = slice(int(zoo.starts[position]), int(zoo.starts[position] + zoo.counts[position]))
        a, cost = zoo.weights[part].astype(np.float64), table.cost[zoo.members[part]].astype(np.float64)
        value, g = search.exact_costs(zoo, table, query, position)
        found = exact_transport(a, query.prior, cost)
        assert value == pytest.approx(found.value, abs=1e-9)
        f = (cost - g).min(axis=1)
        assert float(f @ (a / a.sum()) + g @ query.prior) == pytest.approx(value, abs=1e-9)
