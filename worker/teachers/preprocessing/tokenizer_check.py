"""Checks a `tokenizer.json` as data before the library reads it: how much it may expand a text, how long it may take.

A tokenizer is a small program. Its normaliser may put 10 kB in the place of every letter, its patterns may compute for
hours, and it runs in the worker, beside other jobs. Published tokenizers pass; the bounds are far above them.
Own code: the library `tokenizers` has no limits of its own.
"""

import base64
import binascii
from collections.abc import Iterator
from typing import Any, Final

from ..errors import TeacherUnusable
from .tokenizer_patterns import is_linear

_INSTEAD: Final = (
    "if the model needs it, export the model to ONNX and register that (source 'onnx'): it runs in a separate process"
)
_MOST_STEPS: Final = 16
_LONGEST_CONTENT: Final = 16
"""Characters that may stand in the place of others. Published tokenizers have one."""
_LONGEST_MAPPED: Final = 128
"""Bytes in a normaliser's table for one character. sentencepiece's have 33."""
_LARGEST_GROWTH: Final = 4096
"""As bounded step by step from above: ALBERT's steps come to 1,634, and make at most 11 bytes of one."""
_LONGEST_TOKEN: Final = 1024
_MOST_LETTERS: Final = 2**22
"""Characters of all tokens of Unigram, which takes up to 350 bytes for each: 1.4 GB. The largest published vocabularies
have 250,000 tokens of some letters."""
_LONGEST_AFFIX: Final = 16
_LONGEST_WORD: Final = 1000
"""Characters of a word for WordPiece, whose time grows with their cube. Published tokenizers have 100."""
_MOST_ADDED: Final = 2**22
"""Characters of all added tokens, after normalisation."""
_MOST_MARKS: Final = 16
"""Tokens that are put around a text."""

# How many bytes a step makes of one at most.
_NORMALIZERS: Final = {
    "BertNormalizer": 6,
    "ByteLevel": 2,
    "Lowercase": 2,
    "NFC": 3,
    "NFD": 3,
    "NFKC": 11,
    "NFKD": 11,
    "Nmt": 1,
    "Strip": 1,
    "StripAccents": 1,
}
_PRE_TOKENIZERS: Final = frozenset(
    {
        "BertPreTokenizer", "ByteLevel", "CharDelimiterSplit", "Digits", "FixedLength", "Metaspace", "Punctuation",
        "Split", "UnicodeScripts", "Whitespace", "WhitespaceSplit",
    }
)  # fmt: skip
_POST_PROCESSORS: Final = frozenset({"BertProcessing", "ByteLevel", "RobertaProcessing", "TemplateProcessing"})


def checked_growth(described: dict[str, Any]) -> int:
    """How many bytes a tokenizer's normaliser makes of one at most.

    Parameters
    ----------
    described
        The content of a `tokenizer.json`.

    Raises
    ------
    TeacherUnusable
        It may ask for much memory or time.
    """
    growth = _growth(described.get("normalizer"))
    _check_pre_tokenizers(described.get("pre_tokenizer"))
    _check_model(described.get("model"))
    _check_added(described.get("added_tokens"), growth)
    _check_marks(described.get("post_processor"))
    return growth


def _refused(what: str) -> TeacherUnusable:
    return TeacherUnusable(f"tokenizer.json {what}, which may take too much memory or time; {_INSTEAD}")


def _broken(what: str) -> TeacherUnusable:
    return TeacherUnusable(f"tokenizer.json is not a tokenizer ({what}); save it again with save_pretrained")


def _steps(part: Any, inner: str, where: str) -> Iterator[dict[str, Any]]:
    """The steps of a sequence, in order, also of sequences in it."""
    waiting, count = [part], 0
    while waiting:
        step = waiting.pop()
        if step is None:
            continue
        if not isinstance(step, dict):
            raise _broken(f"its {where} is no object")
        count += 1
        if count > 2 * _MOST_STEPS:
            raise _refused(f"has more than {2 * _MOST_STEPS} steps in its {where}")
        if step.get("type") == "Sequence":
            steps = step.get(inner)
            if not isinstance(steps, list):
                raise _broken(f"a sequence in its {where} is no list")
            waiting.extend(reversed(steps[: 2 * _MOST_STEPS + 1]))
        else:
            yield step


def _growth(normalizer: Any) -> int:
    growth = 1
    for step in _steps(normalizer, "normalizers", "normalizer"):
        kind = step.get("type")
        if kind == "Replace":
            growth *= _replaced(step)
        elif kind == "Prepend":
            growth *= 1 + len(_text(step.get("prepend"), "prepend", _LONGEST_CONTENT).encode())
        elif kind == "Precompiled":
            growth *= _mapped(step.get("precompiled_charsmap"))
        elif isinstance(kind, str) and kind in _NORMALIZERS:
            growth *= _NORMALIZERS[kind]
        else:
            raise _unknown("normalizer", kind)
        if growth > _LARGEST_GROWTH:
            raise _refused("has a normalizer that may make a text thousands of times longer")
    return growth


def _replaced(step: dict[str, Any]) -> int:
    content = _text(step.get("content"), "replacement", _LONGEST_CONTENT).encode()
    replaced = _pattern(step.get("pattern"), "normalizer")
    return max(1, -(-len(content) // max(1, len(replaced.encode()))))


def _pattern(pattern: Any, where: str) -> str:
    """The text that a pattern stands for; empty for a regular expression."""
    if isinstance(pattern, dict) and len(pattern) == 1:
        kind, text = next(iter(pattern.items()))
        if isinstance(text, str):
            if kind == "String":
                return text
            if kind == "Regex":
                if not is_linear(text):
                    raise TeacherUnusable(
                        f"tokenizer.json has the regular expression {text[:80]!r}. Its time may grow faster than the "
                        f"length of a text. Simplify it (no repetition inside a repetition, nothing that can fail "
                        f"behind two repetitions); {_INSTEAD}"
                    )
                return ""
    raise _broken(f"a pattern in its {where} cannot be read")


def _mapped(table: Any) -> int:
    if not isinstance(table, str):
        raise _broken("its normalizer has no table")
    try:
        data = base64.b64decode(table, validate=True)
    except (binascii.Error, ValueError):
        raise _broken("its normalizer's table is not base64") from None
    # Four bytes tell the length of an index, which the library allocates before it looks whether it is there.
    size = int.from_bytes(data[:4], "little")
    if len(data) < 4 or size > len(data) - 4:
        raise _broken("its normalizer's table is cut off")
    longest = max(map(len, data[4 + size :].split(b"\0")))
    if longest > _LONGEST_MAPPED:
        raise _refused(f"has a normalizer that makes {longest} bytes of one character")
    return max(1, longest)


def _check_pre_tokenizers(part: Any) -> None:
    widened = 0
    for step in _steps(part, "pretokenizers", "pre_tokenizer"):
        kind = step.get("type")
        if not isinstance(kind, str) or kind not in _PRE_TOKENIZERS:
            raise _unknown("pre_tokenizer", kind)
        if kind == "Split":
            _pattern(step.get("pattern"), "pre_tokenizer")
        # Each writes every byte anew, or a mark before every word.
        widened += kind in ("ByteLevel", "Metaspace")
        if widened > 2:
            raise _refused("has more than two steps of 'ByteLevel' and 'Metaspace'")


def _check_model(model: Any) -> None:
    if not isinstance(model, dict):
        raise _broken("it has no model")
    for name in ("unk_token", "continuing_subword_prefix", "end_of_word_suffix"):
        longest = _LONGEST_TOKEN if name == "unk_token" else _LONGEST_AFFIX
        _text(model.get(name) or "", name, longest)
    word = model.get("max_input_chars_per_word", 0)
    if not isinstance(word, int) or word > _LONGEST_WORD:
        raise _refused(f"has 'max_input_chars_per_word' beyond {_LONGEST_WORD}")
    vocabulary = model.get("vocab")
    letters = 0
    # A dictionary of tokens, or (Unigram) a list of tokens with their scores.
    for entry in vocabulary if isinstance(vocabulary, (dict, list)) else ():
        token = entry[0] if isinstance(entry, list) and entry else entry
        if isinstance(token, str) and len(token) > _LONGEST_TOKEN:
            raise _refused(f"has a token of more than {_LONGEST_TOKEN} characters")
        letters += len(token) if isinstance(token, str) else 0
    if isinstance(vocabulary, list) and letters > _MOST_LETTERS:
        raise _refused("has a vocabulary of too many characters")


def _check_added(added: Any, growth: int) -> None:
    if added is None:
        return
    if not isinstance(added, list):
        raise _broken("its added tokens are no list")
    contents = [token.get("content") if isinstance(token, dict) else None for token in added]
    total = sum(len(_text(content, "added token", _LONGEST_TOKEN)) for content in contents)
    if total * growth > _MOST_ADDED:
        raise _refused("has too many added tokens")


def _check_marks(part: Any) -> None:
    marks = 0
    for step in _steps(part, "processors", "post_processor"):
        kind = step.get("type")
        if not isinstance(kind, str) or kind not in _POST_PROCESSORS:
            raise _unknown("post_processor", kind)
        if kind == "ByteLevel":
            continue
        marks += 2
        if kind == "TemplateProcessing":
            pieces = [*_list(step.get("single")), *_list(step.get("pair"))]
            marks += _template(pieces, step.get("special_tokens"))
        else:
            for name in ("sep", "cls"):
                pair = step.get(name)
                _text(pair[0] if isinstance(pair, list) and pair else "", name, _LONGEST_TOKEN)
        if marks > 2 * _MOST_MARKS:
            raise _refused(f"puts more than {_MOST_MARKS} tokens around a text")


def _template(pieces: list[Any], special: Any) -> int:
    if not isinstance(special, dict) or len(special) > _MOST_MARKS or len(pieces) > _MOST_MARKS:
        raise _refused(f"puts more than {_MOST_MARKS} tokens around a text")
    if sum(isinstance(piece, dict) and "Sequence" in piece for piece in pieces) > 3:  # One alone, two of a pair.
        raise _refused("puts a text several times into one")
    for token in special.values():
        parts = token if isinstance(token, dict) else {}
        ids, tokens = _list(parts.get("ids")), _list(parts.get("tokens"))
        if len(ids) > 1 or len(tokens) > 1:
            raise _refused("puts several tokens in the place of a mark")
        for text in tokens:
            _text(text, "mark", _LONGEST_TOKEN)
    return len(pieces)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _broken("its post_processor cannot be read")
    return value


def _text(value: Any, what: str, longest: int) -> str:
    if not isinstance(value, str):
        raise _broken(f"its {what} is no text")
    if len(value) > longest:
        raise _refused(f"has a {what} of more than {longest} characters")
    return value


def _unknown(where: str, kind: object) -> TeacherUnusable:
    return TeacherUnusable(f"tokenizer.json has the {where} {str(kind)[:40]!r}, which is not known here; {_INSTEAD}")
