"""A black-box teacher's predictions: checked row by row, kept as float32 logits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.core.errors import PreceptorError
from service.core.settings import Settings
from service.ingest.predictions import ingest_predictions

from .sample_files import npy, npy_claiming, npz


def taken(folder: Path, data: bytes, values: str = "logits", shape: tuple[int, int] = (4, 3)) -> Any:
    source, target = folder / "source", folder / "target.npy"
    source.write_bytes(data)
    items, classes = shape
    try:
        ingest_predictions(source, items=items, classes=classes, values=values, target=target, settings=Settings())
    except PreceptorError:
        assert not target.exists()
        raise
    return np.load(target, allow_pickle=False)


LOGITS = np.random.default_rng(0).normal(size=(4, 3))
PROBABILITIES = np.array([[0.5, 0.25, 0.25], [1, 0, 0], [0.2, 0.3, 0.5], [0.1, 0.1, 0.8]])


@pytest.mark.parametrize("wrap", [npy, lambda array: npz(predictions=array, other=np.zeros(3))])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2"])
def test_logits_are_kept(tmp_path: Path, wrap: Any, dtype: str) -> None:
    given = LOGITS.astype(dtype)
    kept = taken(tmp_path, wrap(given))
    assert (kept.dtype, kept.flags["C_CONTIGUOUS"]) == (np.dtype("<f4"), True)
    np.testing.assert_array_equal(kept, given.astype(np.float32))


def test_of_probabilities_the_logarithms_are_kept(tmp_path: Path) -> None:
    kept = taken(tmp_path, npy(PROBABILITIES * 1.0005), "probabilities")
    expected = np.log(np.maximum(PROBABILITIES, 1e-12))
    np.testing.assert_allclose(kept, expected, rtol=1e-6)
    softmax = np.exp(kept) / np.exp(kept).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(softmax, PROBABILITIES, atol=1e-6)


@pytest.mark.parametrize("values", ["probabilities", "logits"])
@pytest.mark.parametrize(("decimals", "classes"), [(2, 10), (3, 10), (4, 10), (2, 2), (2, 60), (3, 400)])
def test_rounded_probabilities_are_normalised(tmp_path: Path, decimals: int, classes: int, values: str) -> None:
    given = np.random.default_rng(decimals).dirichlet([0.3] * classes, 50)
    rounded = np.round(given, decimals)
    kept = taken(tmp_path, npy(rounded), values, rounded.shape)
    expected = rounded / rounded.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(kept), np.maximum(expected, 1e-12), rtol=1e-4)


def test_half_precision_probabilities_are_normalised(tmp_path: Path) -> None:
    given = np.random.default_rng(0).dirichlet([1] * 300, 20)
    kept = taken(tmp_path, npy(given.astype("<f2")), "probabilities", given.shape)
    np.testing.assert_allclose(np.exp(kept).sum(axis=1), 1, atol=1e-5)


def test_logits_in_the_unit_range_stay_logits(tmp_path: Path) -> None:
    given = np.random.default_rng(0).uniform(size=(4, 3))
    np.testing.assert_array_equal(taken(tmp_path, npy(given)), given.astype(np.float32))


@pytest.mark.parametrize("row", [[0.9, 0.8, 0.1], [0.2, 0.1, 0.1], [0.0, 0.0, 0.0]])
def test_probabilities_that_do_not_sum_to_1_are_never_called_logits(tmp_path: Path, row: list[float]) -> None:
    with pytest.raises(PreceptorError, match="divided by its sum") as caught:
        taken(tmp_path, npy(np.array([PROBABILITIES[0], row, row, row])), "probabilities")
    assert "logits with" not in caught.value.detail


def test_one_hot_whole_numbers_are_probabilities(tmp_path: Path) -> None:
    kept = taken(tmp_path, npy(np.eye(4, 3, dtype=np.int8)[[0, 1, 2, 2]]), "probabilities")
    assert kept.argmax(axis=1).tolist() == [0, 1, 2, 2]


def test_many_chunks(tmp_path: Path) -> None:
    given = np.random.default_rng(1).normal(size=(3001, 500))
    np.testing.assert_array_equal(taken(tmp_path, npy(given), shape=given.shape), given.astype(np.float32))


def changed(row: int, column: int, value: float) -> Any:
    array = PROBABILITIES.copy()
    array[row, column] = value
    return array


@pytest.mark.parametrize(
    ("data", "values", "status", "says"),
    [
        (npy(changed(2, 1, np.nan)), "probabilities", 422, ["predictions[2, 1] is nan", "finite"]),
        (npy(changed(2, 1, -np.inf)), "logits", 422, ["predictions[2, 1] is -inf"]),
        (npy(changed(2, 1, 1e39)), "logits", 422, ["predictions[2, 1] is 1e+39", "float32"]),
        (
            npy(changed(3, 0, -0.1)),
            "probabilities",
            422,
            ["predictions[3] is no distribution", "-0.1", "?values=logits"],
        ),
        (npy(changed(1, 1, 0.01)), "probabilities", 422, ["predictions[1]", "sum 1.01"]),
        (npy(PROBABILITIES[:, :2]), "logits", 422, ["shape (4, 3)", "float64 (4, 2)", "items", "classes"]),
        (npy(PROBABILITIES.astype(complex)), "logits", 422, ["real numbers", "complex128"]),
        (npy(np.asfortranarray(PROBABILITIES)), "logits", 422, ["Fortran"]),
        (npy(np.array([[object()] * 3] * 4)), "logits", 415, ["no pickle is ever loaded"]),
        (npy(PROBABILITIES)[:-5], "logits", 422, ["should have 96 bytes", "has 91", "cut off"]),
        (npy(PROBABILITIES) + b"more", "logits", 422, ["should have 96 bytes", "has 100"]),
        (npy_claiming("<f8", (10**15, 3)), "logits", 422, ["cut off"]),
        (npz(logits=PROBABILITIES), "logits", 422, ["['logits.npy']", "array `predictions` of shape (4, 3)"]),
        (npz(predictions=PROBABILITIES)[:-4], "logits", 415, [".npz with an array `predictions`, or as .npy"]),
        (b"\x80\x05pickle", "logits", 415, ["pickles are never loaded"]),
        (b"", "logits", 415, [".npz with an array"]),
    ],
)
def test_what_is_refused(tmp_path: Path, data: bytes, values: str, status: int, says: list[str]) -> None:
    with pytest.raises(PreceptorError) as caught:
        taken(tmp_path, data, values)
    assert caught.value.status == status
    for part in says:
        assert part in caught.value.detail


def test_a_teacher_without_labels(tmp_path: Path) -> None:
    with pytest.raises(PreceptorError, match="no labels"):
        taken(tmp_path, npy(np.zeros((4, 0))), shape=(4, 0))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("data", [npy(LOGITS), npz(predictions=LOGITS)])
def test_a_full_disk(tmp_path: Path, data: bytes) -> None:
    source = tmp_path / "source"
    source.write_bytes(data)
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(PreceptorError, match="no room left") as caught:
        ingest_predictions(source, items=4, classes=3, values="logits", target=tmp_path / "full", settings=Settings())
    assert caught.value.status == 507
