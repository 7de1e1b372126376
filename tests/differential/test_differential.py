"""The short form: each architecture with the settings that its tokenizer is most easily misread by."""

import json
from pathlib import Path

import pytest
import torch

from worker.teachers.preprocessing.texts import TextEncoder

from .__main__ import table
from .texts import Architecture, architectures, compare, make_folder, sample_texts, settings_of

SHORT = ("bert", "roberta", "gpt2", "xlm-roberta")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("architecture", [a for a in architectures() if a.name in SHORT], ids=lambda a: a.name)
def test_tokens_and_logits_are_those_of_transformers(architecture: Architecture, tmp_path: Path) -> None:
    texts = sample_texts(72)
    make_folder(architecture, tmp_path, texts)
    path = tmp_path / "tokenizer_config.json"
    saved = json.loads(path.read_text())
    read: list[list[list[int]]] = []
    for options in list(settings_of(architecture).values())[1::3]:
        path.write_text(json.dumps({**saved, "tokenizer_class": architecture.tokenizer_class, **options}))
        row = compare(tmp_path, texts, 8)
        assert row["other_tokens"] == 0
        assert row["logits"] < 1e-4
        encoder = TextEncoder(tmp_path / "tokenizer.json", max_length=48)
        read.append([ids for ids, _ in encoder.rows(texts)])
    # The settings matter: each is read in a way of its own.
    assert sum(left != other for left, other in zip(*read, strict=True)) > 8


def test_texts_come_in_twelve_scripts_and_are_the_same_every_time() -> None:
    texts = sample_texts(200)
    assert texts == sample_texts(200)
    joined = "".join(texts)
    for letter in "aжαبאकকกあ的가ა":
        assert letter in joined
    assert len(sample_texts(2000)) == 2000


def test_a_table_has_a_column_for_whatever_a_row_holds() -> None:
    shown = table([{"kind": "texts", "logits": 1.5e-6, "holds": True}, {"kind": "pictures", "holds": False, "size": 8}])
    assert shown.splitlines() == [
        "kind      logits   holds  size",
        "texts     1.5e-06  yes        ",
        "pictures           NO     8   ",
    ]
