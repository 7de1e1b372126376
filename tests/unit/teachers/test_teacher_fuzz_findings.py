"""Files of teachers that the fuzz campaign (tests/fuzz) found: each ended a worker or said too much."""

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from preceptor.contract.teachers import Teacher, TeacherStatus
from worker.teachers.errors import TeacherUnusable, reason_of
from worker.teachers.preprocessing.texts import TextEncoder
from worker.teachers.sources.weights_files import read_shapes, sides
from worker.teachers.validation import validate_teacher

Make = Callable[..., Teacher]


def with_table(path: Path, table: bytes) -> Path:
    """A tokenizer whose normaliser has this table."""
    tokenizer = json.loads(path.read_text())
    tokenizer["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}
    target = path.parent / "changed" / "tokenizer.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(tokenizer))
    return target


@pytest.mark.parametrize("table", [b"", b"\x01", b"\x04\x00\x00\x00\x01", b"\x00\x00\xff\xff"])
def test_a_tokenizer_that_makes_its_library_panic_is_refused(tokenizer_file: Path, table: bytes) -> None:
    with pytest.raises(TeacherUnusable, match="is not a tokenizer"):
        TextEncoder(with_table(tokenizer_file, table), max_length=8)


def test_a_tokenizer_that_panics_on_a_text_is_refused(tmp_path: Path) -> None:
    model = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0]], "byte_fallback": False}
    value = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": None, "decoder": None, "model": model,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "pair": [],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
    }  # fmt: skip
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(value))
    with pytest.raises(TeacherUnusable, match="tokenizer"):
        TextEncoder(path, max_length=8).encode(["a", "aa"])


def test_a_tokenizer_that_asks_for_gigabytes_never_comes_to_its_library(
    text_folder: Path, tokenizer_file: Path, tmp_path: Path, make_teacher: Make
) -> None:
    folder = tmp_path / "teacher"
    shutil.copytree(text_folder, folder)
    table = base64.b64decode("AAAA////")  # a table of 4 GiB, it says
    shutil.copy(with_table(tokenizer_file, table), folder / "tokenizer.json")
    verdict = validate_teacher(make_teacher("text", {"kind": "transformers"}), folder, threads=1, isolate=False)
    assert verdict.status is TeacherStatus.REJECTED
    assert verdict.reason is not None
    assert "table is cut off" in verdict.reason


def test_a_reason_is_never_long() -> None:
    assert len(reason_of(TeacherUnusable("x" * 20_000))) <= 1000


@pytest.mark.parametrize(
    "entry", ['"shape": [Infinity], "data_offsets": [0, 4]', '"shape": [1], "data_offsets": [0, 1e999]']
)
def test_infinite_sides_and_offsets_of_a_tensor_are_refused(tmp_path: Path, entry: str) -> None:
    path = as_weights(tmp_path / "model.safetensors", f'{{"a": {{"dtype": "F32", {entry}}}}}'.encode())
    with pytest.raises(TeacherUnusable, match="describes the tensor 'a' wrongly"):
        read_shapes(path)


def as_weights(path: Path, header: bytes, data: bytes = bytes(4)) -> Path:
    """A safetensors file with this header."""
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    return path


class Tripwire(list[int]):
    """Sides of a tensor that say how many of them were looked at."""

    looked_at = 0

    def __iter__(self) -> Iterator[int]:
        for side in super().__iter__():
            self.looked_at += 1
            yield side


@pytest.mark.parametrize("side", [10**4000, 2**48 + 1, -1, True, 1.0, "1", None])
def test_a_shape_is_refused_at_its_first_wrong_side(side: Any) -> None:
    shape = Tripwire([1, side] + [10**4000] * 10_000)
    with pytest.raises(ValueError, match="no shape"):
        sides(shape)
    assert shape.looked_at == 2


def test_more_sides_than_any_tensor_has_are_refused_early() -> None:
    shape = Tripwire([1] * 100_000)
    with pytest.raises(ValueError, match="no shape"):
        sides(shape)
    assert shape.looked_at == 17
    assert sides([1] * 16) == (1,) * 16
    assert sides([]) == ()


def test_a_shape_of_huge_numbers_is_not_multiplied(tmp_path: Path) -> None:
    shape = "[" + ",".join(["9" * 4000] * 1500) + "]"
    header = f'{{"a": {{"dtype": "F32", "shape": {shape}, "data_offsets": [0, 4]}}}}'.encode()
    with pytest.raises(TeacherUnusable, match="describes the tensor 'a' wrongly"):
        read_shapes(as_weights(tmp_path / "model.safetensors", header))


def test_a_header_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    header = b'{"__metadata__": {"a": "' + b"x" * 2**23 + b'"}}'
    with pytest.raises(TeacherUnusable, match=r"header of model\.safetensors is larger than 8 MiB"):
        read_shapes(as_weights(tmp_path / "model.safetensors", header))
