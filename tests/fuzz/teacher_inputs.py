"""Valid teachers of every source and the ways in which their files are spoilt."""

import io
import json
import tempfile
import warnings
from pathlib import Path
from random import Random
from typing import Any, Final

import torch
from safetensors.torch import save
from torch import Tensor, nn

from .byte_mutations import damaged
from .case import SOURCE, Files
from .json_mutations import STRINGS, spoilt, text_of
from .zip_mutations import spoilt_zip

LABELS: Final = ["cat", "dog", "fox"]


class Net(nn.Module):
    """Two layers, three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(6, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of vectors of length 6."""
        return self.head(torch.relu(self.hidden(x)))


def torch_export_seeds() -> list[Files]:
    """A program over vectors, with a dynamic batch."""
    torch.manual_seed(0)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batch = torch.export.Dim("batch", min=1, max=4096)
        program = torch.export.export(Net().eval(), (torch.zeros(2, 6),), dynamic_shapes=({0: batch},))
        torch.export.save(program, buffer)
    return [{"model.pt2": buffer.getvalue()}]


def tokenizer_seeds() -> list[bytes]:
    """Word pieces, byte pairs, unigrams, words; each with normalisers and processors of its own."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    pieces = {text: n for n, text in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghij", "##a", "##b", "my"])}
    first = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
    first.normalizer = normalizers.BertNormalizer()
    first.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    first.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    first.enable_padding(pad_id=0, pad_token="[PAD]")
    second = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2, "<s>": 3}, [("a", "b")]))
    second.pre_tokenizer = pre_tokenizers.ByteLevel()
    second.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 3)])
    second.decoder = decoders.ByteLevel()
    second.enable_truncation(16)
    third = Tokenizer(models.Unigram([("<unk>", 0.0), ("▁a", -1.0), ("b", -2.0)], unk_id=0))
    third.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("x", "y")])
    third.pre_tokenizer = pre_tokenizers.Metaspace()
    fourth = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    fourth.pre_tokenizer = pre_tokenizers.Whitespace()
    fourth.add_special_tokens([AddedToken("[X]", lstrip=True), AddedToken("<y>", normalized=True)])
    return [made.to_str().encode() for made in (first, second, third, fourth)]


def transformers_seeds() -> list[Files]:
    """A picture classifier and a text classifier, as `transformers` saves them."""
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        PreTrainedTokenizerFast,
        ResNetConfig,
        ResNetForImageClassification,
    )
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    torch.manual_seed(0)
    names = dict(enumerate(LABELS))
    resnet = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", id2label=names)
    bert = BertConfig(
        vocab_size=17, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=24, id2label=names,
    )  # fmt: skip
    found: list[Files] = []
    with tempfile.TemporaryDirectory() as name:
        pictures, texts = Path(name) / "pictures", Path(name) / "texts"
        ResNetForImageClassification(resnet).save_pretrained(pictures)
        ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(pictures)
        BertForSequenceClassification(bert).save_pretrained(texts)
        (texts / "tokenizer.json").write_bytes(tokenizer_seeds()[0])
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(texts / "tokenizer.json"), pad_token="[PAD]")
        tokenizer.save_pretrained(texts)
        for folder in (pictures, texts):
            found.append({path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()})
    return found


def safetensors_seeds() -> list[bytes]:
    """Some tensors of several kinds."""
    tensors = {"a": torch.zeros(3, 4), "b": torch.ones(5, dtype=torch.int8), "c": torch.zeros(0, 2)}
    return [save(tensors, {"format": "pt"}), save({"scalar": torch.tensor(1.0, dtype=torch.bfloat16)})]


def spoil_safetensors(seeds: list[Files], rng: Random) -> Files:
    """A spoilt header with its right length or a wrong one, or damage."""
    return {SOURCE: spoilt_weights(rng.choice(seeds)[SOURCE], rng)}


def spoilt_weights(data: bytes, rng: Random) -> bytes:
    """A safetensors file with a spoilt header, or cut, or damaged."""
    length = int.from_bytes(data[:8], "little")
    if rng.random() < 0.3 or not _is_object(data[8 : 8 + length]):
        return damaged(data, rng)
    header = text_of(spoilt(json.loads(data[8 : 8 + length]), rng, _tensor_entry), rng)
    claimed = len(header) if rng.random() < 0.85 else rng.choice((0, 1, 2**31, 2**63, 2**64 - 1, len(data)))
    return claimed.to_bytes(8, "little") + header + data[8 + length :]


def _tensor_entry(rng: Random) -> Any:
    sides = rng.choice(([2**62, 4], [0, 2**63], [-1, -12], [1] * 5000, [2.5], ["3"], [True, 12], [12]))
    offsets = rng.choice(([0, 48], [0, 0], [48, 0], [0, 2**63], [-48, 0], [0], [0, 24, 48], [0.0, 48.0]))
    return {"dtype": rng.choice(("F32", "F64", "BF16", "I4", "F4", "", 7)), "shape": sides, "data_offsets": offsets}


_MODEL_KEYS: Final[tuple[tuple[str, Any], ...]] = (
    ("auto_map", {"AutoConfig": "x--y.Z"}), ("model_type", "clip"), ("model_type", "gpt2"), ("model_type", "bark"),
    ("model_type", "vision-text-dual-encoder"), ("architectures", ["os.system"]), ("hidden_act", "gelu_evil"),
    ("num_hidden_layers", 512), ("num_attention_heads", 0), ("hidden_size", 2**24), ("vocab_size", 2**24),
    ("torch_dtype", "float16"), ("dtype", "os"), ("dtype", "int8"), ("num_labels", 2**24), ("num_channels", 0),
    ("pruned_heads", {"0": [0, 1]}), ("attn_implementation", "x/y"), ("problem_type", "regression"),
    ("id2label", {str(n): str(n) for n in range(30_000)}), ("pad_token_id", 10**6), ("pad_token_id", -1),
    ("max_position_embeddings", 0), ("max_position_embeddings", 1), ("initializer_range", float("nan")),
    ("chunk_size_feed_forward", 3), ("use_cache", "yes"), ("tie_word_embeddings", True), ("is_decoder", True),
    ("transformers_weights", "/etc/passwd"), ("use_bfloat16", True), ("torchscript", True), ("depths", [512] * 512),
    ("num_hidden_layers", -1), ("layer_norm_eps", -1.0), ("hidden_dropout_prob", 5), ("position_embedding_type", "x"),
    ("return_dict", False), ("output_attentions", True), ("label2id", {"a": "b"}), ("transformers_version", "99"),
    ("image_mean", []), ("image_std", [0, 0, 0]), ("size", {"height": 0, "width": 0}), ("resample", 99),
    ("size", {"shortest_edge": 1e-9}), ("rescale_factor", float("inf")), ("image_processor_type", "os.path"),
    ("tokenizer_class", "Evil"), ("model_max_length", -5), ("model_max_length", 1e30), ("model_max_length", 1.5),
    ("pad_token", {"content": 7}), ("padding_side", 5), ("added_tokens_decoder", {"x": {}}), ("do_resize", False),
    ("crop_size", {"height": 2048, "width": 2048}), ("do_center_crop", True), ("text_config", {"model_type": "bert"}),
)  # fmt: skip


def spoil_transformers(seeds: list[Files], rng: Random) -> Files:
    """One or two of the files spoilt, lost, or those of the other model."""
    index = rng.randrange(len(seeds))
    files = dict(seeds[index])
    for _ in range(rng.choice((1, 1, 2))):
        if not files:
            break
        name = rng.choice(["config.json", *files])
        if name not in files:
            continue
        kind = rng.randrange(12)
        if kind == 0:
            del files[name]
        elif kind == 1:
            files[name] = rng.choice(list(rng.choice(seeds).values()))
        elif name.endswith(".safetensors"):
            files[name] = spoilt_weights(files[name], rng)
        elif name == "tokenizer.json":
            files[name] = spoilt_tokenizer(files[name], rng)
        elif kind < 8 and _is_object(files[name]):
            options = json.loads(files[name])
            for _ in range(rng.choice((1, 1, 3))):
                key, value = rng.choice(_MODEL_KEYS)
                options[key] = value
            files[name] = json.dumps(options).encode()
        else:
            files[name] = text_of(spoilt(json.loads(files[name]), rng), rng) if _is_object(files[name]) else b"{}"
    return files


def _is_object(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data), dict)
    except (ValueError, RecursionError):
        return False


_REGULAR: Final = ("(a+)+$", "(a|a)*b", "a{1,50000}", "(?=a", "[", "", "(.*)*\\1", "\\p{L}+", "((((((a*)*)*)*)*)*)*b")


def _tokenizer_part(rng: Random) -> Any:
    pattern = {"Regex": rng.choice(_REGULAR)}
    huge = rng.choice((2**31, 2**32 - 1, 2**63, -1, 10**6))
    return rng.choice(
        (
            {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False},
            {"type": "Replace", "pattern": pattern, "content": "a" * 1000},
            {"type": "Replace", "pattern": {"String": ""}, "content": "aa"},
            {"type": "Sequence", "pretokenizers": [], "normalizers": [], "processors": [], "decoders": []},
            {"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"String": "a"},
            "content": "a" * 50}] * 6},
            {"type": "Precompiled", "precompiled_charsmap": "AAAA////"},
            {"type": "Precompiled", "precompiled_charsmap": ""},
            {"type": "BertProcessing", "sep": ["x", huge], "cls": ["y", huge]},
            {"type": "FixedLength", "length": rng.choice((0, 1, 2**40))},
            {"type": "Prepend", "prepend": "a" * 5000},
            {"strategy": {"Fixed": huge}, "direction": "Left", "pad_to_multiple_of": rng.choice((0, huge)),
            "pad_id": huge,
             "pad_type_id": huge, "pad_token": "x"},
            {"direction": "Right", "max_length": rng.choice((0, 1, huge)), "strategy": "OnlySecond", "stride": huge},
            {"type": "Unigram", "unk_id": 9, "vocab": [["a", 0.0]], "byte_fallback": True},
            {"type": "Unigram", "unk_id": None, "vocab": [["a", "nan"], ["", 0.0]]},
            {"type": "BPE", "vocab": {"a": 0}, "merges": ["a a", "b c"], "dropout": rng.choice((2.0, 1.0))},
            {"type": "WordPiece", "vocab": {}, "unk_token": "[UNK]", "max_input_chars_per_word": rng.choice((0, huge))},
            {"id": huge, "content": rng.choice(STRINGS), "single_word": True, "lstrip": True, "rstrip": True,
             "normalized": True, "special": True},
        )
    )  # fmt: skip


def spoilt_tokenizer(data: bytes, rng: Random) -> bytes:
    """A tokenizer with absurd parts."""
    if rng.random() < 0.1 or not _is_object(data):
        return damaged(data, rng)
    value = json.loads(data)
    if rng.random() < 0.4:
        value[rng.choice(list(value) or ["model"])] = _tokenizer_part(rng)
        return json.dumps(value).encode()
    return text_of(spoilt(value, rng, _tokenizer_part), rng)


def spoil_tokenizer(seeds: list[Files], rng: Random) -> Files:
    """A tokenizer with absurd parts."""
    return {SOURCE: spoilt_tokenizer(rng.choice(seeds)[SOURCE], rng)}


def _program_part(rng: Random) -> Any:
    target = rng.choice((
        "torch.ops.aten.repeat.default", "torch.ops.aten.expand.default", "torch.ops.aten.pow.Tensor_Scalar",
        "torch.ops.aten.full.default", "torch.ops.aten.cat.default", "torch.ops.aten.as_strided.default",
        "torch.ops.aten.view.default", "torch.ops.aten.index_select.default", "os.system", "_operator.mul",
        "torch.ops.aten.arange.start_step", "torch.ops.aten.constant_pad_nd.default", "torch.ops.aten.addmm.default",
    ))  # fmt: skip
    number = rng.choice((0, -1, 2**31, 2**40, 2**62, 2**63))
    return rng.choice(
        (
            target, {"as_int": number}, {"as_ints": [number, number]}, {"as_name": "x"},
            {"as_tensor": {"name": "p_head_weight"}},
            {"as_expr": {"expr_str": "__import__('os').system('true')", "hint": None}}, {"as_float": 1e308}, number,
            {"as_none": ()}, {"as_bool": True}, {"as_string": "../x"}, {"as_sym_int": {"as_name": "s0"}},
        )
    )  # fmt: skip


def spoil_torch_export(seeds: list[Files], rng: Random) -> Files:
    """A spoilt program, table of weights, weight or archive."""

    def inner(name: str, content: bytes, rng: Random) -> bytes:
        if name.endswith(".json") and rng.random() < 0.9:
            return text_of(spoilt(json.loads(content), rng, _program_part), rng)
        return damaged(content, rng)

    data = rng.choice(seeds)["model.pt2"]
    if rng.random() < 0.15:
        return {"model.pt2": damaged(data, rng)}
    return {"model.pt2": spoilt_zip(data, rng, inner, stored=rng.random() < 0.95)}
