"""The measurement grid: tasks, losses and seeds of the ground truth; sizes and draws of the probes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.ranking import scores, truth
from benchmarks.ranking.world import Target, World

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """All cells.

    Attributes
    ----------
    seeds
        Number of seeds by loss; the first loss is the ground truth, the others are checks.
    """

    tasks: list[tuple[World, Target]]
    seeds: Mapping[str, int]
    sizes: tuple[int, ...]
    draws: int

    @property
    def loss(self) -> str:
        """The loss of the ground truth."""
        return next(iter(self.seeds))

    def truths(self) -> Iterator[tuple[World, Target, str, int]]:
        """Cells of the ground truth: a complete round over the tasks for each seed, all seeds for each loss."""
        for loss, seeds in self.seeds.items():
            for seed in range(seeds):
                for world, target in self.tasks:
                    yield world, target, loss, seed

    def probes(self) -> Iterator[tuple[World, Target, int, int]]:
        """Cells of the probes: a complete round for each draw."""
        for draw in range(self.draws):
            for each in self.sizes:
                for world, target in self.tasks:
                    yield world, target, each, draw


@dataclass(frozen=True)
class Measured:
    """Measurements of one task.

    Attributes
    ----------
    accuracy
        By loss, shape (seeds, T), for the students of the zoo's teachers in order.
    alone
        Accuracy without a teacher, by loss, shape (seeds,).
    probes
        Scores by size, one for each draw.
    """

    world: World
    target: Target
    accuracy: dict[str, Vector]
    alone: dict[str, Vector]
    probes: dict[int, list[scores.Scores]]
    cpu_seconds: float

    def truth(self, loss: str) -> Vector:
        """Mean accuracy over the seeds, shape (T,)."""
        return self.accuracy[loss].mean(axis=0)

    @cached_property
    def matched(self) -> NDArray[np.bool_]:
        """Teachers with the most frequent number of classes."""
        sizes = np.array([len(teacher.labels) for teacher in self.world.zoo])
        values, counts = np.unique(sizes, return_counts=True)
        return sizes == values[counts.argmax()]

    @cached_property
    def families(self) -> list[NDArray[np.bool_]]:
        """Architectures with at least eight teachers of the same size."""
        names = np.array([teacher.family for teacher in self.world.zoo])
        found = [self.matched & (names == name) for name in sorted(set(names.tolist()))]
        return [mask for mask in found if mask.sum() >= 8]


def collect(grid: Grid, kept: Path) -> list[Measured]:
    """All tasks with a complete ground truth for the first loss; further losses and probes as far as stored."""
    found: list[Measured] = []
    for world, target in grid.tasks:
        accuracy: dict[str, Vector] = {}
        alone: dict[str, Vector] = {}
        seconds = 0.0
        for loss, seeds in grid.seeds.items():
            cells = [truth.read(target, loss, seed, kept) for seed in range(seeds)]
            complete = [cell for cell in cells if cell is not None]
            if len(complete) == seeds:
                names = [teacher.name for teacher in world.zoo]
                accuracy[loss] = np.array([[cell.accuracy[name] for name in names] for cell in complete])
                alone[loss] = np.array([cell.alone for cell in complete])
                seconds += sum(cell.cpu_seconds for cell in complete)
        if grid.loss not in accuracy:
            continue
        probes: dict[int, list[scores.Scores]] = {}
        for each in grid.sizes:
            drawn = [scores.read(target, each, draw, kept) for draw in range(grid.draws)]
            probes[each] = [one for one in drawn if one is not None]
        found.append(Measured(world, target, accuracy, alone, probes, seconds))
    return found
