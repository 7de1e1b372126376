"""Measures cell after cell, each kept in a file of its own: what was measured is not measured again."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.distill import arms, digits, intents
from benchmarks.distill.cell import Task

FORMAT = 3
"""Raised when cells of before may no longer stand beside new ones."""


@dataclass(frozen=True)
class Grid:
    """What is measured.

    Attributes
    ----------
    steps
        Of every training, rounded up to whole epochs.
    """

    tasks: list[Task]
    labels: tuple[int, ...]
    seeds: tuple[int, ...]
    steps: int

    def cells(self) -> Iterator[tuple[Task, int, int]]:
        """Task, labels a class, seed; the regime that matters most first, and whole rounds over the tasks."""
        for each in self.labels:
            for seed in self.seeds:
                for task in self.tasks:
                    yield task, each, seed


def grid(data: Path | None, *, fast: bool) -> Grid:
    """All of it, or what five minutes allow. Text tasks want a folder of data."""
    tasks = [*digits.tasks(), *([] if data is None else intents.tasks(data))]
    if fast:
        tasks = [task for task in tasks if task.overlap in (None, 0.5)]
        return Grid(tasks, (1, 5), (0,), 40)
    return Grid(tasks, (5, 1, 25), (0, 1, 2), 40)


def _path(folder: Path, task: Task, each: int, seed: int, steps: int) -> Path:
    name = "".join(letter if letter.isalnum() else "-" for letter in task.name)
    return folder / f"{FORMAT}-{steps}-{name}-{each}-{seed}.json"


def measure(wanted: Grid, folder: Path) -> None:
    """Measure what is not in the folder yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for task, each, seed in wanted.cells():
        path = _path(folder, task, each, seed, wanted.steps)
        if path.is_file():
            continue
        cell = task.cell(each, seed)
        trial = arms.Trial(cell.data, wanted.steps, seed)
        found: dict[str, Any] = {arms.UPPER: arms.upper(cell)}
        for arm in arms.arms(cell):
            found[arm.name] = trial.measure(arm)
        row = {"task": task.name, "kind": task.kind, "overlap": task.overlap, "labels": each, "seed": seed}
        path.write_text(json.dumps({**row, "test_items": cell.test_items, "arms": found}))
        spent = sum(arm["cpu_seconds"] for arm in found.values())
        gain = found[arms.DEFAULT]["accuracy"] - found[arms.ALONE]["accuracy"]
        print(f"{task.name:28} {each:3} labels, seed {seed}: default {gain:+.3f}, {spent:.0f} s", file=sys.stderr)


def read(wanted: Grid, folder: Path) -> list[dict[str, Any]]:
    """All measured cells of a grid."""
    paths = [_path(folder, task, each, seed, wanted.steps) for task, each, seed in wanted.cells()]
    return [json.loads(path.read_text()) for path in paths if path.is_file()]
