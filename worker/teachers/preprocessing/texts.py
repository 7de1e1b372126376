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

from ..config_files import read_options
from ..errors import TeacherUnusable, is_panic
from .tokenizer_check import checked_growth
from .tokenizer_settings import as_described, as_transformers

Row = tuple[list[int], list[int]]
"""Token numbers and token types of one text."""

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
        A `tokenizer.json`. If `tokenizer_config.json` beside it (or `config`) names a tokenizer class, the files are
        read as transformers reads them.
    max_length
        Longer texts are cut off after so many tokens; None takes the tokenizer's own limit.
    pad_id
        Padding token, if no file of the tokenizer names one.
    config
        The `PreTrainedConfig` of a transformers model: its model type may decide how the tokenizer is built.
    check
        Whether tokenizers that may take much memory or time are refused. Not where the encoder runs in a process that
        may end.

    Attributes
    ----------
    vocabulary
        Number of tokens; the model's embedding must be at least as long. Tokens that transformers adds for the
        architecture, and that the file does not have, do not count: no text of the training had them.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_length: int | None,
        pad_id: int | None = None,
        config: Any = None,
        check: bool = True,
    ) -> None:
        if not path.is_file():
            raise TeacherUnusable(f"{path.name} is missing: a text teacher needs its tokenizer; {_HOW_TO_SAVE}")
        if path.stat().st_size > _LARGEST:
            raise TeacherUnusable(f"{path.name} is larger than {_LARGEST // 2**20} MiB; {_HOW_TO_SAVE}")
        options = read_options(path.with_name("tokenizer_config.json"))
        try:
            described = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(described, dict):
                raise ValueError("no JSON object")
            self._growth = checked_growth(described) if check else 1
            # What transformers saves names a class. Students that name none were trained with tokenizer.json alone.
            named = options.get("tokenizer_class") or getattr(config, "tokenizer_class", None)
            if not isinstance(named, str):
                settings = as_described(described, options)
            else:
                settings = as_transformers(described, path.parent, options, config)
                # A class of transformers may have built another normaliser than the file has.
                built = json.loads(settings.tokenizer.to_str()) if check else {}
                self._growth = checked_growth(built) if check else 1
        except TeacherUnusable:
            raise
        except BaseException as error:  # tokenizers raises bare Exception, or panics
            if not (isinstance(error, Exception) or is_panic(error)):
                raise
            raise TeacherUnusable(f"{path.name} is not a tokenizer ({str(error)[:160]}); {_HOW_TO_SAVE}") from None
        self.vocabulary = _vocabulary(described, settings.tokenizer)
        limits = [limit for limit in (settings.max_length, max_length) if limit is not None]
        self.max_length = min(limits, default=512)
        self.inputs = settings.inputs
        self._tokenizer = settings.tokenizer
        self._left_out = settings.truncate_left
        self._tokenizer.enable_truncation(self.max_length, direction="left" if self._left_out else "right")
        self._tokenizer.no_padding()
        self._normalizer = self._tokenizer.normalizer
        self._left = settings.pad_left
        self._pad = settings.pad_id if settings.pad_id is not None else pad_id or 0
        self._pad_type = settings.pad_type

    def encode(self, texts: list[str]) -> dict[str, NDArray[np.int64]]:
        """Token numbers, padded to the longest text of the batch.

        Returns
        -------
        dict
            `input_ids`, `attention_mask`, `token_type_ids`, each of shape (B, L), int64. L is at least 1:
            where a text has no token at all, one padding token stands for it.
        """
        return self.padded(self.rows(texts))

    def rows(self, texts: list[str]) -> list[Row]:
        """Token numbers and token types of each text, cut to `max_length`, without padding."""
        rows: list[Row] = [([], []) for _ in texts]
        waiting = dict.fromkeys(range(len(texts)), _CHARACTERS_A_TOKEN * self.max_length)
        try:
            while waiting:
                short: dict[int, int] = {}
                for some in self._portions(texts, waiting):
                    found = self._tokenizer.encode_batch_fast([cut for _, cut, _ in some])
                    for (position, cut, complete), tokens in zip(some, found, strict=True):
                        rows[position] = (tokens.ids, tokens.type_ids)
                        # Tens of thousands of spaces may be few tokens: what follows them is read too.
                        if len(tokens.ids) < self.max_length and not complete:
                            short[position] = 8 * max(waiting[position], len(cut))
                waiting = short
        except BaseException as error:
            if not (isinstance(error, Exception) or is_panic(error)):
                raise
            raise TeacherUnusable(f"tokenizer.json cannot be used ({str(error)[:160]}); {_HOW_TO_SAVE}") from None
        return rows

    def padded(self, rows: list[Row]) -> dict[str, NDArray[np.int64]]:
        """Rows as arrays, padded to the longest; see `encode`."""
        shape = (len(rows), max((len(ids) for ids, _ in rows), default=0) or 1)
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

    def _portions(self, texts: list[str], lengths: dict[int, int]) -> Iterator[list[tuple[int, str, bool]]]:
        """The texts of these positions, cut to these lengths, as many at a time as the library may take.

        Each with its position and whether no more of it may be read.
        """
        some: list[tuple[int, str, bool]] = []
        size = 0
        for position, longest in lengths.items():
            cut, most, complete = self._cut(texts[position], longest)
            if some and size + most > _AT_ONCE:
                yield some
                some, size = [], 0
            some.append((position, cut, complete))
            size += most
        if some:
            yield some

    def _cut(self, text: str, longest: int) -> tuple[str, int, bool]:
        """The part of a text that is kept, how long its normalised form may be, and whether no more may be read."""
        cut = text[-longest:] if self._left_out else text[:longest]
        complete = len(cut) == len(text)
        bound = 2 * _CHARACTERS_A_TOKEN * self.max_length
        if len(cut) * self._growth <= bound or self._normalizer is None:
            return cut, len(cut) * self._growth, complete
        # A normaliser that may make more of it: see how much it does make, part by part.
        most = max(bound, _AT_ONCE // 2)
        made = 0
        for start in range(0, len(cut), _PART):
            end = len(cut) - start
            part = cut[max(0, end - _PART) : end] if self._left_out else cut[start : start + _PART]
            made += len(self._normalizer.normalize_str(part))
            if made > most:
                return (cut[max(0, end - _PART) :] if self._left_out else cut[: start + _PART]), made, True
        return cut, made, complete


def _vocabulary(described: dict[str, Any], tokenizer: Any) -> int:
    model, added = described.get("model"), described.get("added_tokens")
    words = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(words, (dict, list)) or not isinstance(added, list):
        return tokenizer.get_vocab_size(with_added_tokens=True)
    numbers = [token["id"] for token in added if isinstance(token, dict) and isinstance(token.get("id"), int)]
    return min(tokenizer.get_vocab_size(with_added_tokens=True), max([len(words), *(number + 1 for number in numbers)]))
