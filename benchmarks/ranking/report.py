"""placeholder"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from benchmarks.ranking.world import Target, World


@dataclass(frozen=True)
class Grid:
    tasks: list[tuple[World, Target]]
    losses: tuple[str, ...]
    seeds: tuple[int, ...]
    sizes: tuple[int, ...]
    draws: int

    def truths(self) -> Iterator[tuple[World, Target, str, int]]:
        for loss in self.losses:
            for seed in self.seeds:
                for world, target in self.tasks:
                    yield world, target, loss, seed

    def probes(self) -> Iterator[tuple[World, Target, int, int]]:
        for draw in range(self.draws):
            for each in self.sizes:
                for world, target in self.tasks:
                    yield world, target, each, draw


def report(grid, kept, result, fit):
    return True
