"""Which columns labels are read from, and what the answer to an upload says of the others."""

import io
import json
from typing import Any

import numpy as np
import pytest

from .sample_files import npz, pa, parquet, pq


def declared(columns: dict[str, Any], names: dict[str, list[str]]) -> bytes:
    """A Parquet file in which `datasets` declares columns of class labels."""
    features = {column: {"names": labels, "_type": "ClassLabel"} for column, labels in names.items()}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns, metadata=metadata), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "filename", "column", "labels"),
    [
        (b'{"text": "a", "Label": "x"}\n{"text": "b", "Label": "y"}\n', "p.jsonl", "Label", ["x", "y"]),
        (b'{"Text": "a", "TARGET": "x"}\n{"Text": "b", "TARGET": "y"}\n', "p.jsonl", "TARGET", ["x", "y"]),
        (b"text,category\na,x\nb,y\n", "p.csv", "category", ["x", "y"]),
        (b"text,Class Name\na,x\nb,y\n", "p.csv", "Class Name", ["x", "y"]),
        (b'text, "label"\nhello there, "x, z"\nb, "y"\n', "p.csv", "label", ["x, z", "y"]),
        (parquet({"text": ["a", "b"], "target": ["x", "y"]}), "p.parquet", "target", ["x", "y"]),
        (parquet({"Text": ["a", "b"], "Label": ["x", "y"]}), "p.parquet", "Label", ["x", "y"]),
        (
            declared({"text": ["a", "b"], "coarse_label": [0, 1]}, {"coarse_label": ["fruit", "insects"]}),
            "p.parquet",
            "coarse_label",
            ["fruit", "insects"],
        ),
        (  # no usual name, but declared
            declared({"text": ["a", "b"], "target": [0.5, 1.5], "mood": [1, 0]}, {"mood": ["sad", "glad"]}),
            "p.parquet",
            "mood",
            ["sad", "glad"],
        ),
    ],
)
def test_columns_of_labels(take: Any, data: bytes, filename: str, column: str, labels: list[str]) -> None:
    found = take(data, filename)
    assert (found.description["labelled"], found.description["labels"]) == (True, labels)
    assert found.notes["columns"]["label"] == column


@pytest.mark.parametrize(
    ("data", "filename"),
    [
        (b'{"text": "a", "gold": "x"}\n{"text": "b", "gold": "y"}\n', "p.jsonl"),
        (b"text,gold\na,x\nb,y\n", "p.csv"),
        (parquet({"text": ["a", "b"], "gold": ["x", "y"]}), "p.parquet"),
        (parquet({"features": [[1.0], [2.0]], "gold": ["x", "y"]}), "p.parquet"),
    ],
)
def test_what_was_passed_over_is_said(take: Any, data: bytes, filename: str) -> None:
    found = take(data, filename)
    assert not found.description["labelled"]
    assert (found.notes["columns"]["label"], found.notes["columns"]["passed_over"]) == (None, ["gold"])
    (warning,) = found.notes["warnings"]
    assert "'gold'" in warning
    assert "unlabelled" in warning
    assert "`label`" in warning


def test_a_second_column_of_labels_is_said(take: Any) -> None:
    columns = {"text": ["a", "b"], "coarse_label": [0, 0], "fine_label": [1, 0]}
    found = take(declared(columns, {"fine_label": ["pear", "apple"], "coarse_label": ["fruit", "fish"]}), "p.parquet")
    assert found.description["labels"] == ["pear", "apple"]
    (warning,) = found.notes["warnings"]
    assert "'fine_label'; 'coarse_label' may hold labels too" in warning


def test_nothing_is_said_where_nothing_is_wrong(take: Any) -> None:
    assert take(b"text\na\nb\n", "p.csv").notes["warnings"] == []
    assert take(b"id,text,label\n1,a,cat\n2,b,dog\n", "p.csv").notes == {
        "columns": {"content": "text", "label": "label", "passed_over": ["id"]},
        "encoding": "UTF-8",
        "warnings": [],
    }
    assert take(npz(features=np.eye(2), labels=["cat", "dog"]), "p.npz").notes == {
        "columns": None,
        "encoding": None,
        "warnings": [],
    }


@pytest.mark.parametrize(
    ("data", "filename", "says"),
    [
        (b'{"text": "a", "label": "x"}\n{"text": "b", "category": "y"}\n', "p.jsonl", ["'category'", "'label'", "one"]),
        (b"text,label,label\na,x,y\n", "p.csv", ["'label' twice"]),
        (b'text,label\na, "x"\nb, "y"\n', "p.csv", ["line 2", "in quotes"]),
    ],
)
def test_labels_that_cannot_be_relied_on(refused: Any, data: bytes, filename: str, says: list[str]) -> None:
    error = refused(data, filename)
    assert error.status == 422
    for part in says:
        assert part in error.detail


@pytest.mark.parametrize("written", ["0.0", "0.", "+0", "0"])
def test_numbers_as_pandas_writes_them(take: Any, written: str) -> None:
    data = f"text,label\na,{written}\nb,1.0\nc,{written}\n".encode()
    assert take(data, "p.csv").description["labels"] is None
    named = take(data, "p.csv", ["negative", "positive"]).description
    assert (named["labels"], named["counts"]) == (["negative", "positive"], [2, 1])


def test_whole_floats_are_numbers_in_typed_formats(take: Any) -> None:
    lines = b'{"text": "a", "label": 1.0}\n{"text": "b", "label": 0.0}\n'
    assert take(lines, "p.jsonl").description["counts"] == [1, 1]
    assert take(parquet({"text": ["a", "b"], "label": [1.0, 0.0]}), "p.parquet").description["counts"] == [1, 1]
    nothing = take(parquet({"text": ["a", "b"], "label": [float("nan")] * 2}), "p.parquet").description
    assert nothing["labelled"] is False


@pytest.mark.parametrize("word", ["nan", "NaN", "NULL", "None", "N/A", "NA", "<NA>", "#N/A", "\\N"])
def test_words_for_a_missing_value_are_no_class(take: Any, refused: Any, word: str) -> None:
    data = f"text,label\na,cat\nb,{word}\nc,dog\n".encode()
    detail = refused(data, "p.csv").detail
    assert "some have none (line 3)" in detail
    assert "means a missing value" in detail
    assert take(data, "p.csv", ["cat", "dog", word]).description["counts"] == [1, 1, 1]
    lines = [json.dumps({"text": "a", "label": label}) for label in ("cat", word)]
    assert "means a missing value" in refused("\n".join(lines).encode(), "p.jsonl").detail
    every = take(f"text,label\na,{word}\nb,{word}\n".encode(), "p.csv")
    assert every.description["labelled"] is False
    assert "missing value" in every.notes["warnings"][0]


def test_a_number_with_a_fraction_is_no_class(refused: Any, take: Any) -> None:
    data = b"text,label\na,0.5\nb,1.0\n"
    assert "line 2 has the label '0.5'" in refused(data, "p.csv").detail
    assert take(data, "p.csv", ["0.5", "1.0"]).description["labels"] == ["0.5", "1.0"]
    assert "fraction" in refused(b"text,label\na,1e-3\nb,2\n", "p.csv").detail


@pytest.mark.parametrize("labels", [[-1, 1], ["-1", "+1"], [1.0, -1.0]])
def test_minus_one_and_one(refused: Any, labels: list[Any]) -> None:
    text = f"text,label\na,{labels[0]}\nb,{labels[1]}\n".encode()
    assert "-1 means that an item has no label. Number the classes 0 and 1" in refused(text, "p.csv").detail
    assert "number the classes from 0" in refused(text + b"c,0\n", "p.csv").detail


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (["LABEL_0", "LABEL_1"], "name nothing"),
        (["class 1", "class 2"], "name nothing"),
        (["Cat", "cat"], "differ only in case"),
        ([1, 2], "class 0 has no item"),
    ],
)
def test_doubtful_classes(take: Any, labels: list[Any], says: str) -> None:
    lines = [json.dumps({"text": str(number), "label": label}) for number, label in enumerate(labels)]
    (warning,) = take("\n".join(lines).encode(), "p.jsonl").notes["warnings"]
    assert says in warning


def test_a_column_of_ids_is_no_column_of_labels(take: Any) -> None:
    rows = "".join(f"text {number},person {number}x\n" for number in range(30))
    (warning,) = take(f"text,target\n{rows}".encode(), "p.csv").notes["warnings"]
    assert "30 items have 30 different labels in column 'target'" in warning


@pytest.mark.parametrize("name", ["\u200b", "\u202e\u2066", "\u2800", "\u3164", "\u00a0\u200d", "\ufeff"])
def test_names_without_a_visible_character(refused: Any, name: str) -> None:
    data = json.dumps({"text": "a", "label": name}) + "\n" + json.dumps({"text": "b", "label": "cat"})
    assert "cannot be used" in refused(data.encode(), "p.jsonl").detail


def test_items_that_are_there_twice_are_said(take: Any) -> None:
    found = take(b"text,label\nsame,cat\nother,dog\nsame,cat\nsame,dog\n", "p.csv")
    assert "2 of 4 items are equal to an earlier item" in found.notes["warnings"][0]
    assert take(npz(labels=["cat", "dog", "cat"]), "p.npz").notes["warnings"] == []
