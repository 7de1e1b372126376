"""Text teachers against transformers itself: the same tokens, the same logits.

The reference is what a user of transformers writes: ``model(**tokenizer(text, truncation=True))``, one text at a time.
"""

import json
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from preceptor.contract.base import now
from preceptor.contract.ids import TEACHER, new_id
from preceptor.contract.teachers import Teacher, TeacherStatus
from worker.teachers.interface import Items
from worker.teachers.preprocessing.texts import TextEncoder
from worker.teachers.sources import transformers as source

TOLERANCE: Final = 1e-4
_LABELS: Final = ("refund", "delivery", "complaint", "praise")
_POSITIONS: Final = 48
_VOCABULARY: Final = 600
_SCRIPTS: Final = {
    "Latin": "abcdefghijklmnopqrstuvwxyzABCDEFGéèüñçøßœİ",
    "Cyrillic": "абвгдежзиклмнопрстуфхцчшщыэюяЁЖЙ",
    "Greek": "αβγδεζηθικλμνξοπρσςτυφχψωΆΈΣ",
    "Arabic": "ابتثجحخدذرزسشصضطظعغفقكلمنهويﷺ",
    "Hebrew": "אבגדהוזחטיכלמנסעפצקרשת",
    "Devanagari": "अआइईउऊएऐओऔकखगघचछजझटठडढतथदधनपफबभमयरलवशषसह\u093e\u093f\u0940\u094d",
    "Bengali": "অআইঈউকখগঘচছজঝটঠডঢতথদধনপফবভমযরলশষসহ\u09be\u09bf",
    "Thai": "กขคงจฉชซญดตถทธนบปผฝพฟภมยรลวศษสหอะาเแโ\u0e34\u0e48",
    "Han": "的一是不了人我在有他这中大来上国个到说们为子和你地出道也时年銀行訂單退款",
    "Kana": "あいうえおかきくけこさしすせそたちつてとなにアイウエオカキガギパピーｱｲｳ",
    "Hangul": "가나다라마바사아자차카타파하한국어주문환불각난달",
    "Georgian": "აბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰ",
}
_BETWEEN: Final = (
    " ",
    " ",
    " ",
    " ",
    "  ",
    ", ",
    ". ",
    "! ",
    "\n",
    "\t",
    " - ",
    "'s ",
    " ``",
    "'' ",
    "/",
    " 🙂 ",
    "\u00a0",
    "👩‍👩‍👧 ",
)


def sample_texts(count: int, seed: int = 0) -> list[str]:
    """Texts of random words, a twelfth in each script, some mixed, some empty, some longer than any model reads."""
    chance = random.Random(seed)
    names = list(_SCRIPTS)
    texts = ["", " ", "\n\n", "a", "[SEP] </s> <pad> [MASK]", "e\u0301 é ﬁ ① Ａ", "word " * 200, "x" * 300]
    for number in range(len(texts), count):
        script = names[number % len(names)]
        words: list[str] = []
        for _ in range(chance.choice((1, 2, 5, 12, 40, 150))):
            letters = _SCRIPTS[script if chance.random() < 0.9 else chance.choice(names)]
            # Few first letters, so that words repeat and merges are learned.
            word = "".join(chance.choice(letters[: 2 + 3 * place]) for place in range(chance.randint(1, 8)))
            words += [str(chance.randint(0, 99999)) if chance.random() < 0.05 else word, chance.choice(_BETWEEN)]
        texts.append("".join(words))
    return texts[:count]


@dataclass(frozen=True)
class Architecture:
    """A small classifier and how its tokenizer is made."""

    name: str
    config: Callable[..., Any]
    tokenizer: Callable[[list[str]], Any]
    tokenizer_class: str
    marks: dict[str, str]
    own: dict[str, Any] = field(default_factory=dict[str, Any])
    """Options of tokenizer_config.json that concern this kind of tokenizer."""


_BERT: Final = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
                "mask_token": "[MASK]"}  # fmt: skip
_ROBERTA: Final = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>",
                   "mask_token": "<mask>", "cls_token": "<s>", "sep_token": "</s>"}  # fmt: skip
_MPNET: Final = {**_ROBERTA, "unk_token": "[UNK]"}
_ALBERT: Final = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "[CLS]", "sep_token": "[SEP]",
                  "mask_token": "[MASK]", "bos_token": "[CLS]", "eos_token": "[SEP]"}  # fmt: skip
_DEBERTA: Final = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
                   "mask_token": "[MASK]", "bos_token": "[CLS]", "eos_token": "[SEP]"}  # fmt: skip
_END: Final = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
_LLAMA: Final = {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"}
_QWEN_PATTERN: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _special(marks: dict[str, str]) -> list[str]:
    return list(dict.fromkeys(marks.values()))


def _around(tokenizer: Any, start: str, end: str) -> None:
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start} $A {end} $B:1 {end}:1",
        special_tokens=[(mark, tokenizer.token_to_id(mark)) for mark in (start, end)],
    )


def _word_piece(marks: dict[str, str], start: str, end: str) -> Callable[[list[str]], Any]:
    def make(texts: list[str]) -> Any:
        tokenizer: Any = Tokenizer(models.WordPiece(unk_token=marks["unk_token"]))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(
            vocab_size=_VOCABULARY, special_tokens=_special(marks), show_progress=False, limit_alphabet=400
        )
        tokenizer.train_from_iterator(texts, trainer)
        _around(tokenizer, start, end)
        return tokenizer

    return make


def _byte_level(marks: dict[str, str], pattern: str | None = None, ends: bool = False) -> Callable[[list[str]], Any]:
    def make(texts: list[str]) -> Any:
        tokenizer: Any = Tokenizer(models.BPE())
        if pattern is None:
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        else:
            tokenizer.normalizer = normalizers.NFC()
            tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
                [pre_tokenizers.Split(Regex(pattern), "isolated"),
                 pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
            )  # fmt: skip
        trainer = trainers.BpeTrainer(
            vocab_size=_VOCABULARY,
            special_tokens=_special(marks),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        tokenizer.post_processor = (
            processors.RobertaProcessing(
                (marks["eos_token"], tokenizer.token_to_id(marks["eos_token"])),
                (marks["bos_token"], tokenizer.token_to_id(marks["bos_token"])),
                add_prefix_space=False,
            )
            if ends
            else processors.ByteLevel(trim_offsets=False)
        )
        return tokenizer

    return make


def _unigram(marks: dict[str, str], start: str, end: str) -> Callable[[list[str]], Any]:
    def make(texts: list[str]) -> Any:
        tokenizer: Any = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=_VOCABULARY,
            special_tokens=_special(marks),
            unk_token=marks["unk_token"],
            show_progress=False,
            n_sub_iterations=1,
        )
        tokenizer.train_from_iterator([text for text in texts if text.strip()], trainer)
        _around(tokenizer, start, end)
        return tokenizer

    return make


def _small(kind: str, **more: Any) -> Callable[..., Any]:
    """The config of a small model, once its vocabulary is known."""

    def make(**values: Any) -> Any:
        from transformers import AutoConfig

        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
        return AutoConfig.for_model(kind, **{**sizes, **values, **more})

    return make


def _after_padding(kind: str) -> Callable[..., Any]:
    # Positions of this family start behind the padding token's number.
    return _small(kind, max_position_embeddings=_POSITIONS + 2, pad_token_id=1, type_vocab_size=1)


def architectures() -> list[Architecture]:
    """Ten architectures with the tokenizers of their families."""
    lower = {"do_lower_case": False, "strip_accents": False, "tokenize_chinese_chars": False}
    prefix = {"add_prefix_space": True}
    rotary = {"num_key_value_heads": 1, "pad_token_id": None}
    return [
        Architecture("bert", _small("bert"), _word_piece(_BERT, "[CLS]", "[SEP]"), "BertTokenizer", _BERT, lower),
        Architecture(
            "distilbert",
            _small("distilbert", dim=32, n_layers=2, n_heads=2, hidden_dim=48),
            _word_piece(_BERT, "[CLS]", "[SEP]"), "DistilBertTokenizer", _BERT, lower,
        ),
        Architecture(
            "electra", _small("electra", embedding_size=32), _word_piece(_BERT, "[CLS]", "[SEP]"), "ElectraTokenizer",
            _BERT, {"do_lower_case": False},
        ),
        Architecture("mpnet", _after_padding("mpnet"), _word_piece(_MPNET, "<s>", "</s>"), "MPNetTokenizer", _MPNET,
                     {"do_lower_case": False}),
        Architecture("roberta", _after_padding("roberta"), _byte_level(_ROBERTA, ends=True), "RobertaTokenizer",
                     _ROBERTA, prefix),
        Architecture(
            "gpt2", _small("gpt2", n_embd=32, n_layer=2, n_head=2, n_positions=_POSITIONS, bos_token_id=0,
                           eos_token_id=0),
            _byte_level(_END), "GPT2Tokenizer", _END, prefix,
        ),
        Architecture("qwen2", _small("qwen2", **rotary), _byte_level(_END, _QWEN_PATTERN), "Qwen2Tokenizer", _END,
                     {"split_special_tokens": True}),
        Architecture("llama", _small("llama", **rotary), _byte_level(_LLAMA, _QWEN_PATTERN, ends=True),
                     "PreTrainedTokenizerFast", _LLAMA, {"model_input_names": ["input_ids", "attention_mask"]}),
        Architecture("albert", _small("albert", embedding_size=32), _unigram(_ALBERT, "[CLS]", "[SEP]"),
                     "AlbertTokenizer", _ALBERT, {"do_lower_case": False, "keep_accents": True}),
        Architecture("xlm-roberta", _after_padding("xlm-roberta"), _unigram(_ROBERTA, "<s>", "</s>"),
                     "XLMRobertaTokenizer", _ROBERTA, prefix),
        Architecture(
            "deberta-v2",
            _small("deberta-v2", relative_attention=True, pos_att_type=["p2c", "c2p"], type_vocab_size=0),
            _unigram(_DEBERTA, "[CLS]", "[SEP]"), "DebertaV2Tokenizer", _DEBERTA,
            {"do_lower_case": True, "split_by_punct": True},
        ),
    ]  # fmt: skip


def settings_of(architecture: Architecture) -> dict[str, dict[str, Any]]:
    """Five contents of tokenizer_config.json."""
    return {
        "as saved": {},
        "truncation_side left": {"truncation_side": "left"},
        "model_max_length 16": {"model_max_length": 16},
        "padding_side left": {"padding_side": "left", "chat_template": "{{ messages }}"},
        ", ".join(f"{name} {value}" for name, value in architecture.own.items()): architecture.own,
    }


def make_folder(architecture: Architecture, folder: Path, texts: list[str]) -> None:
    """Write a random small model and a tokenizer that was trained on the texts."""
    from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

    tokenizer = architecture.tokenizer(texts)
    saved = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=_POSITIONS, **architecture.marks)  # pyright: ignore[reportArgumentType]
    saved.save_pretrained(folder)
    torch.manual_seed(0)
    config = architecture.config(
        vocab_size=tokenizer.get_vocab_size(with_added_tokens=True),
        max_position_embeddings=_POSITIONS,
        id2label=dict(enumerate(_LABELS)),
        label2id={label: number for number, label in enumerate(_LABELS)},
    )
    model = AutoModelForSequenceClassification.from_config(config).eval()
    for values in model.parameters():
        if values.ndim == 2:
            # Large enough that another token changes the logits far beyond the tolerance.
            torch.nn.init.normal_(values, std=1.5 / values.shape[1] ** 0.5)
    model.save_pretrained(folder)


def _configure(folder: Path, architecture: Architecture, options: dict[str, Any], saved: dict[str, Any]) -> None:
    content = {**saved, "tokenizer_class": architecture.tokenizer_class, **options}
    (folder / "tokenizer_config.json").write_text(json.dumps(content))


def compare(folder: Path, texts: list[str], run_through: int) -> dict[str, Any]:
    """Tokens of all texts and logits of the first few, by the product and by transformers.

    Returns
    -------
    dict
        `texts`, `other_tokens` (texts read differently), `logits` (largest difference over the texts run through).
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    expected: list[list[int]] = [tokenizer(text, truncation=True)["input_ids"] for text in texts]
    encoder = TextEncoder(folder / "tokenizer.json", max_length=_POSITIONS, config=model.config)
    other = sum(ids != wanted for (ids, _), wanted in zip(encoder.rows(texts), expected, strict=True))

    # transformers cannot run a text without any token.
    chosen = [text for text, ids in zip(texts, expected, strict=True) if ids][:run_through]
    with torch.inference_mode():
        wanted = [model(**tokenizer(text, truncation=True, return_tensors="pt")).logits[0].numpy() for text in chosen]
    loaded = source.load(_registered(), folder, device="cpu", threads=1)
    found = loaded.predict(Items(texts=chosen)).logits
    loaded.close()
    return {
        "texts": len(texts),
        "other_tokens": other,
        "logits": float(np.abs(found - np.stack(wanted)).max()),
    }


def _registered() -> Teacher:
    return Teacher.model_validate(
        {
            "id": new_id(TEACHER), "name": "small", "status": TeacherStatus.VALIDATING, "modality": "text",
            "source": {"kind": "transformers"}, "created_at": now(), "updated_at": now(),
        }
    )  # fmt: skip


def rows(short: bool) -> Iterator[dict[str, Any]]:
    """One row for each architecture and setting."""
    texts = sample_texts(72 if short else 2000)
    for architecture in architectures():
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            make_folder(architecture, folder, texts[: 72 if short else 400])
            saved = json.loads((folder / "tokenizer_config.json").read_text())
            settings = settings_of(architecture)
            # In short: the side that is cut, and the option of this kind of tokenizer.
            for name in list(settings)[1::3] if short else settings:
                _configure(folder, architecture, settings[name], saved)
                row = compare(folder, texts, 12 if short else 64)
                yield {
                    "kind": "texts",
                    "architecture": architecture.name,
                    "setting": name,
                    **row,
                    "holds": row["other_tokens"] == 0 and row["logits"] <= TOLERANCE,
                }


def run(short: bool) -> list[dict[str, Any]]:
    """All rows: dictionaries with `kind`, `architecture`, `setting` and `holds`, beside the measured values."""
    return list(rows(short))
