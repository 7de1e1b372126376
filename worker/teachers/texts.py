"""Texts to token numbers with a `tokenizer.json`: data only, no tokenizer classes, no sentencepiece models."""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from .rejection import TeacherUnusable, is_panic

_LARGEST: Final = 64 * 2**20
_HOW_TO_SAVE: Final = (
    "save it with AutoTokenizer.from_pretrained(NAME).save_pretrained(FOLDER) and upload tokenizer.json "
    "(and tokenizer_config.json) with the model"
)


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
    """

    def __init__(self, path: Path, *, max_length: int | None, pad_id: int | None = None) -> None:
        if not path.is_file():
            raise TeacherUnusable(f"{path.name} is missing: a text teacher needs its tokenizer; {_HOW_TO_SAVE}")
        if path.stat().st_size > _LARGEST:
            raise TeacherUnusable(f"{path.name} is larger than {_LARGEST // 2**20} MiB; {_HOW_TO_SAVE}")
        try:
            self._tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except BaseException as error:  # tokenizers raises bare Exception, or panics
            if not (isinstance(error, Exception) or is_panic(error)):
                raise
            raise TeacherUnusable(f"{path.name} is not a tokenizer ({str(error)[:160]}); {_HOW_TO_SAVE}") from None
        options = read_options(path.with_name("tokenizer_config.json"))
        limit = self._limit(options, max_length)
        self._tokenizer.enable_truncation(limit)
        self._pad(options, pad_id)
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

    def _pad(self, options: dict[str, Any], pad_id: int | None) -> None:
        token = options.get("pad_token")
        if isinstance(token, dict):
            token = token.get("content")
        found = self._tokenizer.token_to_id(token) if isinstance(token, str) else None
        present: dict[str, Any] = self._tokenizer.padding or {}
        number = next((n for n in (found, present.get("pad_id"), pad_id) if n is not None), 0)
        side = options.get("padding_side") or present.get("direction") or "right"
        self._tokenizer.enable_padding(
            direction="left" if side == "left" else "right",
            pad_id=number,
            pad_token=self._tokenizer.id_to_token(number) or "[PAD]",
            pad_type_id=present.get("pad_type_id", 0),
        )

    def encode(self, texts: list[str]) -> dict[str, NDArray[np.int64]]:
        """Token numbers, padded to the longest text of the batch.

        Returns
        -------
        dict
            `input_ids`, `attention_mask`, `token_type_ids`, each of shape (B, L), int64. L is at least 1:
            where a text has no token at all, one padding token stands for it.
        """
        try:
            encodings = self._tokenizer.encode_batch_fast(texts)
        except BaseException as error:
            if not (isinstance(error, Exception) or is_panic(error)):
                raise
            raise TeacherUnusable(f"tokenizer.json cannot be used ({str(error)[:160]}); {_HOW_TO_SAVE}") from None
        arrays = {
            "input_ids": np.array([e.ids for e in encodings], dtype=np.int64),
            "attention_mask": np.array([e.attention_mask for e in encodings], dtype=np.int64),
            "token_type_ids": np.array([e.type_ids for e in encodings], dtype=np.int64),
        }
        if arrays["input_ids"].shape[1] == 0:
            pad = int((self._tokenizer.padding or {}).get("pad_id", 0))
            shape = (len(texts), 1)
            arrays = {
                "input_ids": np.full(shape, pad, dtype=np.int64),
                "attention_mask": np.ones(shape, dtype=np.int64),
                "token_type_ids": np.zeros(shape, dtype=np.int64),
            }
        # A row of padding only gives an average over nothing in many models: let its first token count.
        empty = arrays["attention_mask"].sum(axis=1) == 0
        arrays["attention_mask"][empty, 0] = 1
        return arrays


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
