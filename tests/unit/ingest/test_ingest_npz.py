"""`.npz` uploads: what is taken, and how a wrong one is refused."""

import io
import zipfile
from typing import Any

import numpy as np
import pytest
from PIL import Image

from .sample_files import archive, npy, npy_claiming, npz, read_back


def test_raw_pictures_become_png(take: Any) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
    found = take(npz(images=images, labels=np.array([0, 1, 1, 0, 1]), label_names=np.array(["cat", "dog"])), "p.npz")
    assert found.description == {
        "modality": "image",
        "items": 5,
        "labelled": True,
        "labels": ["cat", "dog"],
        "counts": [2, 3],
        "dimension": None,
        "format": "npz",
        "size": found.path.stat().st_size,
    }
    (batch,) = read_back(found.path).batches(8)
    for stored, given in zip(batch.images, images, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(stored))), given)


@pytest.mark.parametrize(("shape", "mode"), [((3, 4, 5), "L"), ((3, 4, 5, 1), "L"), ((3, 4, 5, 4), "RGBA")])
def test_grey_and_transparent_pictures(take: Any, shape: tuple[int, ...], mode: str) -> None:
    found = take(npz(x=np.full(shape, 7, np.uint8)), "p.npz")
    (batch,) = read_back(found.path).batches(8)
    assert [Image.open(io.BytesIO(data)).mode for data in batch.images] == [mode] * 3


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f8", "int8", "uint64", "bool"])
def test_features_of_any_real_type(take: Any, dtype: str) -> None:
    features = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype)
    found = take(npz(features=features), "p.npz")
    (batch,) = read_back(found.path).batches(8)
    assert found.description["dimension"] == 3
    assert batch.features.dtype == np.float32
    np.testing.assert_array_equal(batch.features, features.astype(np.float32))


def test_an_opaque_probe_is_labels_or_a_number(take: Any) -> None:
    labelled = take(npz(labels=np.array(["b", "a", "b"])), "p.npz").description
    assert (labelled["modality"], labelled["items"], labelled["counts"]) == ("opaque", 3, [1, 2])
    counted = take(npz(items=np.array(12)), "p.npz").description
    assert (counted["modality"], counted["items"], counted["labelled"]) == ("opaque", 12, False)


def test_many_chunks_keep_their_order(take: Any) -> None:
    features = np.arange(3000 * 1000, dtype=np.float32).reshape(3000, 1000)
    data = archive({"features.npy": npy(features), "y.npy": npy(np.arange(3000) % 7)}, zipfile.ZIP_STORED)
    found = take(data, "p.npz")
    seen = np.concatenate([batch.features for batch in read_back(found.path).batches(999)])
    np.testing.assert_array_equal(seen, features)


TWO = np.zeros((2, 3), np.float32)
HOLE = np.array([[1.0, 2.0], [3.0, np.nan]])


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"features": HOLE}, ["features[1, 1]", "nan", "Drop or replace"]),
        ({"features": np.array([[np.inf, 1.0]])}, ["features[0, 0]", "inf"]),
        ({"features": np.array([[1e300, 1.0]])}, ["features[0, 0]", "1e+300", "float32"]),
        ({"features": np.zeros((2, 3, 4))}, ["(items, dimension)", "(2, 3, 4)"]),
        ({"features": np.zeros((2, 0))}, ["(items, dimension)", "(2, 0)"]),
        ({"features": np.zeros((2, 3), complex)}, ["real numbers", "complex128"]),
        ({"features": np.asfortranarray(np.zeros((4, 3)))}, ["Fortran", "ascontiguousarray"]),
        ({"images": np.zeros((2, 8, 8, 3), np.float32)}, ["uint8", "float32", "(255 * images)"]),
        ({"images": np.zeros((2, 3, 8, 8), np.uint8)}, ["(2, 3, 8, 8)", "channels come last"]),
        ({"images": np.zeros((2, 8), np.uint8)}, ["(2, 8)", "features"]),
        ({"images": np.zeros((2, 0, 8), np.uint8)}, ["(2, 0, 8)"]),
        ({"texts": np.array([["a"], ["b"]])}, ["texts", "(items,)"]),
        ({"texts": np.array([b"a", b"b"])}, ["texts must be strings", "|S1"]),
        ({"features": TWO, "labels": np.array([0.0, 1.0])}, ["labels must be whole numbers or strings", "float64"]),
        ({"features": TWO, "labels": np.array([0, 1, 1])}, ["(2,)", "(3,)"]),
        ({"features": TWO, "labels": np.array([[0], [1]])}, ["(2,)", "(2, 1)"]),
        ({"features": TWO, "label": np.array([0, 1])}, ["Not known: ['label']", "labels"]),
        ({"features": TWO, "images": TWO}, ["give one of"]),
        ({"features": TWO, "labels": np.array([0, 1]), "y": np.array([0, 1])}, ["labels", "y", "give one"]),
        ({"features": TWO, "items": np.array(3)}, ["disagrees", "'items': 3"]),
        ({"items": np.array(-3)}, ["-3"]),
        ({"items": np.array(["a", "b"])}, ["one whole number", "<U1 (2,)"]),
        ({"label_names": np.array(["a", "b"])}, ["Wanted is one of images, features, texts"]),
        ({"features": TWO, "label_names": np.array([1, 2])}, ["label_names must be strings"]),
        ({"features": TWO[:0]}, ["no items"]),
        ({}, ["Wanted is one of"]),
    ],
)
def test_wrong_arrays(refused: Any, arrays: dict[str, Any], says: list[str]) -> None:
    error = refused(npz(**arrays), "p.npz")
    assert error.status == 422
    for part in says:
        assert part in error.detail


def test_objects_are_never_unpickled(refused: Any) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("a pickle was loaded",))

    bomb = np.empty(2, dtype=object)
    bomb[:] = [Bomb(), Bomb()]
    error = refused(archive({"texts.npy": npy(bomb)}), "p.npz")
    assert error.status == 415
    assert "no pickle is ever loaded" in error.detail
    assert "dtype=str" in error.detail


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (npy_claiming("<f4", (10**12, 4)), ["cut off or damaged"]),
        (npy_claiming("<f4", (2, 3), b"\0" * 20), ["should have 24 bytes", "has 20"]),
        (npy_claiming("<f4", (2, 3), b"\0" * 28), ["should have 24 bytes", "has 28"]),
        (npy_claiming("|u1", (3, -1, -1), b"abc"), ["shape is (3, -1, -1)"]),
        (b"\x93NUMPY\x01\x00\xff", ["not a readable numpy array"]),
        (b"no array", ["not a readable numpy array"]),
        (b"\x93NUMPY\x01\x00\x05\x00(((((", ["not a readable numpy array"]),
        (b"", ["not a readable numpy array"]),
    ],
)
def test_headers_that_lie(refused: Any, data: bytes, says: list[str]) -> None:
    error = refused(archive({"features.npy": data}), "p.npz")
    assert error.status == 422
    for part in ["features", *says]:
        assert part in error.detail


def test_a_header_with_an_expression_is_named_as_such(refused: Any) -> None:
    header = b"{'descr': f(1), 'fortran_order': False, 'shape': (1,)}\n"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    detail = refused(archive({"features.npy": data}), "p.npz").detail
    assert "'features' is not a readable numpy array" in detail
    assert "object at 0x" not in detail


def test_text_that_is_no_unicode(refused: Any) -> None:
    beyond = npy_claiming("<U1", (1,), (0x110000).to_bytes(4, "little"))
    assert "damaged" in refused(archive({"texts.npy": beyond}), "p.npz").detail
    assert "damaged" in refused(archive({"items.npy": npy(np.array(1)), "label_names.npy": beyond}), "p.npz").detail
    surrogate = npy_claiming("<U1", (1,), (0xD800).to_bytes(4, "little"))
    assert "surrogate" in refused(archive({"texts.npy": surrogate}), "p.npz").detail


@pytest.mark.parametrize("cut", [10, 100, 200, -30, -1])
def test_a_file_that_is_cut_off(refused: Any, cut: int) -> None:
    whole = npz(features=np.random.default_rng(0).random((50, 10)), labels=np.arange(50) % 3)
    error = refused(whole[:cut], "p.npz")
    assert error.status == 422
    assert "npz archive" in error.detail


def test_a_flipped_bit_is_found(refused: Any) -> None:
    whole = archive({"features.npy": npy(np.ones((50, 10)))}, zipfile.ZIP_STORED)
    broken = bytearray(whole)
    broken[1000] ^= 1
    error = refused(bytes(broken), "p.npz")
    assert "'features.npy' in the archive is damaged" in error.detail


@pytest.mark.parametrize(
    ("arrays", "limits", "says"),
    [
        ({"features": np.zeros((6, 2))}, {"max_probe_items": 5}, ["6 items", "at most 5"]),
        ({"items": np.array(10**9)}, {}, ["1,000,000,000 items"]),
        ({"features": np.zeros((1, 9))}, {"max_feature_dimension": 8}, ["dimension 9", "at most 8"]),
        ({"images": np.zeros((1, 30, 40), np.uint8)}, {"max_image_pixels": 1000}, ["40 x 30 pixels", "1,000"]),
        ({"images": np.zeros((1, 30, 40), np.uint8)}, {"max_item_bytes": 1000}, ["1,200 bytes", "1,000"]),
        ({"texts": np.array(["abc", "abcdef"])}, {"max_text_length": 5}, ["row 1", "6 characters", "at most 5"]),
        ({"features": np.zeros((100, 100))}, {"max_probe_expanded_bytes": 50_000}, ["expands to", "50,000"]),
        ({"items": np.array(3), "label_names": np.array(["x"] * 20_001)}, {}, ["20,001 entries", "20,000"]),
        ({"labels": np.array(["a", "b"], "<U20000")}, {}, ["strings of 20,000 characters", "at most 200", "tolist()"]),
    ],
)
def test_limits(refused: Any, arrays: dict[str, Any], limits: dict[str, int], says: list[str]) -> None:
    error = refused(npz(**arrays), "p.npz", **limits)
    assert error.status == 413
    for part in says:
        assert part in error.detail
