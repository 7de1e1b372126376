"""Tokenizers that would take much memory or time are refused; usual ones give the numbers that they gave."""

import base64
import json
import resource
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from preceptor.contract.teachers import Teacher, TeacherStatus
from worker.teachers.errors import TeacherUnusable
from worker.teachers.preprocessing.texts import TextEncoder
from worker.teachers.validation import validate_teacher

TEXTS = [
    "Where is my order?  It's late, isn't it?", "", "ORDER order 12345", "銀行 🙂 naïve ﷺ", "``quoted'' text\n\n\ttab",
    "money back please " * 400, "<s>marked</s> text", "aaaa" * 300,
]  # fmt: skip
LLAMA = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)


def charsmap(mapped: dict[str, str]) -> bytes:
    """A table whose index finds nothing, with these replacements."""
    index = bytes(1024)
    return len(index).to_bytes(4, "little") + index + b"\0".join(text.encode() for text in mapped.values()) + b"\0"


def bert() -> Any:
    tokenizer: Any = Tokenizer(models.WordPiece(_words("##"), unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    return tokenizer


def roberta() -> Any:
    tokenizer: Any = Tokenizer(models.BPE(_letters(pre_tokenizers.ByteLevel.alphabet()), []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 1))
    tokenizer.add_special_tokens(["<s>", "</s>", AddedToken("<mask>", lstrip=True)])
    return tokenizer


def llama_2() -> Any:
    tokenizer: Any = Tokenizer(
        models.BPE(_letters("▁abcdefghijklmnopqrstuvwxyz"), [], unk_token="<unk>", fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def llama_3() -> Any:
    tokenizer: Any = Tokenizer(models.BPE(_letters(pre_tokenizers.ByteLevel.alphabet()), [], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(LLAMA), "isolated"), pre_tokenizers.ByteLevel(use_regex=False)]
    )
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)]),
        ]
    )
    return tokenizer


def t5() -> Any:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), ("a", -3.0), ("▁order", -4.0)]
    tokenizer: Any = Tokenizer(models.Unigram(pieces, 2))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Precompiled(charsmap({"ﷺ": "x" * 33})), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.add_special_tokens([f"<extra_id_{number}>" for number in range(100)])
    return tokenizer


def albert() -> Any:
    tokenizer = t5()
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace("``", '"'), normalizers.Replace("''", '"'), normalizers.NFKD(),
            normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Precompiled(charsmap({"a": "x" * 33})),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )  # fmt: skip
    return tokenizer


def clip() -> Any:
    tokenizer: Any = Tokenizer(models.BPE(_letters("abcdefghijklmnopqrstuvwxyz"), [], end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    pattern = r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "removed", invert=True), pre_tokenizers.ByteLevel()]
    )
    return tokenizer


def deberta() -> Any:
    tokenizer = t5()
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(), normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "), normalizers.NFC(),
            normalizers.Strip(left=False, right=True),
        ]
    )  # fmt: skip
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Punctuation(), pre_tokenizers.Metaspace()])
    return tokenizer


def _letters(alphabet: Any) -> dict[str, int]:
    marks = ["<pad>", "<s>", "</s>", "<unk>"]
    return {token: number for number, token in enumerate([*marks, *sorted(alphabet)])}


def _words(prefix: str) -> dict[str, int]:
    pieces = ["where", "is", "my", "order", "money", "back", "a", prefix + "a", prefix + "s", "late", "'", "?", "。"]
    return {token: number for number, token in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", *pieces])}


@pytest.mark.parametrize("make", [bert, roberta, llama_2, llama_3, t5, albert, clip, deberta])
@pytest.mark.parametrize(("most", "side"), [(8, "right"), (64, "left"), (512, "right")])
def test_usual_tokenizers_give_the_numbers_of_the_library(
    make: Callable[[], Any], most: int, side: str, tmp_path: Path
) -> None:
    tokenizer = make()
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"padding_side": side}))
    tokenizer.enable_truncation(most)
    tokenizer.enable_padding(direction=side, pad_id=0)
    own = TextEncoder(path, max_length=most).encode(TEXTS)
    found = tokenizer.encode_batch(TEXTS)
    assert own["input_ids"].tolist() == [text.ids for text in found]
    assert own["token_type_ids"].tolist() == [text.type_ids for text in found]
    for mask, text in zip(own["attention_mask"].tolist(), found, strict=True):
        assert mask == text.attention_mask or not any(text.attention_mask)


def hostile(**parts: Any) -> dict[str, Any]:
    described = json.loads(bert().to_str())
    return {**described, **parts}


def replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def sequence(inner: str, steps: list[Any]) -> dict[str, Any]:
    return {"type": "Sequence", inner: steps}


LETTER = {"String": "a"}
TABLE = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap({"a": "x" * 1000})).decode()}
NESTED: Any = None
for _ in range(40):
    NESTED = sequence("normalizers", [NESTED] if NESTED else [{"type": "NFC"}])
WORDS = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##"}
TEMPLATE = {"type": "TemplateProcessing", "pair": [], "special_tokens": {}}
A = {"Sequence": {"id": "A", "type_id": 0}}


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"normalizer": replace(LETTER, "b" * 10_000)}, "replacement of more than 16"),
        ({"normalizer": sequence("normalizers", [replace(LETTER, "a" * 16)] * 8)}, "thousands of times"),
        ({"normalizer": replace({"Regex": "(a+)+$"}, "b")}, "regular expression"),
        ({"normalizer": {"type": "Prepend", "prepend": "a" * 10_000}}, "prepend of more than"),
        ({"normalizer": TABLE}, "1000 bytes of one character"),
        ({"normalizer": NESTED}, "more than 32 steps"),
        ({"normalizer": {"type": "Later"}}, "not known here"),
        ({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a|a)*$"}, "behavior": "Isolated", "invert": False}},
         "regular expression"),
        ({"pre_tokenizer": sequence("pretokenizers", [{"type": "ByteLevel"}] * 3)}, "more than two steps"),
        ({"model": {**WORDS, "vocab": {"[UNK]": 0}, "max_input_chars_per_word": 10**9}}, "max_input_chars_per_word"),
        ({"model": {**WORDS, "vocab": {"x" * 2000: 0}, "max_input_chars_per_word": 100}}, "token of more than 1024"),
        ({"model": {**WORDS, "vocab": {}, "continuing_subword_prefix": "x" * 99}}, "continuing_subword_prefix"),
        ({"model": {"type": "Unigram", "unk_id": 0, "vocab": [["x" * 1000, 0.0]] * 5000}}, "too many characters"),
        ({"added_tokens": [{"content": "x" * 1000}] * 5000}, "too many added tokens"),
        ({"post_processor": {**TEMPLATE, "single": [A] * 12}}, "several times"),
        ({"post_processor": {**TEMPLATE, "single": [A] * 17}}, "more than 16 tokens"),
        ({"post_processor": {**TEMPLATE, "single": [A], "special_tokens": {
            "x": {"id": "x", "ids": [0] * 9, "tokens": ["x"] * 9}}}}, "several tokens in the place"),
    ],
)  # fmt: skip
def test_what_takes_much_memory_or_time_is_refused(parts: dict[str, Any], told: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(hostile(**parts)))
    with pytest.raises(TeacherUnusable, match=told):
        TextEncoder(path, max_length=8)


def test_an_entry_that_is_there_twice_is_the_one_that_was_checked(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    text = json.dumps(hostile(normalizer=replace(LETTER, "b")))
    path.write_text(text.replace('"content": "b"', f'"content": "{"b" * 10_000}", "content": "b"'))
    assert TextEncoder(path, max_length=512).encode(["a"])["input_ids"].shape == (1, 3)


@pytest.mark.parametrize("parts", [[], "x", 1, {"type": 3}, {"type": "Sequence"}, {"type": "Replace", "pattern": 3}])
def test_nonsense_is_refused_in_a_sentence(parts: Any, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    for name in ("normalizer", "pre_tokenizer", "post_processor", "model", "added_tokens"):
        path.write_text(json.dumps(hostile(**{name: parts})))
        with pytest.raises(TeacherUnusable, match=r"tokenizer\.json"):
            TextEncoder(path, max_length=8).encode(["a"])
        if parts == []:
            break


def test_a_validation_tells_why(text_folder: Path, tmp_path: Path, make_teacher: Callable[..., Teacher]) -> None:
    for file in text_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    described = json.loads((tmp_path / "tokenizer.json").read_text())
    described["normalizer"] = replace(LETTER, "b" * 10_000)
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    verdict = validate_teacher(make_teacher("text", {"kind": "transformers"}), tmp_path, threads=1)
    assert verdict.status is TeacherStatus.REJECTED
    assert verdict.reason is not None
    assert "replacement of more than 16 characters" in verdict.reason
    assert "ONNX" in verdict.reason


def test_the_worst_that_passes_takes_little_memory_and_time(tmp_path: Path) -> None:
    """Each letter becomes 4,096 characters, and the texts are as long as a probe may have them."""
    described = hostile(
        normalizer=sequence(
            "normalizers", [replace({"String": letter}, other * 16) for letter, other in ("ab", "bc", "cd")]
        )
    )
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(described))
    encoder = TextEncoder(path, max_length=512)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    found = encoder.encode(["a" * 100_000] * 16)["input_ids"]
    assert found.shape[0] == 16
    assert time.perf_counter() - started < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024


def test_growth_of_unicode_forms_is_bounded_as_written() -> None:
    for form, most in (("NFC", 3), ("NFD", 3), ("NFKC", 11), ("NFKD", 11)):
        for code in range(0x110000):
            letter = chr(code)
            if not 0xD800 <= code < 0xE000:
                made = unicodedata.normalize(form, letter)  # type: ignore[arg-type]
                assert made == letter or len(made.encode()) <= most * len(letter.encode())
