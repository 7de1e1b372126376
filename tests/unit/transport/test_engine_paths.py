"""Whichever way an item takes through the engine, the answer is the same, and an item not done is said so."""

from typing import Any

import pytest
import torch

from tests.unit.transport.problems import random_problem, spread
from worker.transport import _fused, log_domain, sinkhorn, solver
from worker.transport._fused import entropic as fused
from worker.transport.problem import entropic_problem
from worker.transport.scaling import scale_block

SHAPES = ((3, 2), (10, 100), (100, 10), (33, 17), (65, 64), (130, 5))


def test_compiled_loops_are_built_here() -> None:
    """The other tests ask for both paths; this one says what is missing when they cannot run."""
    assert _fused.available(), "build them: pip install --no-build-isolation -e ."
    assert _fused.level() >= 0


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "tol"), [(torch.float32, 1e-3), (torch.float32, 1e-5), (torch.float64, 1e-8)])
def test_fused_and_torch_agree(shape: tuple[int, int], dtype: torch.dtype, tol: float) -> None:
    problem = random_problem(150, *shape, eps=0.03, seed=shape[0])
    p, q = problem.p.to(dtype), problem.q.to(dtype)
    compiled = sinkhorn(p, q, problem.cost, eps=0.03, tol=tol, engine="fused", aggregate_plan=True)
    plain = sinkhorn(p, q, problem.cost, eps=0.03, tol=tol, engine="torch", aggregate_plan=True)
    assert compiled.precision == plain.precision
    assert bool(compiled.converged.all())
    assert bool(plain.converged.all())
    assert compiled.value.dtype == plain.value.dtype == dtype
    atol = 3 * tol * spread(problem) + (1e-6 if dtype == torch.float32 else 1e-9)
    assert torch.allclose(compiled.value, plain.value, atol=atol)
    assert torch.allclose(compiled.dual_value, plain.dual_value, atol=atol)
    assert compiled.plan is not None
    assert plain.plan is not None
    assert torch.allclose(compiled.plan, plain.plan, atol=atol)


@pytest.mark.parametrize("rho", [1e-3, 0.05, 10.0])
def test_fused_and_torch_agree_when_relaxed(rho: float) -> None:
    problem = random_problem(90, 40, 9, seed=2)
    options: dict[str, Any] = {"eps": 0.05, "tol": 1e-8, "teacher_relaxation": rho}
    compiled = sinkhorn(problem.p, problem.q, problem.cost, engine="fused", **options)
    plain = sinkhorn(problem.p, problem.q, problem.cost, engine="torch", **options)
    assert bool(compiled.converged.all())
    assert torch.allclose(compiled.value, plain.value, atol=1e-6)
    assert torch.allclose(compiled.dual_value, plain.dual_value, atol=1e-6)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_every_instruction_set_agrees(level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if level > _fused.level():
        pytest.skip("this processor lacks the instructions")
    problem = random_problem(100, 37, 13, eps=0.02, seed=5)
    best = sinkhorn(problem.p, problem.q, problem.cost, eps=0.02, tol=1e-9, engine="torch")
    monkeypatch.setattr(fused, "level", lambda: level)
    for dtype, tol, atol in ((torch.float32, 1e-4, 1e-3), (torch.float64, 1e-9, 1e-8)):
        result = sinkhorn(problem.p.to(dtype), problem.q.to(dtype), problem.cost, eps=0.02, tol=tol, engine="fused")
        assert bool(result.converged.all())
        assert torch.allclose(result.value.double(), best.value, atol=atol)


@pytest.mark.parametrize("engine", ["fused", "torch"])
@pytest.mark.parametrize("count", [0, 1, 2, 31, 32, 33, 64, 65, 1000])
def test_every_count_of_items_gives_each_item_its_own_answer(count: int, engine: str) -> None:
    """Lanes, blocks and compaction must not mix items up: each is solved alone again."""
    problem = random_problem(count, 12, 7, eps=0.02, seed=3)
    together = sinkhorn(problem.p, problem.q, problem.cost, eps=0.02, tol=1e-9, engine=engine)
    assert together.value.shape == (count,)
    assert bool(together.converged.all())
    for item in range(0, count, max(1, count // 7)):
        part = slice(item, item + 1)
        alone = sinkhorn(problem.p[part], problem.q[part], problem.cost, eps=0.02, tol=1e-9, engine=engine)
        assert torch.allclose(together.value[part], alone.value, atol=1e-8)
        assert torch.allclose(together.dual_value[part], alone.dual_value, atol=1e-8)


@pytest.mark.parametrize("engine", ["fused", "torch"])
def test_easy_and_slow_items_in_one_batch(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Items that end after one pass and after thousands share blocks; small blocks make many compactions."""
    monkeypatch.setattr(solver, "_BLOCK_ELEMENTS", 64 * 30)
    monkeypatch.setattr(log_domain, "_BLOCK_ELEMENTS", 7 * 200)
    easy, slow = random_problem(150, 20, 10, sharpness=0.1, seed=1), random_problem(150, 20, 10, sharpness=6.0, seed=2)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    p, q = torch.cat([easy.p, slow.p])[order], torch.cat([easy.q, slow.q])[order]
    blocks = sinkhorn(p, q, easy.cost, eps=0.01, tol=1e-8, engine=engine, aggregate_plan=True)
    monkeypatch.undo()
    whole = sinkhorn(p, q, easy.cost, eps=0.01, tol=1e-8, engine="fused", aggregate_plan=True)
    assert bool(blocks.converged.all())
    assert torch.allclose(blocks.value, whole.value, atol=1e-7)
    assert blocks.plan is not None
    assert whole.plan is not None
    assert torch.allclose(blocks.plan, whole.plan, atol=1e-7)


def test_compaction_counts_each_items_own_iterations() -> None:
    problem = random_problem(200, 15, 8, eps=0.1, sharpness=4.0, seed=4)
    kernel = torch.exp(-problem.cost / problem.eps)
    options: dict[str, Any] = {
        "tol": 1e-6,
        "power": 1.0,
        "max_iterations": 2000,
        "slow_after": 10**9,
        "slow_rest": float("inf"),
    }
    together = scale_block(problem.p, problem.q, kernel, problem.q, **options)
    assert len(together.iterations.unique()) > 5
    for item in (0, 77, 199):
        part = slice(item, item + 1)
        alone = scale_block(problem.p[part], problem.q[part], kernel, problem.q[part], **options)
        assert int(alone.iterations) == int(together.iterations[item])
        assert torch.allclose(alone.scaling, together.scaling[part], rtol=1e-10)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_share_the_items_out(threads: int) -> None:
    problem = random_problem(300, 25, 8, seed=6)
    expected = sinkhorn(problem.p, problem.q, problem.cost, eps=0.05, tol=1e-9, engine="torch")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        result = sinkhorn(problem.p, problem.q, problem.cost, eps=0.05, tol=1e-9, engine="fused")
    finally:
        torch.set_num_threads(before)
    assert torch.allclose(result.value, expected.value, atol=1e-8)


@pytest.mark.parametrize("engine", ["fused", "torch"])
@pytest.mark.parametrize(("eps", "dtype"), [(0.05, torch.float32), (0.01, torch.float64), (1e-3, torch.float64)])
@pytest.mark.parametrize("budget", [1, 2, 3, 9])
def test_unconverged_items_are_flagged(eps: float, dtype: torch.dtype, budget: int, engine: str) -> None:
    problem = random_problem(40, 12, 9, sharpness=3.0, seed=7)
    p, q = problem.p.to(dtype), problem.q.to(dtype)
    tol = 1e-5 if dtype == torch.float32 else 1e-9
    result = sinkhorn(p, q, problem.cost, eps=eps, tol=tol, max_iterations=budget, engine=engine)
    assert not bool(result.converged.all())
    assert torch.equal(result.converged, result.violation <= tol)
    # A stage needs one iteration at least, and there are at most ten.
    assert int(result.iterations.max()) <= max(budget, 10)
    truth = sinkhorn(p, q, problem.cost, eps=eps, tol=tol, engine=engine)
    assert bool(truth.converged.all())
    done = result.converged
    assert torch.allclose(result.value[done], truth.value[done], atol=4 * tol * spread(problem) + 1e-6)


@pytest.mark.parametrize("engine", ["fused", "torch"])
def test_flags_are_per_item(engine: str) -> None:
    """A budget between the easy and the slow items: the flag is true of the one and false of the other."""
    easy, slow = random_problem(30, 12, 9, seed=8), random_problem(30, 12, 9, seed=9)
    labels = torch.nn.functional.one_hot(torch.arange(30) % 9, 9).double()
    p, q = torch.cat([easy.p, slow.p]), torch.cat([labels, slow.q])
    result = sinkhorn(p, q, easy.cost, eps=0.05, tol=1e-7, max_iterations=12, engine=engine)
    assert bool(result.converged[:30].all())
    assert not bool(result.converged[30:].all())
    truth = sinkhorn(p, q, easy.cost, eps=0.05, tol=1e-10, engine=engine)
    done = result.converged
    assert torch.allclose(result.value[done], truth.value[done], atol=1e-4 * spread(easy))


@pytest.mark.parametrize("engine", ["fused", "torch"])
@pytest.mark.parametrize(
    ("eps", "tol", "precision"),
    [
        (0.05, 1e-3, "float32"),
        (0.05, 1e-8, "float32+float64"),
        (0.005, 1e-3, "float32+float64"),
        (0.0005, 1e-3, "log"),
    ],
)
def test_the_engine_chooses_its_arithmetic(eps: float, tol: float, precision: str, engine: str) -> None:
    problem = random_problem(10, 9, 6, seed=10)
    cost = problem.cost / problem.cost.max()
    result = sinkhorn(problem.p.float(), problem.q.float(), cost, eps=eps, tol=tol, engine=engine)
    assert result.precision == precision
    assert bool(result.converged.all())


def test_float32_inputs_reach_tolerances_below_their_rounding() -> None:
    problem = random_problem(50, 20, 10, seed=11)
    single = sinkhorn(problem.p.float(), problem.q.float(), problem.cost, eps=0.05, tol=1e-7)
    double = sinkhorn(problem.p, problem.q, problem.cost, eps=0.05, tol=1e-7)
    assert bool(single.converged.all())
    assert single.value.dtype == torch.float32
    assert torch.allclose(single.value.double(), double.value, atol=2e-6)


def test_half_precision_inputs_are_raised() -> None:
    problem = random_problem(8, 9, 5, seed=12)
    result = sinkhorn(problem.p.bfloat16(), problem.q.half(), problem.cost.half(), eps=0.05)
    assert result.value.dtype == torch.float32
    assert bool(result.converged.all())


def test_teacher_potentials_can_be_left_out() -> None:
    for teacher, student in ((20, 5), (5, 20)):
        problem = random_problem(30, teacher, student, seed=13)
        for rho in (None, 0.1):
            full = sinkhorn(problem.p, problem.q, problem.cost, eps=0.05, tol=1e-8, teacher_relaxation=rho)
            lean = sinkhorn(
                problem.p,
                problem.q,
                problem.cost,
                eps=0.05,
                tol=1e-8,
                teacher_relaxation=rho,
                teacher_potentials=False,
            )
            assert lean.f.shape == (30, 0)
            assert torch.allclose(full.value, lean.value, atol=1e-9)
            assert torch.allclose(full.dual_value, lean.dual_value, atol=1e-9)


def test_without_the_library_torch_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fused, "available", lambda: False)
    problem = random_problem(20, 9, 5, seed=14)
    assert bool(sinkhorn(problem.p, problem.q, problem.cost, eps=0.05).converged.all())
    with pytest.raises(RuntimeError, match="not built"):
        sinkhorn(problem.p, problem.q, problem.cost, eps=0.05, engine="fused")


def test_inputs_are_left_as_they_were() -> None:
    problem = random_problem(40, 9, 5, seed=15)
    copies = [side.clone() for side in (problem.p, problem.q, problem.cost)]
    for engine in ("fused", "torch"):
        sinkhorn(problem.p, problem.q, problem.cost, eps=0.01, tol=1e-8, engine=engine)
    assert all(torch.equal(a, b) for a, b in zip(copies, (problem.p, problem.q, problem.cost), strict=True))


def test_layout_of_the_inputs_does_not_matter() -> None:
    problem = random_problem(40, 9, 5, seed=16)
    expected = sinkhorn(problem.p, problem.q, problem.cost, eps=0.05, tol=1e-9)
    strided = sinkhorn(
        problem.p.T.contiguous().T,
        torch.stack([problem.q, problem.q], 2)[..., 0],
        problem.cost.T.contiguous().T,
        eps=0.05,
        tol=1e-9,
    )
    assert torch.equal(expected.value, strided.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"p": torch.full((2, 3), 0.5)}, "predictions: every row must be a distribution"),
        ({"q": torch.tensor([[1.5, -0.5], [0.5, 0.5]])}, "targets: every row"),
        ({"p": torch.full((2, 3), float("nan"))}, "predictions: every row"),
        ({"q": torch.full((2, 2), float("inf"))}, "targets: every row"),
        ({"p": torch.full((2, 4), 0.25)}, r"expected \(N, 3\)"),
        ({"q": torch.full((3, 2), 0.5)}, "2 predictions but 3 targets"),
        ({"cost": torch.full((3, 2), float("nan"))}, "not finite"),
        ({"cost": torch.zeros(3)}, r"\(K, S\) matrix"),
        ({"cost": torch.zeros(0, 2)}, "non-empty"),
        ({"eps": 0.0}, "eps must be a positive number"),
        ({"eps": float("nan")}, "eps must be"),
        ({"tol": -1.0}, "tol must be"),
        ({"relaxation": 0.0}, "teacher_relaxation must be"),
        ({"max_iterations": 0}, "max_iterations"),
    ],
)
def test_bad_inputs_are_refused_with_the_reason(change: dict[str, Any], reason: str) -> None:
    given: dict[str, Any] = {
        "p": torch.full((2, 3), 1 / 3),
        "q": torch.full((2, 2), 0.5),
        "cost": torch.ones(3, 2),
        "eps": 0.1,
        "tol": 1e-3,
        "max_iterations": 100,
        "relaxation": None,
    } | change
    p, q, cost = given.pop("p"), given.pop("q"), given.pop("cost")
    with pytest.raises(ValueError, match=reason):
        entropic_problem(p, q, cost, **given)
