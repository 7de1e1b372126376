"""Exact transport, coverage and the forced plan: optimal, certified by their duals, equal to POT."""

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from tests.unit.transport.problems import PROPERTY, costs, weights
from worker.transport import (
    blend_cost,
    coverage_cost,
    coverage_transport,
    exact,
    exact_cost,
    exact_transport,
    forced_cost,
    joint_distribution,
    sinkhorn,
)

Case = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    teacher, student = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    cost = draw(costs(teacher, student)) * draw(st.sampled_from([1.0, 1e-3, 1e3]))
    return draw(weights((teacher,))), draw(weights((student,))), cost


@PROPERTY
@given(cases())
def test_plan_is_optimal_and_the_duals_certify_it(case: Case) -> None:
    a, b, cost = case
    # The simplex rounds in absolute terms: costs are meant to be of the order of 1.
    unit = float(cost.max()) + 1e-6
    found = exact_transport(a, b, cost)
    assert found.plan.min() >= 0
    np.testing.assert_allclose(found.plan.sum(1), a, atol=1e-12)
    np.testing.assert_allclose(found.plan.sum(0), b, atol=1e-12)
    assert found.value == pytest.approx(float((found.plan * cost).sum()), abs=1e-12 * unit)
    # Feasible potentials with the same value: weak duality says nothing is better.
    assert float((found.f[:, None] + found.g - cost).max()) <= 1e-9 * unit
    assert float(found.f @ a + found.g @ b) == pytest.approx(found.value, abs=1e-9 * unit)
    assert found.value == pytest.approx(ot.emd2(a, b, cost), abs=1e-9 * unit)
    assert exact_cost(a, b, cost) == pytest.approx(found.value, abs=1e-12 * unit)


@PROPERTY
@given(cases())
def test_coverage_is_the_relaxed_limit_and_a_lower_bound(case: Case) -> None:
    a, b, cost = case
    found = coverage_transport(b, cost)
    np.testing.assert_allclose(found.plan.sum(0), b, atol=1e-12)
    assert found.value == pytest.approx(float(cost.min(axis=0) @ b), rel=1e-12, abs=1e-300)
    assert float((found.plan * cost).sum()) == pytest.approx(found.value, rel=1e-9, abs=1e-300)
    assert float((found.f[:, None] + found.g - cost).max()) <= 0
    assert coverage_cost(b, cost) == found.value
    assert found.value <= exact_cost(a, b, cost) + 1e-9 * (float(cost.max()) + 1e-6)


def test_relaxed_sinkhorn_goes_from_balanced_to_coverage() -> None:
    draw = np.random.default_rng(0)
    a, b, cost = draw.dirichlet(np.ones(8)), draw.dirichlet(np.ones(4)), draw.random((8, 4))
    values = [
        float(
            sinkhorn(
                torch.from_numpy(a)[None],
                torch.from_numpy(b)[None],
                torch.from_numpy(cost),
                eps=1e-3,
                tol=1e-8,
                teacher_relaxation=rho,
            ).value
        )
        for rho in (1e-4, 1e-2, 0.1, 1.0, 1e3)
    ]
    assert values == sorted(values)
    assert values[0] == pytest.approx(coverage_cost(b, cost), abs=0.02)
    assert values[-1] == pytest.approx(exact_cost(a, b, cost), abs=0.01)


def test_ties_share_the_mass_of_a_covered_class() -> None:
    cost = np.array([[0.2, 0.5], [0.2, 0.1], [0.9, 0.1]])
    plan = coverage_transport([0.6, 0.4], cost).plan
    np.testing.assert_allclose(plan, [[0.3, 0.0], [0.3, 0.2], [0.0, 0.2]])


def test_weights_are_normalised_and_empty_labels_left_alone() -> None:
    cost = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [5.0, 5.0, 5.0]])
    found = exact_transport([2.0, 2.0, 0.0], [3.0, 0.0, 3.0], cost)
    assert found.value == pytest.approx(0.5)
    assert not found.plan[2].any()
    assert not found.plan[:, 1].any()
    assert float((found.f[:, None] + found.g - cost).max()) <= 1e-12


@pytest.mark.parametrize(
    ("a", "b", "cost", "reason"),
    [
        ([0.5, 0.5], [1.0], [[1.0]], "a has shape"),
        ([1.0], [0.5, 0.5], [[1.0]], "b has shape"),
        ([-1.0, 2.0], [1.0], [[1.0], [1.0]], "a must be non-negative"),
        ([0.0, 0.0], [1.0], [[1.0], [1.0]], "not all zero"),
        ([1.0], [float("nan")], [[1.0]], "b must be non-negative"),
        ([1.0], [1.0], [[float("inf")]], "not finite"),
        ([1.0], [1.0], [1.0], r"\(K, S\) matrix"),
    ],
)
def test_bad_inputs_are_refused(a: object, b: object, cost: object, reason: str) -> None:
    for function in (exact_transport, exact_cost):
        with pytest.raises(ValueError, match=reason):
            function(a, b, cost)  # type: ignore[operator]


def test_the_public_simplex_serves_where_the_private_one_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(1)
    a, b, cost = draw.dirichlet(np.ones(6)), draw.dirichlet(np.ones(5)), draw.random((6, 5))
    expected = exact_transport(a, b, cost)
    monkeypatch.delattr("ot.lp.emd_wrap.emd_c")
    public = exact._find_simplex()
    monkeypatch.undo()
    monkeypatch.setattr(exact, "_simplex", public)
    assert public is not exact._find_simplex()
    again = exact_transport(a, b, cost)
    assert again.value == pytest.approx(expected.value, rel=1e-12)
    assert float(again.f @ a + again.g @ b) == pytest.approx(again.value)


@PROPERTY
@given(cases(), st.integers(1, 6), st.integers(0, 2**16))
def test_forced_cost_is_the_transport_to_a_one_hot_target(case: Case, items: int, seed: int) -> None:
    a, _, cost = case
    classes = cost.shape[1]
    draw = np.random.default_rng(seed)
    predictions = np.stack([draw.permutation(a) for _ in range(items)])
    labels = draw.integers(0, classes, items)
    # The simplex rounds in absolute terms: costs are meant to be of the order of 1.
    unit = float(cost.max()) + 1e-6
    each = forced_cost(torch.from_numpy(predictions), torch.from_numpy(labels), torch.from_numpy(cost))
    for p, label, value in zip(predictions, labels, each, strict=True):
        assert float(value) == pytest.approx(exact_cost(p, np.eye(classes)[label], cost), abs=1e-9 * unit)
    joint = joint_distribution(torch.from_numpy(predictions), torch.from_numpy(labels), classes)
    assert float(joint.sum()) == pytest.approx(1.0)
    assert float((joint * torch.from_numpy(cost)).sum()) == pytest.approx(float(each.mean()), abs=1e-9 * unit)
    # Transport between the means forgets which item was which: it can only look better.
    means = exact_cost(predictions.mean(0), np.eye(classes)[labels].mean(0), cost)
    assert means <= float(each.mean()) + 1e-9 * unit


@pytest.mark.parametrize(
    ("predictions", "labels", "reason"),
    [
        (torch.ones(2, 3) / 3, torch.tensor([0, 2]), r"labels must lie in 0\.\.1"),
        (torch.ones(2, 3) / 3, torch.tensor([0, -1]), "labels must lie"),
        (torch.ones(2, 3) / 3, torch.tensor([0]), "labels have shape"),
        (torch.ones(0, 3), torch.zeros(0, dtype=torch.int64), "non-empty"),
        (torch.ones(2, 4) / 4, torch.tensor([0, 1]), "cost has shape"),
    ],
)
def test_bad_labels_are_refused(predictions: torch.Tensor, labels: torch.Tensor, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        forced_cost(predictions, labels, torch.ones(3, 2))


def test_blend_is_between_its_parts_and_refuses_what_it_cannot_blend() -> None:
    text, prototype = torch.rand(4, 3), torch.rand(4, 3)
    assert torch.equal(blend_cost(text, prototype, 1.0), text)
    assert torch.equal(blend_cost(text, prototype, 0.0), prototype)
    assert torch.allclose(blend_cost(text, prototype, 0.25), 0.25 * text + 0.75 * prototype)
    with pytest.raises(ValueError, match="differ in shape"):
        blend_cost(text, prototype[:2], 0.5)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        blend_cost(text, prototype, 1.5)
