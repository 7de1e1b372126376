"""Reading a black-box teacher's predictions, and refusing what cannot be such."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worker.teachers.errors import TeacherUnusable
from worker.teachers.predictions import read_predictions


def saved(folder: Path, array: Any, name: str = "p.npy") -> Path:
    path = folder / name
    np.save(path, array, allow_pickle=True)
    return path


@pytest.fixture
def probabilities() -> np.ndarray:
    values = np.random.default_rng(0).random((5, 3))
    return values / values.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, ">f8"])
def test_probabilities_are_kept_and_sum_to_one(tmp_path: Path, probabilities: np.ndarray, kind: Any) -> None:
    found = read_predictions(saved(tmp_path, probabilities.astype(kind)), 5, 3)
    assert found.dtype == np.float32
    assert np.allclose(found, probabilities, atol=1e-3)
    assert np.allclose(found.sum(axis=1), 1, atol=1e-6)


def test_column_major_arrays_and_npz_are_read(tmp_path: Path, probabilities: np.ndarray) -> None:
    assert np.allclose(
        read_predictions(saved(tmp_path, np.asfortranarray(probabilities)), 5, 3), probabilities, atol=1e-6
    )
    for name in ("predictions", "anything"):
        np.savez_compressed(tmp_path / f"{name}.npz", **{name: probabilities})
        assert np.allclose(read_predictions(tmp_path / f"{name}.npz", 5, 3), probabilities, atol=1e-6)


def test_logits_go_through_a_softmax(tmp_path: Path) -> None:
    logits = np.array([[0.0, np.log(3.0)], [1000.0, -1000.0]])
    assert np.allclose(read_predictions(saved(tmp_path, logits), 2, 2, "logits"), [[0.25, 0.75], [1, 0]])


def bad(row: list[float]) -> np.ndarray:
    return np.array([[0.5, 0.5], row])


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.full((3, 2), 0.5), "the shape must be (2, 2)"),
        (np.full((2,), 0.5), "the shape must be (2, 2)"),
        (bad([np.nan, 0.5]), "item 1 are not finite"),
        (bad([np.inf, 0.5]), "item 1 are not finite"),
        (bad([-0.5, 1.5]), "item 1 are negative"),
        (bad([0.5, 0.4]), "item 1 sum to 0.9, not 1"),
        (np.array([["a", "b"], ["c", "d"]]), "type <U1"),
        (np.array([[1, None], [2, 3]], dtype=object), "Python objects"),
    ],
)
def test_wrong_predictions_are_refused(tmp_path: Path, array: np.ndarray, told: str) -> None:
    with pytest.raises(TeacherUnusable) as refused:
        read_predictions(saved(tmp_path, array), 2, 2)
    assert told in refused.value.detail


def test_wrong_files_are_refused(tmp_path: Path, probabilities: np.ndarray) -> None:
    path = saved(tmp_path, probabilities)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(TeacherUnusable, match="cut off"):
        read_predictions(path, 5, 3)
    path.write_bytes(b"hello")
    with pytest.raises(TeacherUnusable, match="cannot be read"):
        read_predictions(path, 5, 3)
    np.savez(tmp_path / "two.npz", a=probabilities, b=probabilities)
    with pytest.raises(TeacherUnusable, match="holds 2 arrays"):
        read_predictions(tmp_path / "two.npz", 5, 3)


def test_a_header_that_claims_too_much_allocates_nothing(tmp_path: Path) -> None:
    path = saved(tmp_path, np.zeros((1, 1)))
    path.write_bytes(path.read_bytes().replace(b"(1, 1)", b"(9**9,"[:6]))
    with pytest.raises(TeacherUnusable):
        read_predictions(path, 1, 1)
