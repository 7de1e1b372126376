"""Texts become the numbers that transformers' own tokenizer gives."""

import json
import shutil
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize(
    "options",
    [
        {"truncation_side": "left"},
        {"truncation_side": "left", "tokenizer_class": "BertTokenizer"},
        {"do_lower_case": False, "tokenizer_class": "BertTokenizer"},
        {"strip_accents": False, "tokenizer_class": "BertTokenizer"},
        {"model_max_length": 6},
        {"split_special_tokens": True},
        {"chat_template": "{{ messages[0].content }}", "padding_side": "left"},
    ],
)
def test_options_are_read_as_transformers_reads_them(
    text_folder: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    from transformers import AutoConfig, AutoTokenizer

    folder = tmp_path / "folder"
    shutil.copytree(text_folder, folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **options}))
    texts = [*TEXTS, "WHERE is MÝ [SEP] order " * 20, "ab cd " * 30 + "money"]
    config = AutoConfig.from_pretrained(folder)
    reference: Any = AutoTokenizer.from_pretrained(folder)
    own = TextEncoder(folder / "tokenizer.json", max_length=24, config=config)
    assert [ids for ids, _ in own.rows(texts)] == [reference(text, truncation=True)["input_ids"] for text in texts]
    assert own.inputs == frozenset(reference.model_input_names)


def test_without_a_class_the_options_of_the_files_hold(tokenizer_file: Path, tmp_path: Path) -> None:
    shutil.copy(tokenizer_file, tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"truncation_side": "left", "model_max_length": 4}))
    encoder = TextEncoder(tmp_path / "tokenizer.json", max_length=None)
    # [CLS] money back [SEP]
    assert encoder.rows(["where is my order money back"]) == [([2, 9, 10, 3], [0, 0, 0, 0])]


@pytest.mark.parametrize("side", ["left", "right"])
def test_what_lies_beyond_a_long_gap_is_read(tokenizer_file: Path, tmp_path: Path, side: str) -> None:
    shutil.copy(tokenizer_file, tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"truncation_side": side}))
    encoder = TextEncoder(tmp_path / "tokenizer.json", max_length=8)
    gap = " " * 90_000
    assert encoder.rows([gap + "where is my order" + gap])[0][0] == [2, 4, 5, 6, 7, 3]


def test_files_and_code_that_options_name_are_left_alone(text_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(text_folder, folder)
    path = folder / "tokenizer_config.json"
    saved = json.loads(path.read_text())
    expected = TextEncoder(folder / "tokenizer.json", max_length=24).rows(TEXTS)
    elsewhere = {"vocab_file": "/etc/passwd", "tokenizer_file": "/etc/hostname", "name_or_path": "owner/name"}
    path.write_text(json.dumps({**saved, **elsewhere, "auto_map": {"AutoTokenizer": [None, "evil.Tokenizer"]}}))
    assert TextEncoder(folder / "tokenizer.json", max_length=24).rows(TEXTS) == expected
    path.write_text(json.dumps({**saved, "tokenizer_class": "os.system"}))
    assert TextEncoder(folder / "tokenizer.json", max_length=24).rows(TEXTS) == expected


@pytest.mark.parametrize("name", ["BertJapaneseTokenizer", "TapasTokenizer", "CanineTokenizer"])
def test_a_class_that_is_no_tokenizer_of_this_kind_is_refused(text_folder: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(text_folder, folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer_class": name}))
    with pytest.raises(TeacherUnusable, match=r"tokenizer_config\.json"):
        TextEncoder(folder / "tokenizer.json", max_length=24)
