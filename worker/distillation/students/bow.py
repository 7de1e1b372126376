"""Mean of word vectors and a small head, for texts. Trains in seconds and covers words that the training items lack."""

import json
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from preceptor.contract.teachers import Modality, OnnxSource, Source, TextPreprocessing

from ..blueprint import Surroundings
from ..data import Encoded
from ..inputs import ItemSource
from .transformers_folder import TEXT_INPUTS, TextHandling
from .words import MAX_LENGTH, Words, learned_words, static_words

HIDDEN: Final = 128
LEARNED: Final = 128


class BagOfWords(nn.Module):
    """Mean of the words' vectors, one hidden layer, logits.

    A given table stays fixed (eight million weights and few labels: it would be memorised, not learned).
    """

    def __init__(self, table: Tensor | None, size: int, classes: int) -> None:
        super().__init__()
        if table is None:
            self.vectors = nn.Embedding(size, LEARNED)
            nn.init.normal_(self.vectors.weight, std=0.5)
            width = LEARNED
        else:
            self.register_buffer("table", table)
            self.vectors = None
            width = table.shape[1]
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, HIDDEN)
        self.head = nn.Linear(HIDDEN, classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits, shape (B, S), of token numbers of shape (B, L)."""
        if self.vectors is not None:
            words = self.vectors(input_ids)
        else:
            words = nn.functional.embedding(input_ids, self.get_buffer("table")).float()
        mask = attention_mask.unsqueeze(-1).to(words.dtype)
        mean = (words * mask).sum(dim=1) / mask.sum(dim=1).clamp_min(1.0)
        return self.head(torch.relu(self.hidden(self.norm(mean))))


class BowBlueprint:
    """`bow`."""

    name = "bow"
    modality: Modality = "text"
    learning_rate = 3e-3
    light = True
    draws = False

    def __init__(self, around: Surroundings, settings: dict[str, Any]) -> None:
        self._device = torch.device(around.device)
        sources = [around.items, *([around.transfer] if around.transfer is not None else [])]
        words = static_words(around.scratch) or learned_words(around.scratch, sources)
        self._setup(words, around.classes)

    def _setup(self, words: Words, classes: int) -> None:
        self._words, self._classes = words, classes
        self._table = None if words.table is None else words.table.to(self._device)
        self._handling = TextHandling(words.tokenizer, MAX_LENGTH)

    def encode(self, source: ItemSource) -> Encoded:
        """Token numbers."""
        return self._handling.encode(source, self._device)

    def build(self) -> nn.Module:
        """A new model; all share the given table."""
        return BagOfWords(self._table, self._words.size, self._classes).to(self._device)

    def save(self, model: nn.Module, folder: Path, labels: list[str]) -> Source:
        """`model.safetensors`, `config.json` and the tokenizer; registered as ONNX."""
        save_file({n: t.contiguous() for n, t in model.state_dict().items()}, folder / "model.safetensors")
        config = {
            "model_type": "preceptor-bow",
            "vocab_size": self._words.size,
            "hidden": HIDDEN,
            "static_vectors": self._table is not None,
            "max_length": MAX_LENGTH,
            "id2label": {str(n): label for n, label in enumerate(labels)},
        }
        (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False), encoding="utf-8")
        self._handling.save(folder)
        return OnnxSource(preprocessing=TextPreprocessing(max_length=MAX_LENGTH, inputs=TEXT_INPUTS))
