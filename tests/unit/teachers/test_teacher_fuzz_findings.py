"""Files of teachers that the fuzz campaign (tests/fuzz) found: each ended a worker or said too much."""

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from preceptor.contract.teachers import Teacher, TeacherStatus
from worker.teachers.rejection import TeacherUnusable, reason_of
from worker.teachers.texts import TextEncoder
from worker.teachers.validation import validate_teacher
from worker.teachers.weights_files import read_shapes

Make = Callable[..., Teacher]


def with_table(path: Path, table: bytes) -> Path:
    """A tokenizer whose normaliser has this table."""
    tokenizer = json.loads(path.read_text())
    tokenizer["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}
    target = path.parent / "changed" / "tokenizer.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(tokenizer))
    return target


@pytest.mark.parametrize("table", [b"", b"\x01", b"\x04\x00\x00\x00\x01"])
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


def test_a_tokenizer_that_asks_for_gigabytes_ends_no_worker(
    text_folder: Path, tokenizer_file: Path, tmp_path: Path, make_teacher: Make
) -> None:
    folder = tmp_path / "teacher"
    shutil.copytree(text_folder, folder)
    table = base64.b64decode("AAAA////")  # a table of 4 GiB, it says
    shutil.copy(with_table(tokenizer_file, table), folder / "tokenizer.json")
    verdict = validate_teacher(make_teacher("text", {"kind": "transformers"}), folder, threads=1)
    assert verdict.status is TeacherStatus.REJECTED
    assert verdict.reason is not None
    assert "ended the process that loaded it (SIGABRT" in verdict.reason


def test_a_reason_is_never_long() -> None:
    assert len(reason_of(TeacherUnusable("x" * 20_000))) <= 1000


@pytest.mark.parametrize(
    "entry", ['"shape": [Infinity], "data_offsets": [0, 4]', '"shape": [1], "data_offsets": [0, 1e999]']
)
def test_infinite_sides_and_offsets_of_a_tensor_are_refused(tmp_path: Path, entry: str) -> None:
    header = f'{{"a": {{"dtype": "F32", {entry}}}}}'.encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(TeacherUnusable, match="describes the tensor 'a' wrongly"):
        read_shapes(path)
