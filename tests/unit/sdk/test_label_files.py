"""Files of class names: every form that is understood, and clear words for those that are not."""

import json
import re
from pathlib import Path

import pytest

from preceptor import InvalidRequestError, LabelFile, LabelFileError
from preceptor.core.files.class_names import fault, require_names

NAMES = ["cat", "dog", "big, bad wolf"]


def file(folder: Path, content: str, name: str = "names.txt") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "content", "format"),
    [
        ("names.txt", "cat\r\n dog \n\nbig, bad wolf", "one name a line"),
        ("names", '\n["cat", "dog", "big, bad wolf"]', "a JSON array"),
        ("id2label.json", '{"1": "dog", "0": "cat", "2": "big, bad wolf"}', "a JSON object of numbers and names"),
        ("label2id.json", '{"big, bad wolf": 2, "cat": 0, "dog": 1}', "a JSON object of numbers and names"),
        (
            "config.json",
            json.dumps({"architectures": ["X"], "id2label": dict(enumerate(NAMES)), "label2id": {"x": 7}}),
            "a JSON object of numbers and names, id2label",
        ),
        ("teacher.json", json.dumps({"name": "x", "labels": NAMES}), "a JSON array, labels"),
        ("names.csv", 'Label\ncat\ndog\n"big, bad wolf"\n', "one CSV column below 'Label'"),
        ("names.csv", 'cat\ndog\n"big, bad wolf"\n', "one CSV column"),
        ("names.csv", "id;name\n2;big, bad wolf\n0;cat\n1;dog\n", "CSV, numbers and names"),
        ("names.csv", 'cat,0\n"big, bad wolf",2\ndog,1\n', "CSV, numbers and names"),
        ("names.tsv", "0\tcat\n1\tdog\n2\tbig, bad wolf\n", "CSV, numbers and names"),
    ],
)
def test_the_forms_that_are_understood(tmp_path: Path, name: str, content: str, format: str) -> None:
    found = LabelFile.read(file(tmp_path, content, name))
    assert (found.labels, found.format, found.notes) == (NAMES, format, ())


def test_the_encoding_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "id2label.json"
    path.write_bytes('{"0": "Käse", "1": "鳥"}'.encode("utf-16"))
    found = LabelFile.read(path)
    assert (found.labels, found.encoding) == (["Käse", "鳥"], "UTF-16 with a byte order mark")
    assert found.notes == (f"{path} was read as UTF-16 with a byte order mark",)


def test_placeholders_are_remarked(tmp_path: Path) -> None:
    [note] = LabelFile.read(file(tmp_path, "LABEL_0\nLABEL_1\n")).notes
    assert "placeholders" in note


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '["cat", 7]', "entry 1 is 7"),
        ("a.json", '["cat"', "begins like JSON but is not"),
        ("a.json", "{}", "the JSON object is empty"),
        ("a.json", '{"0": "cat", "2": "dog"}', "the numbers 0 to 1, each once, found 2"),
        ("a.json", '{"cat": 1, "dog": 1}', "the numbers 0 to 1"),
        ("a.json", '{"0": "cat", "0": "dog"}', "the key '0' occurs twice"),
        ("a.json", '{"model": "x", "size": 3}', "must hold an array of names, or an object such as"),
        ("a.json", "[" * 100_000, "begins like JSON but is not"),
        ("a.yaml", "names:\n  0: cat\n", "is a YAML file"),
        ("a.csv", "text,label,split\nx,cat,train\n", "found rows of 3 cells"),
        ("a.csv", "name,x\ncat,dog\n", "expected one column of names"),
        ("a.csv", '"cat\ndog\n', "is not CSV"),
        ("a.txt", "cat\n\u200b\ndog\n", r"class name 1: .*U\+200B"),
    ],
)
def test_what_is_no_list_of_names_is_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(LabelFileError, match=message):
        LabelFile.read(file(tmp_path, content, name))


@pytest.mark.parametrize(
    "name", ["", " ", "\u00a0\u3000", "\u200b\u200d", "\u202e\u202c", "\u3164", "\u2800", "a" * 999]
)
def test_what_cannot_be_a_name(name: str) -> None:
    why = fault(name)
    assert why
    with pytest.raises(InvalidRequestError, match=f"class name 1: {re.escape(why)}") as caught:
        require_names(["cat", name], "?labels")
    assert caught.value.problem.errors[0].pointer == "?labels/1"


@pytest.mark.parametrize("name", ["a", "-", "鳥", "a\u200b", "👩‍🔬", "é"])
def test_names_that_show_something(name: str) -> None:
    assert fault(name) is None
