r"""Regular expressions that a tokenizer may have: those of published models, and those that cannot take long.

The library's engine gives up on one match after some millions of steps, and begins again at the next character: a
pattern made for it computes for hours over one text, and nothing stops it. So patterns are compared with a list. New
ones are added here, after `tests/unit/teachers/test_tokenizer_check.py` has timed them.
"""

import re
from typing import Final

_ATOM: Final = r"(?:\\[sSdDwWnrt]|\\[pP]\{[A-Za-z]{1,2}\}|\\[^\w\s]|\[\^?(?:\\.|[^\\\[\]&])+\]|[^\\\[\](){}.*+?|^$])"
_PLAIN: Final = re.compile(rf"{_ATOM}{{1,16}}(?:[+*?]|\{{\d{{1,3}}(?:,\d{{0,3}})?\}})?")
"""Characters and classes one after another, of which the last alone is repeated: the time is linear in the text."""

_SPACES: Final = r"\s+(?!\S)|\s+"
_ENDINGS: Final = r"'s|'t|'re|'ve|'m|'ll|'d"
_UPPER: Final = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER: Final = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"

_BEFORE: Final = r"[^\r\n\p{L}\p{N}]?"
_SIGNS: Final = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_PATHS: Final = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
_LINES: Final = r"\s*[\r\n]+"

PUBLISHED: Final = frozenset(
    {
        # GPT-2, RoBERTa, GPT-NeoX and those after them.
        rf"{_ENDINGS}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|{_SPACES}",
        # CLIP, with and without its marks.
        rf"{_ENDINGS}|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+",
        rf"<\|startoftext\|>|<\|endoftext\|>|{_ENDINGS}|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+",
        # Llama 3, Qwen 2, Qwen 3.5.
        rf"(?i:{_ENDINGS})|{_BEFORE}\p{{L}}+|\p{{N}}{{1,3}}|{_SIGNS}|{_LINES}|{_SPACES}",
        rf"(?i:{_ENDINGS})|{_BEFORE}\p{{L}}+|\p{{N}}|{_SIGNS}|{_LINES}|{_SPACES}",
        rf"(?i:{_ENDINGS})|{_BEFORE}[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_LINES}|{_SPACES}",
        # cl100k and o200k of tiktoken, Mistral's Tekken.
        rf"'(?i:[sdmt]|ll|ve|re)|{_BEFORE}+\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]++[\r\n]*|\s*[\r\n]|{_SPACES}",
        rf"{_BEFORE}{_UPPER}*{_LOWER}+(?i:{_ENDINGS})?|{_BEFORE}{_UPPER}+{_LOWER}*(?i:{_ENDINGS})?|"
        rf"\p{{N}}{{1,3}}|{_PATHS}|{_LINES}|{_SPACES}",
        rf"{_BEFORE}{_UPPER}*{_LOWER}+|{_BEFORE}{_UPPER}+{_LOWER}*|\p{{N}}|{_PATHS}|{_LINES}|{_SPACES}",
        # DeepSeek V3; its others are plain.
        '[!"' + r"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
        rf" ?[\p{{P}}\p{{S}}]+[\r\n]*|{_LINES}|{_SPACES}",
        # BLOOM.
        " ?[^(\\s|[.,!?…。，、।۔،])]+",
        # Spaces: DeBERTa, XLNet.
        r"\s{2,}|[\n\r\t]",
        r"^▁+$",
        # Nougat.
        r"[\(\)\[\]\{\}]|([!\"#\$%\&'\*\+,\-\./:;<=>\?\\\^_`\|\~])\1*",
    }
)
"""SeamlessM4T's ` +▁` is left out: it takes two seconds for a text of spaces, and classifies nothing."""


def is_known(pattern: str) -> bool:
    """Whether a pattern may be searched for in a stranger's text."""
    return pattern in PUBLISHED or _PLAIN.fullmatch(pattern) is not None
