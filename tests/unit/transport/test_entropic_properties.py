"""Properties that every entropic solution has, on problems made to be ugly; held against the plain reference."""

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from tests.unit.transport.problems import PROPERTY, Problem, plans, problems, spread
from worker.transport import exact_cost, sinkhorn
from worker.transport.reference import entropic_reference
from worker.transport.sinkhorn import SinkhornResult

TOL = 1e-9
ENGINES = ("fused", "torch")


def solved(problem: Problem, engine: str = "auto", **options: object) -> SinkhornResult:
    result = sinkhorn(problem.p, problem.q, problem.cost, eps=problem.eps, **{"tol": TOL, "engine": engine, **options})
    assert bool(result.converged.all()), f"violations {result.violation.tolist()} in {result.precision}"
    return result


def kl(plan: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
    """KL of unnormalised measures, (N,)."""
    positive = plan > 0
    terms = torch.where(positive, plan * (plan / torch.where(positive, prior, 1.0)).log(), 0.0) - plan + prior
    return terms.flatten(1).sum(1)


@PROPERTY
@given(problems(), st.sampled_from(ENGINES))
def test_marginals_hold_and_plans_are_not_negative(problem: Problem, engine: str) -> None:
    result = solved(problem, engine, aggregate_plan=True)
    plan = plans(problem, result)
    assert bool(torch.isfinite(result.f).all())
    assert bool(torch.isfinite(result.g).all())
    assert float((plan.sum(2) - problem.p).abs().sum(1).max()) <= 2 * TOL
    assert float((plan.sum(1) - problem.q).abs().sum(1).max()) <= 2 * TOL
    assert result.plan is not None
    assert float(result.plan.min()) >= 0
    assert torch.allclose(result.plan, plan.mean(0), atol=4 * TOL)
    assert torch.allclose(result.value, (plan * problem.cost).sum((1, 2)), atol=4 * TOL * spread(problem), rtol=1e-8)


@PROPERTY
@given(problems(), st.sampled_from(ENGINES))
def test_dual_value_meets_the_primal_objective(problem: Problem, engine: str) -> None:
    result = solved(problem, engine)
    plan = plans(problem, result)
    prior = problem.p.unsqueeze(2) * problem.q.unsqueeze(1)
    primal = (plan * problem.cost).sum((1, 2)) + problem.eps * kl(plan, prior)
    # Potentials lie within the range of the cost of each other, so a marginal error costs at most that much.
    slack = 1e-8 * (float(problem.cost.abs().max()) + problem.eps)
    assert float((primal - result.dual_value).abs().max()) <= slack


@PROPERTY
@given(problems(least_eps=0.05), st.sampled_from(ENGINES))
def test_equal_to_the_reference(problem: Problem, engine: str) -> None:
    result = solved(problem, engine)
    unit = spread(problem) + problem.eps
    for item in range(problem.p.shape[0]):
        reference = entropic_reference(problem.p[item], problem.q[item], problem.cost, eps=problem.eps, tol=TOL)
        assert float(result.value[item]) == pytest.approx(reference.value, abs=1e-7 * unit, rel=1e-9)
        assert float(result.dual_value[item]) == pytest.approx(reference.dual_value, abs=1e-7 * unit, rel=1e-9)


@PROPERTY
@given(problems(least_eps=0.05), st.floats(-2.0, 2.0), st.sampled_from(ENGINES))
def test_relaxed_side_is_equal_to_the_reference(problem: Problem, strength: float, engine: str) -> None:
    rho = problem.eps * 10.0**strength
    result = solved(problem, engine, teacher_relaxation=rho)
    unit = float(problem.cost.abs().max()) + problem.eps
    assert float((plans(problem, result).sum(1) - problem.q).abs().sum(1).max()) <= 2 * TOL
    for item in range(problem.p.shape[0]):
        reference = entropic_reference(
            problem.p[item], problem.q[item], problem.cost, eps=problem.eps, tol=TOL, teacher_relaxation=rho
        )
        assert float(result.value[item]) == pytest.approx(reference.value, abs=1e-6 * unit)
        assert float(result.dual_value[item]) == pytest.approx(reference.dual_value, abs=1e-6 * unit)


@PROPERTY
@given(problems(), st.randoms(use_true_random=False))
def test_relabelling_changes_nothing(problem: Problem, random: object) -> None:
    order = np.random.default_rng(random.getrandbits(32))  # type: ignore[attr-defined]
    rows = torch.from_numpy(order.permutation(problem.p.shape[1]))
    columns = torch.from_numpy(order.permutation(problem.q.shape[1]))
    other = Problem(problem.p[:, rows], problem.q[:, columns], problem.cost[rows][:, columns], problem.eps)
    first, second = solved(problem), solved(other)
    unit = spread(problem) + problem.eps
    assert torch.allclose(first.value, second.value, atol=1e-7 * unit, rtol=1e-9)
    assert torch.allclose(plans(problem, first)[:, rows][:, :, columns], plans(other, second), atol=1e-7)


@PROPERTY
@given(problems())
def test_exchanging_the_sides_changes_nothing(problem: Problem) -> None:
    other = Problem(problem.q, problem.p, problem.cost.T.contiguous(), problem.eps)
    first, second = solved(problem, aggregate_plan=True), solved(other, aggregate_plan=True)
    unit = spread(problem) + problem.eps
    assert torch.allclose(first.value, second.value, atol=1e-7 * unit, rtol=1e-9)
    assert first.plan is not None
    assert second.plan is not None
    assert torch.allclose(first.plan, second.plan.T, atol=1e-7)


@PROPERTY
@given(problems())
def test_splitting_a_label_in_two_changes_nothing(problem: Problem) -> None:
    """A duplicated teacher label that takes half of the mass is the same label."""
    p = torch.cat([problem.p, problem.p[:, :1] / 2], 1)
    p[:, 0] /= 2
    other = Problem(p, problem.q, torch.cat([problem.cost, problem.cost[:1]]), problem.eps)
    unit = spread(problem) + problem.eps
    assert torch.allclose(solved(problem).dual_value, solved(other).dual_value, atol=1e-7 * unit, rtol=1e-9)


@PROPERTY
@given(problems())
def test_never_below_exact_and_monotone_in_eps(problem: Problem) -> None:
    tight, loose = solved(problem), solved(Problem(problem.p, problem.q, problem.cost, 2 * problem.eps))
    slack = 1e-7 * (spread(problem) + problem.eps)
    assert bool((tight.value <= loose.value + slack).all())
    assert bool((tight.dual_value <= loose.dual_value + slack).all())
    for item in range(problem.p.shape[0]):
        least = exact_cost(problem.p[item], problem.q[item], problem.cost)
        # The entropy's price is at least 0 and at most eps times the mutual information of the best coupling.
        most = problem.eps * np.log(min(problem.cost.shape))
        assert least - slack <= float(tight.value[item])
        assert least - slack <= float(tight.dual_value[item]) <= least + most + slack


@PROPERTY
@given(problems())
def test_adding_to_rows_and_columns_moves_the_value_alone(problem: Problem) -> None:
    row = torch.linspace(0, 1, problem.cost.shape[0], dtype=torch.float64) * float(problem.eps)
    moved = Problem(problem.p, problem.q, problem.cost + row.unsqueeze(1), problem.eps)
    first, second = solved(problem), solved(moved)
    expected = first.value + problem.p @ row
    assert torch.allclose(second.value, expected, atol=1e-7 * (spread(problem) + problem.eps), rtol=1e-9)
