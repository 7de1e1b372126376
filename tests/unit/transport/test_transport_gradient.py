"""The loss: gradients against finite differences in float64, mixed precision, compilation, several teachers."""

import itertools
import warnings
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from tests.unit.transport.problems import PROPERTY, Problem, problems, random_problem, spread
from worker.transport import (
    UnconvergedWarning,
    coverage_weights,
    entropic_value,
    faculty_loss,
    sinkhorn,
    transport_loss,
)
from worker.transport.reference import entropic_reference

TIGHT = 1e-10


def gradient(loss: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    leaf = logits.detach().clone().requires_grad_()
    loss(leaf).backward()
    assert leaf.grad is not None
    return leaf.grad


def finite_differences(loss: Callable[[Tensor], Tensor], logits: Tensor, step: float = 1e-4) -> Tensor:
    """Central differences of a scalar, entry by entry, float64."""
    slopes = torch.zeros_like(logits)
    with torch.no_grad():
        for index in range(logits.numel()):
            move = torch.zeros_like(logits).flatten()
            move[index] = step
            move = move.view_as(logits)
            slopes.view(-1)[index] = (loss(logits + move) - loss(logits - move)) / (2 * step)
    return slopes


def logits_of(problem: Problem) -> Tensor:
    """Logits whose softmax is nearly q; a zero of q becomes a probability of about 1e-9."""
    return problem.q.clamp_min(1e-9).log()


@PROPERTY
@given(problems(least_eps=0.03, items=2, labels=5))
def test_gradient_is_the_slope_of_the_value(problem: Problem) -> None:
    """Zero-probability entries and near-one-hot rows on both sides are among the examples."""

    def loss(z: Tensor) -> Tensor:
        return transport_loss(z, problem.p, problem.cost, eps=problem.eps, tol=TIGHT, reduction="sum")

    logits = logits_of(problem)
    unit = spread(problem) + problem.eps
    assert float((gradient(loss, logits) - finite_differences(loss, logits)).abs().max()) <= 1e-5 * unit


@PROPERTY
@given(problems(least_eps=0.05, items=2, labels=5), st.floats(-1.0, 1.5))
def test_gradient_with_a_relaxed_teacher_side(problem: Problem, strength: float) -> None:
    rho = problem.eps * 10.0**strength

    def loss(z: Tensor) -> Tensor:
        return transport_loss(
            z, problem.p, problem.cost, eps=problem.eps, tol=TIGHT, teacher_relaxation=rho, reduction="sum"
        )

    logits = logits_of(problem)
    unit = float(problem.cost.abs().max()) + problem.eps
    assert float((gradient(loss, logits) - finite_differences(loss, logits)).abs().max()) <= 2e-5 * unit


@PROPERTY
@given(problems(least_eps=0.05, items=2, labels=4), st.integers(0, 2**16))
def test_gradient_of_the_debiased_loss(problem: Problem, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(n, 3, generator=draw, dtype=torch.float64) for n in problem.cost.shape)
    cost, own, other = torch.cdist(x, y), torch.cdist(y, y), torch.cdist(x, x)
    eps = 0.2

    def loss(z: Tensor) -> Tensor:
        return transport_loss(
            z, problem.p, cost, eps=eps, tol=TIGHT, debias=True, student_cost=own, teacher_cost=other, reduction="sum"
        )

    logits = logits_of(problem)
    assert float((gradient(loss, logits) - finite_differences(loss, logits)).abs().max()) <= 1e-5


@pytest.mark.parametrize("sharpness", [30.0, 200.0])
@pytest.mark.parametrize("rho", [None, 0.1])
def test_gradient_where_both_sides_are_one_hot_in_all_but_name(sharpness: float, rho: float | None) -> None:
    """Logits so far apart that softmax rounds to exact zeros and ones."""
    problem = random_problem(6, 7, 5, eps=0.05, seed=1)
    draw = torch.Generator().manual_seed(1)
    logits = sharpness * torch.randn(6, 5, generator=draw, dtype=torch.float64)
    teacher = torch.softmax(sharpness * torch.randn(6, 7, generator=draw, dtype=torch.float64), 1)

    def loss(z: Tensor) -> Tensor:
        return transport_loss(z, teacher, problem.cost, eps=0.05, tol=TIGHT, teacher_relaxation=rho, reduction="sum")

    slopes = gradient(loss, logits)
    assert bool(torch.isfinite(slopes).all())
    assert float((slopes - finite_differences(loss, logits)).abs().max()) <= 1e-5


def test_gradient_reaches_both_sides_and_passes_gradcheck() -> None:
    problem = random_problem(3, 4, 3, eps=0.2, seed=2)
    leaves = [side.log().requires_grad_() for side in (problem.p, problem.q)]
    for rho in (None, 0.3):

        def value(a: Tensor, b: Tensor, rho: float | None = rho) -> Tensor:
            return entropic_value(
                torch.softmax(a, 1), torch.softmax(b, 1), problem.cost, eps=0.2, tol=1e-12, teacher_relaxation=rho
            )

        assert torch.autograd.gradcheck(value, leaves, eps=1e-5, atol=1e-6)


def test_value_is_the_reference_objective() -> None:
    problem = random_problem(4, 6, 5, eps=0.1, seed=3)
    for rho in (None, 0.2):
        values = transport_loss(
            problem.q.log(),
            problem.p,
            problem.cost,
            eps=0.1,
            tol=TIGHT,
            teacher_relaxation=rho,
            reduction="none",
        )
        for item in range(4):
            expected = entropic_reference(
                problem.p[item], problem.q[item], problem.cost, eps=0.1, teacher_relaxation=rho
            )
            assert float(values[item]) == pytest.approx(expected.dual_value, abs=1e-8)


@pytest.mark.parametrize(("teacher", "student"), [(100, 10), (10, 100), (50, 50)])
def test_float32_gradient_at_the_default_tolerance(teacher: int, student: int) -> None:
    """Without a tolerance given, a float32 gradient is within 5e-4 of the float64 one."""
    problem = random_problem(64, teacher, student, eps=0.05, seed=4)

    def loss(dtype: torch.dtype, **options: float) -> Callable[[Tensor], Tensor]:
        p = problem.p.to(dtype)
        return lambda z: transport_loss(z, p, problem.cost, eps=0.05, reduction="sum", **options)

    exact = gradient(loss(torch.float64, tol=TIGHT), problem.q.log())
    single = gradient(loss(torch.float32), problem.q.log().float())
    assert float((single.double() - exact).norm() / exact.norm()) <= 5e-4


def test_debiased_loss_is_zero_for_itself_and_a_distance_otherwise() -> None:
    problem = random_problem(5, 6, 6, eps=0.1, seed=5)
    points = torch.randn(6, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    cost = torch.cdist(points, points)
    options = {"eps": 0.1, "tol": TIGHT, "reduction": "none"}

    def debiased(logits: Tensor) -> Tensor:
        return transport_loss(logits, problem.p, cost, debias=True, student_cost=cost, teacher_cost=cost, **options)

    same = debiased(problem.p.log())
    assert float(same.abs().max()) <= 1e-8
    assert float(debiased(problem.q.log()).min()) > 1e-4
    plain = transport_loss(problem.p.log(), problem.p, cost, **options)
    assert float(plain.min()) > 1e-3, "the plain value between a distribution and itself is not 0"


def test_several_teachers_are_the_weighted_sum_of_single_ones() -> None:
    draw = torch.Generator().manual_seed(6)
    logits = torch.randn(9, 4, generator=draw, dtype=torch.float64)
    sizes = (3, 8, 5)
    teachers = [torch.softmax(torch.randn(9, k, generator=draw, dtype=torch.float64), 1) for k in sizes]
    costs = [torch.rand(k, 4, generator=draw, dtype=torch.float64) for k in sizes]
    shares = torch.rand(3, 9, generator=draw, dtype=torch.float64)

    def together(z: Tensor) -> Tensor:
        return faculty_loss(z, teachers, costs, eps=0.1, tol=TIGHT, weights=shares)

    def apart(z: Tensor) -> Tensor:
        return sum(
            transport_loss(z, p, c, eps=0.1, tol=TIGHT, weights=w)
            for p, c, w in zip(teachers, costs, shares, strict=True)
        )  # type: ignore[return-value]

    assert torch.allclose(together(logits), apart(logits), atol=1e-10)
    slopes = gradient(together, logits)
    assert torch.allclose(slopes, gradient(apart, logits), atol=1e-9)
    assert torch.allclose(slopes, finite_differences(together, logits), atol=1e-6)
    equal = faculty_loss(logits, teachers, costs, eps=0.1, tol=TIGHT)
    thirds = faculty_loss(logits, teachers, costs, eps=0.1, tol=TIGHT, weights=torch.full((3,), 1 / 3))
    assert float(equal) == pytest.approx(float(thirds), rel=1e-6)


def test_coverage_weights_favour_the_nearest_teacher_class_by_class() -> None:
    near, far = torch.tensor([[0.0, 0.9], [0.8, 0.8]]), torch.tensor([[0.7, 0.1], [0.9, 0.3], [0.5, 0.6]])
    shares = coverage_weights([near, far], 0.1)
    assert shares.shape == (2, 2)
    assert torch.allclose(shares.sum(0), torch.ones(2))
    assert shares[0, 0] > 0.99 > 0.01 > shares[0, 1]
    # minima 0 and .5 for the first class: the odds are exp(.5 / .1).
    assert float(shares[0, 0] / shares[1, 0]) == pytest.approx(float(torch.tensor(5.0).exp()), rel=1e-5)


def test_item_weights_and_reductions() -> None:
    problem = random_problem(6, 5, 4, eps=0.1, seed=7)
    shares = torch.linspace(0, 1, 6, dtype=torch.float64)
    options = {"eps": 0.1, "tol": TIGHT}
    each = transport_loss(problem.q.log(), problem.p, problem.cost, reduction="none", **options)
    for reduction, expected in (("mean", (each * shares).mean()), ("sum", (each * shares).sum())):
        loss = transport_loss(problem.q.log(), problem.p, problem.cost, weights=shares, reduction=reduction, **options)
        assert torch.allclose(loss, expected)


def test_no_gradient_reaches_the_teacher() -> None:
    problem = random_problem(4, 5, 3, seed=8)
    teacher = problem.p.clone().requires_grad_()
    logits = problem.q.log().requires_grad_()
    transport_loss(logits, teacher, problem.cost, eps=0.05, tol=1e-6).backward()
    assert teacher.grad is None
    assert logits.grad is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_lowers_nothing(dtype: torch.dtype) -> None:
    """The model computes in half precision, the loss in float32: same value and gradient as outside."""
    problem = random_problem(32, 20, 10, seed=9)
    p, cost = problem.p.float(), problem.cost.float()
    inputs = torch.randn(32, 12, generator=torch.Generator().manual_seed(9))
    model = torch.nn.Linear(12, 10)
    with torch.autocast("cpu", dtype=dtype):
        logits = model(inputs)
        assert logits.dtype == dtype
        inside = transport_loss(logits, p, cost, eps=0.05, tol=1e-5)
    inside.backward()
    assert model.weight.grad is not None
    outside = transport_loss(logits.detach(), p, cost, eps=0.05, tol=1e-5)
    assert inside.dtype == torch.float32
    assert float(inside.detach()) == pytest.approx(float(outside), rel=1e-6)
    exact = gradient(lambda z: transport_loss(z, p, cost, eps=0.05, tol=1e-5), logits.detach().float())
    lowered = gradient(lambda z: transport_loss(z, p, cost, eps=0.05, tol=1e-5), logits.detach())
    assert lowered.dtype == dtype
    assert torch.allclose(lowered.float(), exact, atol=1e-2 * float(exact.abs().max()))


@pytest.mark.parametrize("rho", [None, 0.1])
def test_compiled_step_is_one_graph_and_the_same(rho: float | None) -> None:
    problem = random_problem(16, 9, 5, seed=10)
    p, cost = problem.p.float(), problem.cost.float()
    graphs = []

    def count(module: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., object]:
        graphs.append(module)
        return module.forward

    def step(z: Tensor) -> Tensor:
        return transport_loss(2.0 * z, p, cost, eps=0.05, tol=1e-5, teacher_relaxation=rho)

    torch.compiler.reset()
    compiled = torch.compile(step, backend=count, fullgraph=True)
    logits = problem.q.log().float()
    assert float(compiled(logits)) == pytest.approx(float(step(logits)), rel=1e-6)
    assert torch.allclose(gradient(compiled, logits), gradient(step, logits), atol=1e-7)
    assert len(graphs) >= 1
    torch.compiler.reset()


def test_operator_keeps_the_rules_of_the_framework() -> None:
    problem = random_problem(4, 5, 3, seed=11)
    for rho, both in ((float("inf"), True), (0.2, True), (float("inf"), False)):
        arguments = (
            problem.p.clone().requires_grad_(both),
            problem.q.clone().requires_grad_(),
            problem.cost,
            0.1,
            1e-10,
            rho,
            both,
        )
        torch.library.opcheck(
            torch.ops.preceptor.entropic_transport.default,
            arguments,
            test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
        )


def test_unconverged_items_are_warned_of() -> None:
    problem = random_problem(4, 8, 5, eps=1e-7, seed=4)
    logits = problem.q.log().requires_grad_()
    with pytest.warns(UnconvergedWarning, match="did not reach tol"):
        transport_loss(logits, problem.p, problem.cost, eps=1e-7, tol=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        transport_loss(logits, problem.p, problem.cost, eps=0.05, tol=1e-9)


def test_a_step_along_the_gradient_lowers_the_loss() -> None:
    problem = random_problem(32, 12, 6, seed=12)
    logits = torch.zeros(32, 6, dtype=torch.float64)

    def loss(z: Tensor) -> Tensor:
        return transport_loss(z, problem.p, problem.cost, eps=0.05, tol=1e-8, reduction="sum")

    values = []
    for _ in range(15):
        values.append(float(loss(logits)))
        logits = logits - 0.5 * gradient(loss, logits)
    assert all(later < earlier for earlier, later in itertools.pairwise(values))


def test_empty_batch_has_a_loss_per_item() -> None:
    values = transport_loss(torch.zeros(0, 3), torch.zeros(0, 4), torch.ones(4, 3), eps=0.1, tol=1e-3, reduction="none")
    assert values.shape == (0,)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"reduction": "median"}, "reduction must be"),
        ({"weights": torch.ones(2)}, r"weights have shape \(2,\)"),
        ({"debias": True}, "debias needs"),
        ({"debias": True, "teacher_relaxation": 0.1}, "balanced"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], reason: str) -> None:
    problem = random_problem(3, 4, 3, seed=13)
    with pytest.raises(ValueError, match=reason):
        transport_loss(problem.q.log(), problem.p, problem.cost, **({"eps": 0.1, "tol": 1e-4} | options))


def test_bad_faculties_are_refused() -> None:
    problem = random_problem(3, 4, 3, seed=14)
    logits = problem.q.log()
    with pytest.raises(ValueError, match="1 teachers and 2 cost"):
        faculty_loss(logits, [problem.p], [problem.cost, problem.cost], eps=0.1, tol=1e-4)
    with pytest.raises(ValueError, match="0 teachers"):
        faculty_loss(logits, [], [], eps=0.1, tol=1e-4)
    with pytest.raises(ValueError, match="weights have shape"):
        faculty_loss(logits, [problem.p], [problem.cost], eps=0.1, tol=1e-4, weights=torch.ones(2))
    with pytest.raises(ValueError, match="temperature"):
        coverage_weights([problem.cost], 0.0)
    with pytest.raises(ValueError, match="at least one"):
        coverage_weights([], 1.0)


def test_potentials_are_the_gradient_that_the_engine_reports() -> None:
    problem = random_problem(5, 6, 4, eps=0.1, seed=15)
    result = sinkhorn(problem.p, problem.q, problem.cost, eps=0.1, tol=TIGHT)
    logits = problem.q.log()
    slopes = gradient(lambda z: transport_loss(z, problem.p, problem.cost, eps=0.1, tol=TIGHT, reduction="sum"), logits)
    centred = result.g - (problem.q * result.g).sum(1, keepdim=True)
    assert torch.allclose(slopes, problem.q * centred, atol=1e-9)
