"""Class names, class numbers and their order, whatever the format."""

from typing import Any

import numpy as np
import pytest

from .sample_files import jsonl, npz, parquet, read_back

THREE = np.eye(3, dtype=np.float32)


def numbers(found: Any) -> list[int]:
    return read_back(found.path).labels.tolist()


def test_names_are_sorted_unless_an_order_is_given(take: Any) -> None:
    data = jsonl(["1", "2", "3"], ["dog", "cat", "dog"])
    assert (numbers(take(data, "p.jsonl"))) == [1, 0, 1]
    given = take(data, "p.jsonl", ["dog", "emu", "cat"])
    assert (given.description["labels"], numbers(given)) == (["dog", "emu", "cat"], [0, 2, 0])
    assert given.description["counts"] == [2, 0, 1]


def test_numbers_index_the_given_names(take: Any) -> None:
    found = take(npz(features=THREE, y=np.array([0, 2, 0])), "p.npz", ["dog", "emu", "cat"])
    assert (found.description["labels"], numbers(found)) == (["dog", "emu", "cat"], [0, 2, 0])


def test_numbers_index_the_names_in_the_file_first(take: Any) -> None:
    columns = {"text": ["a", "b", "c"], "label": [0, 1, 1]}
    own = take(parquet(columns, class_names=["cat", "dog"]), "p.parquet")
    assert (own.description["labels"], numbers(own)) == (["cat", "dog"], [0, 1, 1])
    turned = take(parquet(columns, class_names=["cat", "dog"]), "p.parquet", ["dog", "cat"])
    assert (turned.description["labels"], numbers(turned)) == (["dog", "cat"], [1, 0, 0])


def test_equal_names_in_other_writing_are_one_class(take: Any) -> None:
    found = take(
        jsonl(["1", "2", "3"], ["cafe\N{COMBINING ACUTE ACCENT}", " caf\N{LATIN SMALL LETTER E WITH ACUTE} ", "bar"]),
        "p.jsonl",
    )
    assert (found.description["labels"], numbers(found)) == (
        ["bar", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"],
        [1, 1, 0],
    )


def test_minus_one_everywhere_means_unlabelled(take: Any) -> None:
    found = take(parquet({"text": ["a", "b"], "label": [-1, -1]}, class_names=["cat", "dog"]), "p.parquet")
    assert (found.description["labelled"], found.description["labels"]) == (False, ["cat", "dog"])
    assert read_back(found.path).labels is None


def test_numbers_without_names(take: Any) -> None:
    found = take(npz(features=THREE, y=np.array([0, 4, 4])), "p.npz")
    assert (found.description["labels"], found.description["counts"]) == (None, [1, 0, 0, 0, 2])


def test_one_class_is_enough_where_others_are_named(take: Any) -> None:
    assert take(jsonl(["1"], ["cat"]), "p.jsonl", ["cat", "dog"]).description["counts"] == [1, 0]


@pytest.mark.parametrize(
    ("labels", "given", "says"),
    [
        (["cat", "cat"], None, ["all items have the class 'cat'", "nothing to tell apart", "?labels="]),
        ([3, 3], None, ["all items have the class number 3", "nothing to tell apart"]),
        (["cat", "emu"], ["cat", "dog"], ["line 2 has the label 'emu'", "not among the 2 class names ['cat', 'dog']"]),
        ([0, 2], ["cat", "dog"], ["line 2 has the class number 2", "2 class names", "0 to 1"]),
        ([0, -2], None, ["line 2 has the class number -2", "start at 0"]),
        ([0, -1], None, ["line 1", "some have none (line 2)", "two probes"]),
        (["cat", 1], None, ["all names or all numbers", "line 1 has 'cat'", "line 2 has 1"]),
        (["cat", None], None, ["line 1", "some have none (line 2)"]),
        (["cat", ""], None, ["line 2", "label ''", "is empty"]),
        (["cat", "a\tb"], None, ["line 2", "control characters"]),
        (["cat", "d" * 201], None, ["line 2", "201 characters", "at most 200"]),
        ([0, 20_000], None, ["line 2 has the class number 20000", "at most 20,000 classes"]),
        ([0, 1], ["cat", "cat"], ["labels: class names must be distinct", "'cat' stands at positions 0 and 1"]),
        ([0, 1], ["cat"], ["labels: at least 2 class names", "not 1"]),
        ([0, 1], ["cat", " "], ["labels, position 1", "empty", "' '"]),
    ],
)
def test_wrong_labels(refused: Any, labels: Any, given: list[str] | None, says: list[str]) -> None:
    error = refused(jsonl(["a", "b"], labels), "p.jsonl", given)
    assert error.status == 422
    for part in says:
        assert part in error.detail


def test_too_many_labels(refused: Any) -> None:
    texts = [str(number) for number in range(20_003)]
    error = refused(jsonl(texts, [f"class {text}" for text in texts]), "p.jsonl")
    assert error.status == 413
    assert "more than 20,000 different values" in error.detail
    error = refused(jsonl(["a"], [0]), "p.jsonl", [str(number) for number in range(100_000)])
    assert error.status == 413
    assert "labels: 100,000 class names; at most 20,000" in error.detail


def test_wrong_names_in_the_file(refused: Any) -> None:
    columns = {"text": ["a", "b"], "label": [0, 1]}
    assert "'cat' stands at" in refused(parquet(columns, class_names=["cat", "cat"]), "p.parquet").detail
    assert "file's class names" in refused(parquet(columns, class_names=["cat"]), "p.parquet").detail
    assert "0 to 1" in refused(parquet(columns | {"label": [0, 2]}, class_names=["a", "b"]), "p.parquet").detail
    wanted = refused(parquet(columns, class_names=["cat", "dog"]), "p.parquet", ["cat", "emu"])
    assert "row 1 has the label 'dog', which is not among" in wanted.detail
