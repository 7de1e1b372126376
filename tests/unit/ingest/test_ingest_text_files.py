"""CSV and JSON lines."""

import csv
from typing import Any

import pytest

from .sample_files import jsonl, read_back, table_csv

HARD = ["plain", 'a, "quoted" text', "two\r\nlines\nand more", "ありがとう 🎉", "", " spaces "]


@pytest.mark.parametrize(("make", "name"), [(table_csv, "p.csv"), (jsonl, "p.jsonl")])
def test_texts_come_back_as_they_were(take: Any, make: Any, name: str) -> None:
    found = take(make(HARD, ["b", "a", "b", "b", "a", "a"]), name)
    (batch,) = read_back(found.path).batches(8)
    assert batch.texts == HARD
    assert batch.labels.tolist() == [1, 0, 1, 1, 0, 0]
    assert read_back(found.path).label_names == ["a", "b"]
    assert take(make(HARD), name).description["labelled"] is False


@pytest.mark.parametrize(("make", "name"), [(table_csv, "p.csv"), (jsonl, "p.jsonl")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_encodings(take: Any, make: Any, name: str, encoding: str) -> None:
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    data = mark + make(HARD, ["b", "a", "b", "b", "a", "ä"]).decode("utf-8-sig").encode(encoding)
    found = take(data, name)
    (batch,) = read_back(found.path).batches(8)
    assert batch.texts == HARD
    assert read_back(found.path).label_names == ["a", "b", "ä"]
    assert found.notes["encoding"] == ("UTF-16" if "16" in encoding else "UTF-8")


def test_limits_hold_for_other_encodings(refused: Any) -> None:
    lines = jsonl(["a" * 100_000]).decode().encode("utf-16")
    assert "line 1 is longer" in refused(lines, "p.jsonl", max_text_length=100).detail
    rows = table_csv(["a" * 100_000]).decode("utf-8-sig").encode("utf-16")
    assert "is longer than" in refused(rows, "p.csv", max_text_length=100).detail


def test_other_names_of_columns(take: Any) -> None:
    assert take(b"id,Sentence,Intent\n1,hi,greet\n2,bye,leave\n", "p.csv").description["labels"] == ["greet", "leave"]
    line = b'{"sentence": "hi", "intent": "greet", "id": 1}\n{"sentence": "bye", "intent": "leave"}\n\n'
    assert take(line, "p.jsonl").description["labels"] == ["greet", "leave"]


def test_csv_cannot_tell_numbers_from_names(take: Any) -> None:
    numbers = take(table_csv(["a", "b", "c"], [0, 2, 2]), "p.csv").description
    assert (numbers["labels"], numbers["counts"]) == (None, [1, 0, 2])
    assert take(table_csv(["a", "b"], ["007", "7"]), "p.csv").description["labels"] == ["007", "7"]
    assert take(table_csv(["a", "b"], ["1", "one"]), "p.csv").description["labels"] == ["1", "one"]
    assert take(table_csv(["a", "b"], [5, 7]), "p.csv", ["7", "5"]).description["counts"] == [1, 1]
    assert take(table_csv(["a", "b"], [-1, -1]), "p.csv").description["labelled"] is False
    names = take(table_csv(["a", "b"], [0, 1]), "p.csv", ["cat", "dog"]).description
    assert (names["labels"], names["counts"]) == (["cat", "dog"], [1, 1])


def test_the_process_wide_limit_of_csv_is_left_alone(take: Any, refused: Any) -> None:
    before = csv.field_size_limit()
    text = "x" * 200_000  # the module's own limit is 131,072
    assert take(table_csv([text]), "p.csv", max_text_length=200_000).description["items"] == 1
    assert "200,000 characters" in refused(table_csv([text]), "p.csv", max_text_length=190_000).detail
    assert csv.field_size_limit() == before


def test_labels_that_begin_late_are_not_dropped(take: Any, refused: Any) -> None:
    late = b'{"text": "a"}\n{"text": "b", "label": "x"}\n{"text": "c", "label": "y"}\n'
    detail = refused(late, "p.jsonl").detail
    assert "some items have a label (line 2) and some have none (line 1)" in detail
    assert take(late[14:], "p.jsonl").description["labels"] == ["x", "y"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("text,label\nä,b\n".encode("utf-16")[:-1], ["UTF-16", "damaged", "UTF-8"]),
        ("text,label\na,b\n".encode("utf-16-le"), ["UTF-16", "UTF-8"]),
        ("text,label\na,b\n".encode("utf-32"), ["UTF-32", "UTF-8"]),
        ("text,label\na,b\nwäre,c\n".encode("latin-1"), ["line 3 is not UTF-8 (byte 1"]),
        (b"", ["first line must name the columns"]),
        (b"body,label\na,b\n", ["one of them `text`", "['body', 'label']"]),
        (b"text;label\na;b\n", ["separated by commas", "['text;label']"]),
        (b"text,label\nhello, world,b\n", ["line 2 has 3 columns and the header 2", "quote"]),
        (b'text,label\n"a"b,c\n', ["the row at line 2 is not readable CSV"]),
        (b'text,label\na,b\n"open,c\n', ["the row at line 3"]),
        (b"text,label\n", ["no items"]),
        (b"text,label\na,x\nb,\n", ["some have none (line 3)", "line 2", "two probes"]),
    ],
)
def test_wrong_csv(refused: Any, data: bytes, says: list[str]) -> None:
    error = refused(data, "p.csv")
    assert error.status == 422
    for part in says:
        assert part in error.detail


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'{"text": "a"}\n{"text": \n', ["line 2 is not one JSON object"]),
        (b'{"text": "a"} {"text": "b"}\n', ["line 1 is not one JSON object", "Extra data"]),
        (b'[{"text": "a"}]\n', ["line 1 must be an object"]),
        (b'\n\n{"body": "a", "n": 1}\n', ["line 3", '"text"', "['body', 'n']"]),
        (b'{"text": 5}\n', ["line 1", 'string "text"']),
        (b'{"text": "a", "label": ["x"]}\n', ["line 1", "['x']"]),
        (b'{"text": "a", "label": true}\n', ["line 1", "True"]),
        (b'{"text": "a", "label": 1.5}\n', ["line 1", "1.5"]),
        (b'{"text": "a\\ud800"}\n', ["line 1", "character 1", "surrogate"]),
        (b'{"text": "a", "label": "\\ud800"}\n', ["line 1", "label"]),
        (b'{"text": "\xff"}\n', ["line 1 is not UTF-8"]),
        ('{"text": "a"}\n'.encode("utf-16-le"), ["UTF-16 without a byte order mark", "UTF-8"]),
        ('{"text": "a"}\n'.encode("utf-32"), ["UTF-32", "UTF-8"]),
        ('{"text": "wäre"}\n'.encode("latin-1"), ["line 1 is not UTF-8 (byte 11 of the line)", "Windows-1252"]),
        ('{"text": "か"}\n'.encode("euc-jp") + b"\x8d", ["line 1 is not UTF-8"]),
        (b"[" * 100_000, ["line 1 is not one JSON object"]),
        (b'{"text": "a", "label": ' + b"9" * 5000 + b"}", ["line 1"]),
        (b'{"text": "a", "label": 1' + b"0" * 300 + b'}\n{"text": "b", "label": 0}', ["line 1", "1000", "..."]),
        (b'{"text": "a", "label": null}\n{"text": "b", "label": "x"}\n', ["some have none (line 1)", "line 2"]),
        (b"\n \n", ["no items"]),
    ],
)
def test_wrong_json_lines(refused: Any, data: bytes, says: list[str]) -> None:
    error = refused(data, "p.jsonl")
    assert error.status == 422
    assert len(error.detail) < 600
    for part in says:
        assert part in error.detail


@pytest.mark.parametrize(
    ("data", "name", "limits", "says"),
    [
        (jsonl(["abcdef"]), "p.jsonl", {"max_text_length": 5}, ["line 1", "6 characters", "at most 5", "Cut it"]),
        (table_csv(["ok", "abcdef"]), "p.csv", {"max_text_length": 5}, ["line 3", "6 characters", "at most 5"]),
        (b'{"text": "' + b"a" * 10_000, "p.jsonl", {"max_text_length": 5}, ["line 1 is longer"]),
        (b"text\n" + b"a" * 100_000, "p.csv", {"max_text_length": 5}, ["line 2 is longer"]),
        (b'text\n"' + b"a\n" * 400_000, "p.csv", {"max_text_length": 5}, ["row at line 2", "quote not closed"]),
        (b'text\na\n"' + b'x","y\n' * 20_000, "p.csv", {"max_text_length": 5}, ["row at line 3", "quote not closed"]),
        (jsonl(["a"] * 4), "p.jsonl", {"max_probe_items": 3}, ["more than 3 items", "smaller sample"]),
        (jsonl(["abcd"] * 4), "p.jsonl", {"max_probe_expanded_bytes": 10}, ["more than 10 bytes", "line 3"]),
    ],
)
def test_limits(refused: Any, data: bytes, name: str, limits: dict[str, int], says: list[str]) -> None:
    error = refused(data, name, **limits)
    assert error.status == 413
    for part in says:
        assert part in error.detail
