"""Measures cells one by one and stores each in a file, so that no measurement is repeated.

New columns are also measured for stored cells and added to them.
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
"""Increased when earlier cells are no longer comparable with new ones."""

REFERENCE_COLUMN = "transport"
"""The column that is repeated when new ones are added to a stored cell: it depends on data, ranking and trainer, and
is cheap."""


class Stale(Exception):
    """A stored cell was measured with different code."""


@dataclass(frozen=True)
class Grid:
    """What to measure."""

    tasks: list[Task]
    labels: tuple[int, ...]
    seeds: tuple[int, ...]

    def cells(self) -> Iterator[tuple[Task, int, int]]:
        """Task, labels a class, seed; the most important label count first, and complete rounds over the tasks."""
        for each in self.labels:
            for seed in self.seeds:
                for task in self.tasks:
                    yield task, each, seed


def grid(data: Path | None, kept: Path, *, fast: bool) -> Grid:
    """The full grid, or the part that takes five minutes. Tasks with texts or photographs need a data folder."""
    tasks = [*digits.tasks(), *([] if data is None else [*intents.tasks(data), *photos.tasks(data, kept)])]
    if fast:
        tasks = [task for task in tasks if task.overlap in (None, 0.5) and not task.course.slow]
        return Grid(tasks, (1, 5), (0,))
    return Grid(tasks, (5, 1, 25), (0, 1, 2))


def _path(folder: Path, task: Task, each: int, seed: int) -> Path:
    name = "".join(letter if letter.isalnum() else "-" for letter in task.name)
    return folder / f"{FORMAT}-{task.course.steps}-{name}-{each}-{seed}.json"


def measure(wanted: Grid, folder: Path) -> None:
    """Measure what the folder does not contain: whole cells, and new columns of stored ones.

    Raises
    ------
    Stale
        Stored cells could not be reproduced. They were left unchanged, after all others had been measured.
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
        if before and (differs := differing(before[REFERENCE_COLUMN], trial.measure(every[REFERENCE_COLUMN]))):
            stale.append(f"{path.name}: {differs}")
            print(stale[-1], file=sys.stderr)
            continue
        found = {name: trial.measure(arm) for name, arm in every.items() if name in missing}
        if arms.UPPER in missing:
            found[arms.UPPER] = arms.upper(cell)
        # Another process may have added its columns meanwhile.
        kept = json.loads(path.read_text()) if path.is_file() else None
        together = {**(kept["arms"] if kept else {}), **found}
        row = kept or {"task": task.name, "kind": task.kind, "overlap": task.overlap, "labels": each, "seed": seed}
        ordered = {name: together[name] for name in dict.fromkeys([*columns, *together])}
        _write(path, {**row, "test_items": cell.test_items, "arms": ordered})
        spent = sum(arm["cpu_seconds"] for arm in found.values())
        alone = together[arms.ALONE]["accuracy"]
        gains = {name: together[name]["accuracy"] - alone for name in (found if before else (arms.DEFAULT,))}
        summary = "; ".join(f"{name} {gain:+.3f}" for name, gain in gains.items())
        print(f"{task.name:28} {each:3} labels, seed {seed}: {summary}, {spent:.0f} s", file=sys.stderr)
    if stale:
        raise Stale(
            f"{REFERENCE_COLUMN} differs from its stored value in {len(stale)} cells, so new columns are not "
            "comparable with the old ones there; increase FORMAT to measure all cells again:\n" + "\n".join(stale)
        )


def differing(kept: dict[str, Any], again: dict[str, Any]) -> str:
    """Differences between a repeated column and the stored one; empty if there are none."""
    return ", ".join(
        f"{what} {kept[what]}, now {again[what]}"
        for what in ("teachers", "steps", "accuracy")
        if kept[what] != again[what]
    )


def _write(path: Path, row: dict[str, Any]) -> None:
    """Write atomically: an interrupted run leaves the old or the new file."""
    other = path.with_suffix(f".{os.getpid()}.part")
    other.write_text(json.dumps(row))
    other.replace(path)


def read(wanted: Grid, folder: Path) -> list[dict[str, Any]]:
    """All stored cells of a grid."""
    paths = [_path(folder, task, each, seed) for task, each, seed in wanted.cells()]
    return [json.loads(path.read_text()) for path in paths if path.is_file()]
