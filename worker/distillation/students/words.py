"""The vocabulary of a text student: static vectors if installed, else the words of the training texts."""

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from ..inputs import ItemSource

MAX_LENGTH: Final = 128
_VOCABULARY: Final = 8192


@dataclass(frozen=True)
class Words:
    """A vocabulary.

    Attributes
    ----------
    tokenizer
        Path of a `tokenizer.json`.
    table
        Vectors of its tokens, shape (V, d), float16; None if they are to be learned.
    size
        V.
    """

    tokenizer: Path
    table: Tensor | None
    size: int


def static_words(folder: Path) -> Words | None:
    """The WordLlama table, if that package is installed; its tokenizer is written to `folder`."""
    found = importlib.util.find_spec("wordllama")
    if found is None or found.origin is None:
        return None
    from safetensors.torch import load_file

    package = Path(found.origin).parent
    weights = package / "weights" / "l2_supercat_256.safetensors"
    vocabulary = package / "tokenizers" / "l2_supercat_tokenizer_config.json"
    if not (weights.is_file() and vocabulary.is_file()):
        return None
    described: dict[str, Any] = json.loads(vocabulary.read_text(encoding="utf-8"))
    # A start token in front of every text would only shift all means equally.
    described["post_processor"] = None
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(described, ensure_ascii=False), encoding="utf-8")
    table = load_file(weights)["embedding.weight"].to(torch.float16)
    return Words(path, table, len(table))


def learned_words(folder: Path, sources: list[ItemSource], size: int = _VOCABULARY) -> Words:
    """Word pieces of the training texts, labelled and transfer, as a new `tokenizer.json` in `folder`."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer: Any = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106 - a token of text
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, min_frequency=2, special_tokens=["[PAD]", "[UNK]"], show_progress=False
    )
    tokenizer.train_from_iterator(_texts(sources), trainer)
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    # Named, so that transformers does not add the usual special tokens of an architecture.
    options = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "model_max_length": MAX_LENGTH}
    path.with_name("tokenizer_config.json").write_text(json.dumps(options), encoding="utf-8")
    return Words(path, None, tokenizer.get_vocab_size())


def _texts(sources: list[ItemSource]) -> Iterator[str]:
    for source in sources:
        for batch in source.batches(256):
            yield from batch.texts or ()
