"""Agreement with POT where arithmetic is hardest: tiny and huge eps, extreme costs, empty and single labels."""

import functools
import warnings

import numpy as np
import ot
import pytest
import torch

from tests.unit.transport.problems import plans, random_problem, spread
from worker.transport import sinkhorn

ENGINES = ("fused", "torch")


@functools.cache
def pot_log_domain(eps: float, seed: int, item: int, tol: float) -> np.ndarray:
    """The plan of one item by ``ot.sinkhorn(method="sinkhorn_log")``; fails where POT does not converge."""
    problem = random_problem(3, 6, 4, eps=eps, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        # Labels without mass: POT takes the logarithm of 0 and goes on.
        warnings.simplefilter("ignore", RuntimeWarning)
        return ot.sinkhorn(
            problem.p[item].numpy(),
            problem.q[item].numpy(),
            problem.cost.numpy(),
            problem.eps,
            method="sinkhorn_log",
            stopThr=tol,
            numItermax=60_000,
        )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("eps", "precision"),
    [(100.0, "float64"), (1.0, "float64"), (0.1, "float64"), (0.02, "float64"), (5e-3, "float64"), (7e-4, "log")],
)
def test_pot_log_domain_over_eps(eps: float, precision: str, engine: str) -> None:
    problem = random_problem(3, 6, 4, eps=eps, seed=3)
    result = sinkhorn(problem.p, problem.q, problem.cost, eps=eps, tol=1e-8, engine=engine)
    assert bool(result.converged.all())
    assert precision in result.precision
    for item, plan in enumerate(plans(problem, result)):
        expected = pot_log_domain(eps, 3, item, 1e-8)
        assert np.abs(plan.numpy() - expected).sum() <= 1e-5
        assert float(result.value[item]) == pytest.approx(float((expected * problem.cost.numpy()).sum()), abs=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("eps", [1e-3, 1e-4])
def test_exact_transport_is_the_limit(eps: float, engine: str) -> None:
    """With range(C)/eps in the ten thousands no kernel exists; the bias is at most eps log min(K, S)."""
    problem = random_problem(4, 8, 5, eps=eps, seed=4)
    result = sinkhorn(problem.p, problem.q, problem.cost, eps=eps, tol=1e-7, engine=engine)
    assert bool(result.converged.all())
    assert result.precision.endswith("log")
    for p, q, value in zip(problem.p, problem.q, result.value, strict=True):
        least = ot.emd2(p.numpy(), q.numpy(), problem.cost.numpy())
        assert least - 1e-6 <= float(value) <= least + eps * np.log(5) + 1e-6


def test_what_no_iteration_can_close_is_flagged_and_still_bounded() -> None:
    """At a millionth of the range some items stay open: they say so, and no value leaves its bounds."""
    problem = random_problem(4, 8, 5, eps=1e-6, seed=4)
    result = sinkhorn(problem.p, problem.q, problem.cost, eps=1e-6, tol=1e-7, max_iterations=500)
    assert torch.equal(result.converged, result.violation <= 1e-7)
    assert not bool(result.converged.all())
    for p, q, value, violation in zip(problem.p, problem.q, result.value, result.violation, strict=True):
        least = ot.emd2(p.numpy(), q.numpy(), problem.cost.numpy())
        assert abs(float(value) - least) <= float(violation) * spread(problem) + 1e-5


@pytest.mark.parametrize("engine", ENGINES)
def test_without_much_entropy_the_plan_is_the_independent_one(engine: str) -> None:
    problem = random_problem(5, 7, 3, eps=1e6, seed=5)
    result = sinkhorn(problem.p, problem.q, problem.cost, eps=1e6, tol=1e-10, engine=engine)
    independent = torch.einsum("nk,ns,ks->n", problem.p, problem.q, problem.cost)
    assert torch.allclose(result.value, independent, rtol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1e8, 1e30])
def test_units_of_the_cost_do_not_matter(scale: float, engine: str) -> None:
    problem = random_problem(4, 6, 5, eps=0.05, seed=6)
    unit = sinkhorn(problem.p, problem.q, problem.cost, eps=0.05, tol=1e-9, engine=engine)
    other = sinkhorn(problem.p, problem.q, problem.cost * scale, eps=0.05 * scale, tol=1e-9, engine=engine)
    assert torch.allclose(other.value / scale, unit.value, rtol=1e-7)
    assert torch.allclose(other.dual_value / scale, unit.dual_value, rtol=1e-7)


@pytest.mark.parametrize("engine", ENGINES)
def test_one_label_far_from_all_others(engine: str) -> None:
    """One cost a thousand times the rest: its kernel entry underflows, its mass must still arrive."""
    problem = random_problem(4, 6, 4, seed=7)
    problem.cost[2] += 1000.0
    problem.cost[:, 1] += torch.linspace(0, 500, 6, dtype=torch.float64)
    result = sinkhorn(problem.p, problem.q, problem.cost, eps=0.05, tol=1e-8, engine=engine)
    assert bool(result.converged.all())
    plan = plans(problem, result)
    assert float((plan.sum(2) - problem.p).abs().sum(1).max()) <= 1e-7
    for item in range(4):
        least = ot.emd2(problem.p[item].numpy(), problem.q[item].numpy(), problem.cost.numpy())
        assert least - 1e-4 <= float(result.value[item]) <= least + 0.05 * np.log(4) + 1e-4


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("teacher", "student"), [(1, 1), (1, 5), (5, 1), (1, 300), (300, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_label_on_a_side_forces_the_plan(teacher: int, student: int, dtype: torch.dtype, engine: str) -> None:
    problem = random_problem(6, teacher, student, seed=8)
    p, q, cost = (side.to(dtype) for side in (problem.p, problem.q, problem.cost))
    cost = cost.nan_to_num(1.0)
    result = sinkhorn(p, q, cost, eps=0.05, tol=1e-3 if dtype == torch.float32 else 1e-9, engine=engine)
    forced = torch.einsum("nk,ns,ks->n", p, q, cost)
    assert bool(result.converged.all())
    assert torch.allclose(result.value, forced, rtol=1e-3 if dtype == torch.float32 else 1e-8)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("tol", [1e-3, 1e-9])
def test_one_hot_targets_give_the_forced_cost(engine: str, tol: float) -> None:
    problem = random_problem(20, 30, 6, seed=9)
    labels = torch.arange(20) % 6
    targets = torch.nn.functional.one_hot(labels, 6).double()
    result = sinkhorn(problem.p, targets, problem.cost, eps=0.01, tol=tol, engine=engine)
    expected = (problem.p @ problem.cost).gather(1, labels.unsqueeze(1)).squeeze(1)
    assert bool(result.converged.all())
    assert torch.allclose(result.value, expected, atol=tol * spread(problem) + 1e-6)
    assert bool(torch.isfinite(result.g).all())


@pytest.mark.parametrize("engine", ENGINES)
def test_masses_near_the_smallest_number(engine: str) -> None:
    """Masses down to 1e-300 are labels nobody predicts: they must neither spoil the item nor become NaN."""
    problem = random_problem(3, 6, 5, seed=10)
    p, q = problem.p.clone(), problem.q.clone()
    p[:, 0], q[:, 1] = torch.tensor([1e-300, 1e-40, 1e-12]), torch.tensor([1e-12, 1e-300, 1e-40])
    p, q = p / p.sum(1, keepdim=True), q / q.sum(1, keepdim=True)
    for tol in (1e-3, 1e-8):
        result = sinkhorn(p, q, problem.cost, eps=0.02, tol=tol, engine=engine)
        assert bool(result.converged.all())
        assert bool(torch.isfinite(result.g).all())
        assert bool(torch.isfinite(result.f).all())
        for item in range(3):
            least = ot.emd2(p[item].numpy(), q[item].numpy(), problem.cost.numpy())
            assert least - 4 * tol <= float(result.value[item]) <= least + 0.02 * np.log(5) + 4 * tol


@pytest.mark.parametrize("engine", ENGINES)
def test_constant_cost(engine: str) -> None:
    problem = random_problem(4, 5, 3, seed=11)
    result = sinkhorn(problem.p, problem.q, torch.full((5, 3), 2.5), eps=0.1, tol=1e-8, engine=engine)
    assert torch.allclose(result.value, torch.full((4,), 2.5, dtype=torch.float64), atol=1e-7)
    assert bool(result.converged.all())


@pytest.mark.parametrize("engine", ENGINES)
def test_negative_costs_are_costs(engine: str) -> None:
    problem = random_problem(4, 5, 3, seed=12)
    low = sinkhorn(problem.p, problem.q, problem.cost - 7.0, eps=0.05, tol=1e-9, engine=engine)
    plain = sinkhorn(problem.p, problem.q, problem.cost, eps=0.05, tol=1e-9, engine=engine)
    assert torch.allclose(low.value, plain.value - 7.0, atol=1e-7)
