"""Parquet after the Hugging Face convention, and Parquet that means harm."""

import os
import pickle
from typing import Any

import numpy as np
import pytest

from .sample_files import pa, parquet, picture, pq, read_back

PICTURES = [picture(shade) for shade in range(5)]
TWO = {"text": ["a", "b"], "label": [0, 1]}


@pytest.mark.parametrize("column", ["image", "img"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_pictures(take: Any, column: str, wrapped: bool) -> None:
    cells = [{"bytes": data, "path": "x.png"} for data in PICTURES] if wrapped else PICTURES
    found = take(
        parquet({"id": range(5), column: cells, "label": [0, 1, 0, 1, 1]}, class_names=["a", "b"]), "p.parquet"
    )
    assert found.description["counts"] == [2, 3]
    (batch,) = read_back(found.path).batches(8)
    assert batch.images == PICTURES


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()])
def test_pictures_of_any_binary_type(take: Any, kind: Any) -> None:
    found = take(parquet({"image": pa.array(PICTURES, pa.binary()).cast(kind)}), "p.parquet")
    (batch,) = read_back(found.path).batches(8)
    assert batch.images == PICTURES


def test_many_row_groups_pages_and_shared_values(take: Any) -> None:
    cells = [{"bytes": PICTURES[number % 5], "path": None} for number in range(700)]
    columns = {"image": cells, "label": [number % 3 for number in range(700)]}
    found = take(parquet(columns, row_group_size=90, data_page_size=512, compression="gzip"), "p.parquet")
    images = [data for batch in read_back(found.path).batches(64) for data in batch.images]
    assert images == [cell["bytes"] for cell in cells]
    assert read_back(found.path).labels.tolist() == columns["label"]


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_texts_and_labels_of_any_string_type(take: Any, kind: Any, version: str) -> None:
    columns = {"sentence": pa.array(["hi", "bye", "hi"]).cast(kind), "intent": pa.array(["x", "y", "x"]).cast(kind)}
    found = take(parquet(columns, data_page_version=version), "p.parquet")
    (batch,) = read_back(found.path).batches(8)
    assert (batch.texts, batch.labels.tolist(), found.description["labels"]) == (
        ["hi", "bye", "hi"],
        [0, 1, 0],
        ["x", "y"],
    )


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.float32()), pa.list_(pa.float64(), 3), pa.large_list(pa.int16()), pa.list_(pa.float16())],
)
def test_vectors_of_any_list_type(take: Any, kind: Any) -> None:
    values = [[1, 2, 3], [4, 5, 6]]
    cells = pa.array([[np.float16(value) for value in row] for row in values] if "half" in str(kind) else values, kind)
    found = take(parquet({"embedding": cells}), "p.parquet")
    (batch,) = read_back(found.path).batches(8)
    np.testing.assert_array_equal(batch.features, np.asarray(values, np.float32))


PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
NESTED = pa.array([[[1.0]], [[2.0]]])


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"picture": PICTURES[:2]}, ["the columns ['picture']", "image, img, text"]),
        ({"image": ["a", "b"]}, ["'image' must be binary", "string"]),
        ({"image": [{"path": "a.png"}]}, ["'image' must be binary", "struct"]),
        ({"image": pa.array([{"bytes": None, "path": "a.png"}], PICTURE)}, ["row 0", "no bytes (only a path?)"]),
        ({"image": pa.array([{"bytes": PICTURES[0]}, None])}, ["row 1", "no bytes"]),
        ({"image": [b"junk"]}, ["row 0", "not a readable picture"]),
        ({"text": [1, 2]}, ["'text' must be string", "int64"]),
        ({"text": [{"deep": [{"er": "junk"}]}]}, ["'text' must be string", "struct"]),
        ({"text": ["a", None]}, ["row 1: text is missing"]),
        ({"features": NESTED}, ["'features' must be a list of numbers", "list"]),
        ({"features": [1.0, 2.0]}, ["'features' must be a list of numbers", "double"]),
        ({"features": [[1.0, 2.0], [1.0]]}, ["row 1", "1 values and the first has 2"]),
        ({"features": [[1.0, 2.0], [1.0, None]]}, ["row 1", "1 missing values"]),
        ({"features": [[1.0, 2.0], [1.0, float("nan")]]}, ["row 1: features[1] is nan", "finite"]),
        ({"features": [[1.0, 2.0], None]}, ["row 1: features is missing"]),
        ({"features": pa.array([[], []], pa.list_(pa.float32()))}, ["features: the first vector is empty"]),
        ({"features": pa.array([], pa.list_(pa.float32()))}, ["no items"]),
        ({"text": pa.array([], pa.string())}, ["no items"]),
        ({"text": ["a"], "label": [[0, 1]]}, ["'label' must hold one class name or class number", "list"]),
        ({"text": ["a"], "label": [0.5]}, ["'label' must hold one class", "double"]),
        ({"text": ["a", "b"], "label": [0, None]}, ["some have none (row 1)"]),
    ],
)
def test_wrong_columns(refused: Any, columns: dict[str, Any], says: list[str]) -> None:
    error = refused(parquet(columns), "p.parquet")
    assert error.status == 422
    for part in says:
        assert part in error.detail


def test_a_column_that_stands_twice(refused: Any, tmp_path: Any) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(table, tmp_path / "twice.parquet")
    assert "'text' twice" in refused((tmp_path / "twice.parquet").read_bytes(), "p.parquet").detail


def test_empty_row_groups_are_passed_over(take: Any, tmp_path: Any) -> None:
    table = pa.table(TWO)
    with pq.ParquetWriter(tmp_path / "x.parquet", table.schema) as writer:
        for part in (table.slice(0, 0), table, table.slice(0, 0), table):
            writer.write_table(part)
    assert take((tmp_path / "x.parquet").read_bytes(), "p.parquet").description["items"] == 4


@pytest.mark.parametrize("metadata", [b"{", b"[]", b'{"info": 3}', b'{"info": {"features": {"label": {}}}}'])
def test_metadata_of_others_are_passed_over(take: Any, metadata: bytes, tmp_path: Any) -> None:
    pq.write_table(pa.table(TWO).replace_schema_metadata({b"huggingface": metadata}), tmp_path / "x")
    assert take((tmp_path / "x").read_bytes(), "p.parquet").description["labels"] is None


def test_names_in_the_metadata_must_be_texts(refused: Any) -> None:
    names: Any = [1, 2]
    assert "not a list of strings" in refused(parquet(TWO, class_names=names), "p.parquet").detail


@pytest.mark.parametrize("cut", [4, 100, -20, -1])
def test_a_file_that_is_cut_off(refused: Any, cut: int) -> None:
    error = refused(parquet({"image": PICTURES})[:cut], "p.parquet")
    assert error.status == 422
    assert "not readable Parquet" in error.detail
    assert "complete" in error.detail


def test_damaged_pages(refused: Any) -> None:
    whole = bytearray(parquet({"text": ["some text", "more text"] * 50}, compression="zstd"))
    whole[4:12] = b"\xff" * 8
    assert "damaged" in refused(bytes(whole), "p.parquet").detail


def test_one_value_shared_by_many_rows_is_not_copied_for_all(refused: Any) -> None:
    shared = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array([bytes(40 * 2**20)]))
    data = parquet({"image": shared}, compression="zstd", dictionary_pagesize_limit=2**30, store_schema=False)
    assert len(data) < 10_000
    pool = pa.default_memory_pool()
    error = refused(data, "p.parquet")
    assert error.status == 413
    assert "row 0: 41,943,040 bytes" in error.detail
    assert pool.max_memory() < 2**29  # copied for all rows it would be 40 GiB


def test_texts_shared_by_many_rows_count_each_time(refused: Any) -> None:
    shared = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array(["x" * 5000]))
    data = parquet({"text": shared}, compression="zstd", store_schema=False)
    error = refused(data, "p.parquet", max_probe_expanded_bytes=1_000_000)
    assert error.status == 413
    assert "expand to more than 1,000,000 bytes (row 200)" in error.detail


@pytest.mark.parametrize(
    ("columns", "limits", "says"),
    [
        ({"text": ["a"] * 9}, {"max_probe_items": 8}, ["9 rows", "at most 8"]),
        ({"text": ["x" * 9000] * 2}, {"max_probe_expanded_bytes": 5000}, ["expands to more than 5,000 bytes"]),
        ({"features": [[0.0] * 9]}, {"max_feature_dimension": 8}, ["9 values", "at most 8"]),
        ({"features": [[0.0] * 500] * 20}, {"max_probe_expanded_bytes": 50_000}, ["expands to more than 50,000"]),
        ({"text": ["abcdef"]}, {"max_text_length": 5}, ["row 0", "6 characters"]),
        ({"image": PICTURES}, {"max_item_bytes": 50}, ["row 0", "at most 50"]),
    ],
)
def test_limits(refused: Any, columns: dict[str, Any], limits: dict[str, int], says: list[str]) -> None:
    error = refused(parquet(columns), "p.parquet", **limits)
    assert error.status == 413
    for part in says:
        assert part in error.detail


def test_pages_over_the_cap(refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.ingest.readers.parquet.pages._MAX_PAGE_BYTES", 10_000)
    error = refused(parquet({"text": ["x" * 20_000, "y"]}), "p.parquet")
    assert error.status == 413
    assert "a page of 20,009 bytes in column 'text'" in error.detail
    assert "row_group_size=100" in error.detail


def test_an_extension_type_brings_no_pickle(take: Any, tmp_path: Any) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "pickle-was-loaded"),))

    hostile = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickle.dumps(Bomb())}
    schema = pa.schema([pa.field("text", pa.string(), metadata=hostile)])
    pq.write_table(pa.table([["a", "b"]], schema=schema), tmp_path / "hostile.parquet")
    assert take((tmp_path / "hostile.parquet").read_bytes(), "p.parquet").description["items"] == 2
    assert not (tmp_path / "pickle-was-loaded").exists()
