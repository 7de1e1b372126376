"""Patterns of published tokenizers pass, in whatever order they are written; those that take long do not."""

import time
from typing import Any, Final

import pytest
from tokenizers import Regex, pre_tokenizers

from worker.teachers.preprocessing.tokenizer_patterns import is_linear

_SPACES: Final = r"\s+(?!\S)|\s+"
_ENDINGS: Final = r"'s|'t|'re|'ve|'m|'ll|'d"
_UPPER: Final = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER: Final = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_HAN_UPPER: Final = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
_HAN_LOWER: Final = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
_BEFORE: Final = r"[^\r\n\p{L}\p{N}]?"
_SIGNS: Final = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_PATHS: Final = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
_LINES: Final = r"\s*[\r\n]+"

PUBLISHED: Final = {
    "GPT-2, RoBERTa, GPT-NeoX": rf"{_ENDINGS}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|{_SPACES}",
    "CLIP": rf"<\|startoftext\|>|<\|endoftext\|>|{_ENDINGS}|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+",
    "Llama 3": rf"(?i:{_ENDINGS})|{_BEFORE}\p{{L}}+|\p{{N}}{{1,3}}|{_SIGNS}|{_LINES}|{_SPACES}",
    "Qwen 2": rf"(?i:{_ENDINGS})|{_BEFORE}\p{{L}}+|\p{{N}}|{_SIGNS}|{_LINES}|{_SPACES}",
    "Qwen 3.5": rf"(?i:{_ENDINGS})|{_BEFORE}[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_LINES}|"
    rf"{_SPACES}",
    "GPT-4": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|"
    r"\s*[\r\n]|\s+(?!\S)|\s",
    "GPT-4, older": rf"'(?i:[sdmt]|ll|ve|re)|{_BEFORE}+\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]++[\r\n]*|"
    rf"\s*[\r\n]|{_SPACES}",
    "GPT-4o": rf"{_BEFORE}{_UPPER}*{_LOWER}+(?i:{_ENDINGS})?|{_BEFORE}{_UPPER}+{_LOWER}*(?i:{_ENDINGS})?|"
    rf"\p{{N}}{{1,3}}|{_PATHS}|{_LINES}|{_SPACES}",
    "Tekken": rf"{_BEFORE}{_UPPER}*{_LOWER}+|{_BEFORE}{_UPPER}+{_LOWER}*|\p{{N}}|{_PATHS}|{_LINES}|{_SPACES}",
    "DeepSeek V3": '[!"' + r"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
    rf" ?[\p{{P}}\p{{S}}]+[\r\n]*|{_LINES}|{_SPACES}",
    "DeepSeek LLM: letters": r"\s?\p{L}+",
    "DeepSeek LLM: punctuation": r"\s?\p{P}+",
    "DeepSeek Coder: signs": r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
    "DeepSeek: ideographs": r"[一-龥ࠀ-一가-퟿]+",
    "BLOOM": " ?[^(\\s|[.,!?…。，、।۔،])]+",
    "Falcon: digits": "[0-9][0-9][0-9]",
    "Falcon: signs": r"[\p{P}\$\+<=>\^~\|`]+",
    "StarCoder": r"\p{N}",
    "ChatGLM 4": r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|"
    rf"{_BEFORE}\p{{L}}+|\p{{N}}{{1,3}}|{_SIGNS}|{_LINES}|{_SPACES}",
    "Seed": r"(?:'[sS]|'[tT]|'[rR][eE])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|"
    rf"{_LINES}|{_SPACES}",
    "Kimi": rf"[\p{{Han}}]+|{_BEFORE}{_HAN_UPPER}*{_HAN_LOWER}+(?i:{_ENDINGS})?|"
    rf"{_BEFORE}{_HAN_UPPER}+{_HAN_LOWER}*(?i:{_ENDINGS})?|\p{{N}}{{1,3}}|{_SIGNS}|{_LINES}|{_SPACES}",
    "DeBERTa": r"\s{2,}|[\n\r\t]",
    "XLNet": r"^▁+$",
    "Nougat": r"[\(\)\[\]\{\}]|([!\"#\$%\&'\*\+,\-\./:;<=>\?\\\^_`\|\~])\1*",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_patterns_pass_and_take_little_time(name: str) -> None:
    pattern = PUBLISHED[name]
    assert is_linear(pattern)
    tokenizer: Any = pre_tokenizers.Split(Regex(pattern), "isolated")
    for unit in (" ", "a", "A", "1", "'", "\n", "▁", "e\u0301", "ﷺ", " a", "\r ", "!", "!a", " ▁ ", "中"):
        started = time.perf_counter()
        tokenizer.pre_tokenize_str((unit * 32_768)[:32_768])
        assert time.perf_counter() - started < 5, unit


@pytest.mark.parametrize(
    "pattern",
    [
        " {2,}", r"\s+", r"\n", r"\p{N}{1,3}", "▁{2,}", r"\d", "a|b", "[a&&b]+", "[[a]b]", "a++", r"(a)\1",
        "[[:alpha:]]+",
        r"\s+$|\s+", r" ?\b\w+\b|\s+", r"(?<=\d)(?=\D)", r"\w+(?!\w)|\w+", r"(?i)abc+", r"a{2,5}b",
        r"x(?:y|z)?", r"#\w+?",
        r"(?>\s+)x|\s+", r"\x{1F600}+", r"{", r"]",
    ],
)  # fmt: skip
def test_patterns_of_ones_own_pass_if_they_are_linear(pattern: str) -> None:
    assert is_linear(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        # Exponential.
        "(a+)+$", "(a+)+b", r"(\s*)*x", "(a|a)*$", "(a|aa)+b", "(x+x+)+y", r"([a-z]+)*\d", "((a{1,3}){1,3})+b",
        r"(?:\w+\s?)*$", "(?i:(a|A)*)b", "(😀|😀)*!", "(?:a?){30}a{30}", "a+{2,3}b",
        # Polynomial in one attempt.
        r"\s*\s*x", "a*a*a*b", r"(?=.*x)\w+y", r"\w+\d+\w+!",
        # Polynomial over all attempts.
        "a+b", ".*a", r"\s*[\r\n]+", r"\s+$", " +▁", r"\s*[\r\n]|\s|\s+", "[ab]+c|a+|b+", "[ab]+$|a+|b+",
        r"\p{L}+(?=\d)",
        r"(?=(\d{3})+(?!\d))", r"\w+?x", r"(.*)\1",
        # Not understood, or no pattern at all.
        "", "(a", "a)", "[a", "a{1,9999}", r"(?<n>a)\k<n>*", r"\g<1>", "(?~ab)", r"\X+", "*a",
        "a" * 5000, "(" * 50 + ")" * 50,
    ],
)  # fmt: skip
def test_what_may_take_long_or_is_not_understood_is_refused(pattern: str) -> None:
    assert not is_linear(pattern)
