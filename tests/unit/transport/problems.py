"""Entropic problems for the property tests: small, and as ugly as a user's can be."""

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import settings, strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from torch import Tensor

from worker.transport import SinkhornResult

# Derandomised: every run draws the same examples.
PROPERTY = settings(derandomize=True, deadline=None, max_examples=40, database=None)


@dataclass(frozen=True, slots=True)
class Problem:
    """N pairs of distributions (N, K) and (N, S), a cost (K, S), all float64, and an eps."""

    p: Tensor
    q: Tensor
    cost: Tensor
    eps: float


def random_problem(
    items: int, teacher: int, student: int, *, eps: float = 0.05, sharpness: float = 2.0, seed: int = 0
) -> Problem:
    """An ordinary problem: softmax of normal logits, Euclidean costs of median about 1."""
    draw = torch.Generator().manual_seed(seed)

    def rows(width: int) -> Tensor:
        return torch.softmax(sharpness * torch.randn(items, width, generator=draw, dtype=torch.float64), 1)

    x, y = (torch.randn(width, 6, generator=draw, dtype=torch.float64) for width in (teacher, student))
    cost = torch.cdist(x, y)
    return Problem(rows(teacher), rows(student), cost / cost.median(), eps)


def _normalised(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    rows = np.where(rows.sum(axis=-1, keepdims=True) > 1e-6, rows, 1.0)
    return rows / rows.sum(axis=-1, keepdims=True)


def weights(shape: tuple[int, ...]) -> st.SearchStrategy[NDArray[np.float64]]:
    """Distributions along the last axis: zeros, ties, one-hot rows and tiny masses are all likely."""
    masses = st.one_of(st.sampled_from([0.0, 0.0, 1.0, 1e-3, 1e-9]), st.floats(0.0, 1.0))
    return hnp.arrays(np.float64, shape, elements=masses, fill=st.nothing()).map(_normalised)


def costs(teacher: int, student: int) -> st.SearchStrategy[NDArray[np.float64]]:
    """Costs in [0, 1] with many ties; equal rows and columns are duplicated labels."""
    distances = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0.0, 1.0))
    return hnp.arrays(np.float64, (teacher, student), elements=distances, fill=st.nothing())


@st.composite
def problems(
    draw: st.DrawFn, *, least_eps: float = 0.02, most_eps: float = 10.0, items: int = 4, labels: int = 7
) -> Problem:
    """Few items, 1 to ``labels`` labels a side, costs scaled and moved as a whole; eps relative to the scale."""
    teacher, student = draw(st.integers(1, labels)), draw(st.integers(1, labels))
    count = draw(st.integers(1, items))
    cost = draw(costs(teacher, student))
    if teacher > 1 and draw(st.booleans()):
        cost[-1] = cost[0]
    scale = draw(st.sampled_from([1.0, 1e-4, 1e4]))
    offset = draw(st.sampled_from([0.0, 0.0, 3.0]))
    relative = float(np.exp(draw(st.floats(np.log(least_eps), np.log(most_eps)))))
    return Problem(
        torch.from_numpy(draw(weights((count, teacher)))),
        torch.from_numpy(draw(weights((count, student)))),
        torch.from_numpy((cost + offset) * scale),
        relative * scale,
    )


def plans(problem: Problem, result: SinkhornResult) -> Tensor:
    """The plan of each item, (N, K, S), from its potentials."""
    exponent = (result.f.unsqueeze(2) + result.g.unsqueeze(1) - problem.cost) / problem.eps
    return exponent.exp() * problem.p.unsqueeze(2) * problem.q.unsqueeze(1)


def spread(problem: Problem) -> float:
    """Range of the cost: the unit in which a marginal error becomes an error of the value."""
    return float(problem.cost.amax() - problem.cost.amin())
