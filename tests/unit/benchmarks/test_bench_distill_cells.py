"""Kept cells of the distillation benchmark: new columns join, old numbers stay, and cells of other code are refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.distill import arms, digits, run
from benchmarks.distill.cell import Course

TASK = next(task for task in digits.tasks() if task.overlap == 0.5)
GRID = run.Grid([replace(TASK, course=Course(steps=3))], (1,), (0,))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One measured cell, as it is kept."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("cells")
    run.measure(GRID, folder)
    (path,) = folder.iterdir()
    return path.read_text()


def _written(folder: Path, row: object) -> Path:
    path = folder / f"{run.FORMAT}-3-digits-50--1-0.json"
    path.write_text(json.dumps(row))
    return path


def test_a_cell_has_all_columns(kept: str) -> None:
    assert list(json.loads(kept)["arms"]) == arms.columns(1)


def test_columns_are_what_a_cell_trains() -> None:
    for each in (1, 25):
        trained = [arm.name for arm in arms.arms(TASK.cell(each, 0))]
        assert sorted([arms.UPPER, *trained]) == sorted(arms.columns(each))


def test_only_the_missing_column_is_measured(kept: str, tmp_path: Path) -> None:
    row = json.loads(kept)
    whole = row["arms"].pop("WKD-L")
    row["arms"][arms.DEFAULT]["cpu_seconds"] = -1.0
    row["arms"]["a column of old"] = dict(whole)
    path = _written(tmp_path, row)
    run.measure(GRID, tmp_path)
    found = json.loads(path.read_text())
    assert list(found["arms"]) == [*arms.columns(1), "a column of old"]
    assert found["arms"]["WKD-L"]["accuracy"] == whole["accuracy"]
    # Not measured again: a mark in it stays.
    assert found["arms"][arms.DEFAULT]["cpu_seconds"] == -1.0
    assert [path.name for path in tmp_path.iterdir()] == [path.name]
    assert run.read(GRID, tmp_path) == [found]


def test_a_cell_of_other_code_is_refused_and_left_alone(kept: str, tmp_path: Path) -> None:
    row = json.loads(kept)
    del row["arms"]["WKD-L"]
    row["arms"][run.REFERENCE_COLUMN]["accuracy"] += 0.1
    path = _written(tmp_path, row)
    with pytest.raises(run.Stale, match=r"in 1 cells(.|\n)*accuracy"):
        run.measure(GRID, tmp_path)
    assert json.loads(path.read_text()) == row
