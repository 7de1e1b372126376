"""Texts become the numbers that transformers' own tokenizer gives."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from worker.teachers.errors import TeacherUnusable
from worker.teachers.preprocessing.texts import TextEncoder

TEXTS = ["where is my order?", "", "money back please " * 20, "銀行 🙂", "Order"]


def test_numbers_equal_those_of_transformers(text_folder: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    own = TextEncoder(text_folder / "tokenizer.json", max_length=24).encode(TEXTS)
    reference = PreTrainedTokenizerFast.from_pretrained(text_folder)(
        TEXTS, padding=True, truncation=True, max_length=24, return_tensors="np", return_token_type_ids=True
    )
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        assert own[name].dtype == np.int64
        assert np.array_equal(own[name], reference[name]), name


def test_the_shortest_limit_holds(text_folder: Path) -> None:
    path = text_folder / "tokenizer.json"
    assert TextEncoder(path, max_length=9).encode(TEXTS)["input_ids"].shape == (5, 9)
    assert TextEncoder(path, max_length=1000).max_length == 24  # tokenizer_config.json says so
    assert TextEncoder(path, max_length=None).max_length == 24


def test_padding_side_and_token_come_from_the_config(tokenizer_file: Path, tmp_path: Path) -> None:
    shutil.copy(tokenizer_file, tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"padding_side": "left", "pad_token": {"content": "[UNK]"}, "model_max_length": 1e30})
    )
    encoder = TextEncoder(tmp_path / "tokenizer.json", max_length=None)
    assert encoder.max_length == 512
    assert encoder.encode(["order", "where is my order"])["input_ids"][0].tolist() == [1, 1, 1, 2, 7, 3]


def test_a_text_without_any_token_still_counts(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "a": 1, "[UNK]": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    encoder = TextEncoder(tmp_path / "tokenizer.json", max_length=8)
    assert encoder.encode([""])["input_ids"].tolist() == [[0]]
    assert encoder.encode([""])["attention_mask"].tolist() == [[1]]
    assert encoder.encode(["", "a a"])["attention_mask"].tolist() == [[1, 0], [1, 1]]


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "is missing"), (b"{", "is not a tokenizer"), (b'{"model": {"type": "Code"}}', "is not a tokenizer")],
)
def test_a_bad_tokenizer_says_how_to_save_one(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TeacherUnusable, match=f"{told}.*save_pretrained"):
        TextEncoder(path, max_length=8)


def test_a_bad_config_is_refused(tokenizer_file: Path, tmp_path: Path) -> None:
    shutil.copy(tokenizer_file, tmp_path / "tokenizer.json")
    for content, told in (("[]", "JSON object"), ("{", "not valid JSON")):
        (tmp_path / "tokenizer_config.json").write_text(content)
        with pytest.raises(TeacherUnusable, match=told):
            TextEncoder(tmp_path / "tokenizer.json", max_length=8)
