"""Texts to token numbers with a `tokenizer.json`: data only, no tokenizer classes, no sentencepiece models.

What the library may do with a text is bounded here (`TextEncoder`), and by what a tokenizer may consist of
(`tokenizer_check`).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ..errors import TeacherUnusable, is_panic
from .tokenizer_check import checked_growth

_LARGEST: Final = 64 * 2**20
_HOW_TO_SAVE: Final = (
    "save it with AutoTokenizer.from_pretrained(NAME).save_pretrained(FOLDER) and upload tokenizer.json "
    "(and tokenizer_config.json) with the model"
)
_CHARACTERS_A_TOKEN: Final = 64
"""A text is cut after so many for each token that is kept. Languages have 1 to 6, long runs of signs up to 16."""
_PART: Final = 64
_AT_ONCE: Final = 2**19
"""Characters, normalised, in one call of the library, which takes some 150 bytes for each."""


class TextEncoder:
    """Turns texts into padded arrays of token numbers.

    Parameters
    ----------
    path
        A `tokenizer.json`. A `tokenizer_config.json` beside it may name the padding token and side.
    max_length
        Longer texts are cut off after so many tokens; None takes the tokenizer's own limit.
    pad_id
        Padding token, where neither file names one.
    check
        Whether tokenizers that may take much memory or time are refused. Not where the encoder runs in a process that
        may end.
    """

    def __init__(self, path: Path, *, max_length: int | None, pad_id: int | None = None, check: bool = True) -> None:
        if not path.is_file():
            raise TeacherUnusable(f"{path.name} is missing: a text teacher needs its tokenizer; {_HOW_TO_SAVE}")
        if path.stat().st_size > _LARGEST:
            raise TeacherUnusable(f"{path.name} is larger than {_LARGEST // 2**20} MiB; {_HOW_TO_SAVE}")
        try:
            described = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(described, dict):
                raise ValueError("no JSON object")
            self._growth = checked_growth(described) if check else 1
            # Written anew, so that the library sees what was checked: of two entries with one name it may take another.
            self._tokenizer = Tokenizer.from_str(json.dumps(described))
        except TeacherUnusable:
            raise
        except BaseException as error:  # tokenizers raises bare Exception, or panics
            if not (isinstance(error, Exception) or is_panic(error)):
                raise
            raise TeacherUnusable(f"{path.name} is not a tokenizer ({str(error)[:160]}); {_HOW_TO_SAVE}") from None
        options = read_options(path.with_name("tokenizer_config.json"))
        limit = self._limit(options, max_length)
        self._tokenizer.enable_truncation(limit)
        self._left, self._pad, self._pad_type = self._padding(options, pad_id)
        self._tokenizer.no_padding()
        self._normalizer = self._tokenizer.normalizer
        self.max_length = limit

    @property
    def vocabulary(self) -> int:
        """Number of tokens; the model's embedding must be at least as long."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def _limit(self, options: dict[str, Any], max_length: int | None) -> int:
        own = options.get("model_max_length")
        # Tokenizers without a limit store 1e30.
        limits = [int(own)] if isinstance(own, (int, float)) and 0 < own < 2**20 else []
        if max_length is not None:
            limits.append(max_length)
        return min(limits, default=512)

    def _padding(self, options: dict[str, Any], pad_id: int | None) -> tuple[bool, int, int]:
        """Whether texts are padded on the left, with which token, and of which type that is."""
        token = options.get("pad_token")
        if isinstance(token, dict):
            token = token.get("content")
        found = self._tokenizer.token_to_id(token) if isinstance(token, str) else None
        present: dict[str, Any] = self._tokenizer.padding or {}
        number = next((n for n in (found, present.get("pad_id"), pad_id) if n is not None), 0)
        side = options.get("padding_side") or present.get("direction") or "right"
        return side == "left", number, present.get("pad_type_id", 0)

    def encode(self, texts: list[str]) -> dict[str, NDArray[np.int64]]:
        """Token numbers, padded to the longest text of the batch.

        Returns
        -------
        dict
            `input_ids`, `attention_mask`, `token_type_ids`, each of shape (B, L), int64. L is at least 1:
            where a text has no token at all, one padding token stands for it.
        """
        rows: list[tuple[list[int], list[int]]] = []
        try:
            for some in self._portions(texts):
                rows.extend((found.ids, found.type_ids) for found in self._tokenizer.encode_batch_fast(some))
        except BaseException as error:
            if not (isinstance(error, Exception) or is_panic(error)):
                raise
            raise TeacherUnusable(f"tokenizer.json cannot be used ({str(error)[:160]}); {_HOW_TO_SAVE}") from None
        shape = (len(texts), max((len(ids) for ids, _ in rows), default=0) or 1)
        arrays = {
            "input_ids": np.full(shape, self._pad, dtype=np.int64),
            "attention_mask": np.zeros(shape, dtype=np.int64),
            "token_type_ids": np.full(shape, self._pad_type, dtype=np.int64),
        }
        for row, (ids, types) in enumerate(rows):
            place = slice(shape[1] - len(ids), None) if self._left else slice(len(ids))
            arrays["input_ids"][row, place] = ids
            arrays["token_type_ids"][row, place] = types
            arrays["attention_mask"][row, place] = 1
        # A row of padding only gives an average over nothing in many models: let its first token count.
        empty = arrays["attention_mask"].sum(axis=1) == 0
        arrays["attention_mask"][empty, 0] = 1
        return arrays

    def _portions(self, texts: list[str]) -> Iterator[list[str]]:
        """The texts, cut, as many at a time as the library may take."""
        some: list[str] = []
        size = 0
        for text in texts:
            cut, most = self._cut(text)
            if some and size + most > _AT_ONCE:
                yield some
                some, size = [], 0
            some.append(cut)
            size += most
        if some:
            yield some

    def _cut(self, text: str) -> tuple[str, int]:
        """The start of a text, beyond which nothing reaches the model, and how long its normalised form may be."""
        longest = _CHARACTERS_A_TOKEN * self.max_length
        cut = text[:longest]
        if len(cut) * self._growth <= 2 * longest or self._normalizer is None:
            return cut, len(cut) * self._growth
        # A normaliser that may make more of it: see how much it does make, part by part.
        made = 0
        for start in range(0, len(cut), _PART):
            made += len(self._normalizer.normalize_str(cut[start : start + _PART]))
            if made > 2 * longest:
                return cut[: start + _PART], made
        return cut, made


def read_options(path: Path) -> dict[str, Any]:
    """A small JSON object from a file; empty where there is no such file."""
    if not path.is_file():
        return {}
    if path.stat().st_size > _LARGEST:
        raise TeacherUnusable(f"{path.name} is larger than {_LARGEST // 2**20} MiB; save the model again")
    try:
        options = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise TeacherUnusable(f"{path.name} is not valid JSON ({error}); save the model again") from None
    if not isinstance(options, dict):
        raise TeacherUnusable(f"{path.name} must hold a JSON object; save the model again")
    return options
