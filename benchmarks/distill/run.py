"""Measures cell after cell, each kept in a file of its own: what was measured is not measured again.

A column that is new is measured in the cells that are kept, too, and joins the others there.
"""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.distill import arms, digits, intents, photos
from benchmarks.distill.cell import Task

FORMAT = 5
"""Raised when cells of before may no longer stand beside new ones."""

WITNESS = "transport"
"""The column that is measured again where new ones join a kept cell: it hangs on the data, the ranking and the trainer,
and costs little."""


class Stale(Exception):
    """A kept cell was measured by other code."""


@dataclass(frozen=True)
class Grid:
    """What is measured."""

    tasks: list[Task]
    labels: tuple[int, ...]
    seeds: tuple[int, ...]

    def cells(self) -> Iterator[tuple[Task, int, int]]:
        """Task, labels a class, seed; the regime that matters most first, and whole rounds over the tasks."""
        for each in self.labels:
            for seed in self.seeds:
                for task in self.tasks:
                    yield task, each, seed


def grid(data: Path | None, kept: Path, *, fast: bool) -> Grid:
    """All of it, or what five minutes allow. Tasks of texts and photographs want a folder of data."""
    tasks = [*digits.tasks(), *([] if data is None else [*intents.tasks(data), *photos.tasks(data, kept)])]
    if fast:
        tasks = [task for task in tasks if task.overlap in (None, 0.5) and not task.course.slow]
        return Grid(tasks, (1, 5), (0,))
    return Grid(tasks, (5, 1, 25), (0, 1, 2))


def _path(folder: Path, task: Task, each: int, seed: int) -> Path:
    name = "".join(letter if letter.isalnum() else "-" for letter in task.name)
    return folder / f"{FORMAT}-{task.course.steps}-{name}-{each}-{seed}.json"


def measure(wanted: Grid, folder: Path) -> None:
    """Measure what is not in the folder yet: whole cells, and new columns of kept ones.

    Raises
    ------
    Stale
        Kept cells no longer give the numbers that they were kept with: these were left as they were, after all others
        had been measured.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stale: list[str] = []
    for task, each, seed in wanted.cells():
        path = _path(folder, task, each, seed)
        kept: dict[str, Any] | None = json.loads(path.read_text()) if path.is_file() else None
        before: dict[str, Any] = kept["arms"] if kept else {}
        columns = arms.columns(each, slow=task.course.slow)
        missing = set(columns) - set(before)
        if not missing:
            continue
        cell = task.cell(each, seed)
        trial = arms.Trial(cell.data, task.course, seed)
        every = {arm.name: arm for arm in arms.arms(cell)}
        if before and (differs := differing(before[WITNESS], trial.measure(every[WITNESS]))):
            stale.append(f"{path.name}: {differs}")
            print(stale[-1], file=sys.stderr)
            continue
        found = {name: trial.measure(arm) for name, arm in every.items() if name in missing}
        if arms.UPPER in missing:
            found[arms.UPPER] = arms.upper(cell)
        # Another process may have put its columns there meanwhile.
        kept = json.loads(path.read_text()) if path.is_file() else None
        together = {**(kept["arms"] if kept else {}), **found}
        row = kept or {"task": task.name, "kind": task.kind, "overlap": task.overlap, "labels": each, "seed": seed}
        ordered = {name: together[name] for name in dict.fromkeys([*columns, *together])}
        _write(path, {**row, "test_items": cell.test_items, "arms": ordered})
        spent = sum(arm["cpu_seconds"] for arm in found.values())
        alone = together[arms.ALONE]["accuracy"]
        gains = {name: together[name]["accuracy"] - alone for name in (found if before else (arms.DEFAULT,))}
        told = "; ".join(f"{name} {gain:+.3f}" for name, gain in gains.items())
        print(f"{task.name:28} {each:3} labels, seed {seed}: {told}, {spent:.0f} s", file=sys.stderr)
    if stale:
        raise Stale(
            f"{WITNESS} came out otherwise than it was kept in {len(stale)} cells, so new columns cannot stand beside "
            "the old ones there; raise FORMAT to measure all again:\n" + "\n".join(stale)
        )


def differing(kept: dict[str, Any], again: dict[str, Any]) -> str:
    """How a column that was measured again differs from the kept one; empty where it does not."""
    return ", ".join(
        f"{what} {kept[what]}, now {again[what]}"
        for what in ("teachers", "steps", "accuracy")
        if kept[what] != again[what]
    )


def _write(path: Path, row: dict[str, Any]) -> None:
    """At once: a run that is stopped leaves the file whole, as it was before or as it is after."""
    other = path.with_suffix(f".{os.getpid()}.part")
    other.write_text(json.dumps(row))
    other.replace(path)


def read(wanted: Grid, folder: Path) -> list[dict[str, Any]]:
    """All measured cells of a grid."""
    paths = [_path(folder, task, each, seed) for task, each, seed in wanted.cells()]
    return [json.loads(path.read_text()) for path in paths if path.is_file()]
