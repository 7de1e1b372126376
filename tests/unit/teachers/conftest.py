"""Small real models of every source, built once a session."""

import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from preceptor.contract.base import now
from preceptor.contract.ids import TEACHER, new_id
from preceptor.contract.teachers import Teacher, TeacherStatus

IMAGE_LABELS = ["cat", "dog", "red fox"]
TEXT_LABELS = ["refund", "delivery", "complaint", "praise"]
PICTURES = {"modality": "image", "size": [32, 32], "mean": [127.0], "std": [128.0]}
VECTORS = {"modality": "features", "dimension": 6}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Two cores are shared by all tests; sums must not depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def make_teacher() -> Callable[..., Teacher]:
    """A registration: `make_teacher(modality, source, labels)`."""

    def make(modality: str, source: dict[str, Any], labels: list[str] | None = None) -> Teacher:
        return Teacher.model_validate(
            {
                "id": new_id(TEACHER),
                "name": "a teacher",
                "status": TeacherStatus.VALIDATING,
                "source": source,
                "modality": modality,
                "labels": labels,
                "created_at": now(),
                "updated_at": now(),
            }
        )

    return make


@pytest.fixture(scope="session")
def picture() -> Callable[..., bytes]:
    """An encoded picture of noise: `picture(width, height, seed)`."""

    def make(width: int = 50, height: int = 40, seed: int = 0, kind: str = "PNG") -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind)
        return buffer.getvalue()

    return make


@pytest.fixture(scope="session")
def image_model() -> Any:
    """A ResNet with three classes."""
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    config = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16],
        depths=[1, 1],
        layer_type="basic",
        id2label=dict(enumerate(IMAGE_LABELS)),
        label2id={label: number for number, label in enumerate(IMAGE_LABELS)},
    )
    return ResNetForImageClassification(config).eval()


@pytest.fixture(scope="session")
def image_processor() -> Any:
    """The ResNet's preprocessing, in Pillow."""
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    return ViTImageProcessorPil(size={"height": 32, "width": 32})


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory, image_model: Any, image_processor: Any) -> Path:
    """The ResNet, saved."""
    folder = tmp_path_factory.mktemp("resnet")
    image_model.save_pretrained(folder)
    image_processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def text_model() -> Any:
    """A BERT with four classes."""
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=64,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
        id2label=dict(enumerate(TEXT_LABELS)),
        label2id={label: number for number, label in enumerate(TEXT_LABELS)},
    )
    return BertForSequenceClassification(config).eval()


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A word-piece tokenizer with [CLS] and [SEP]."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "where", "is", "my", "order", "?", "money", "back", "please"]
    pieces = words + list("abcdefghijklmnopqrst") + [f"##{letter}" for letter in "abcdefghijkl"]
    tokenizer = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory, text_model: Any, tokenizer_file: Path) -> Path:
    """The BERT and its tokenizer, saved."""
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    text_model.save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(tokenizer_file),
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=24,
    )
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def spoilt(tmp_path: Path) -> Callable[..., Path]:
    """A copy of a folder with changes: `spoilt(folder, config={...})` merges into config.json."""

    def copy(folder: Path, *, config: dict[str, Any] | None = None, without: str | None = None) -> Path:
        target = tmp_path / "copy"
        shutil.copytree(folder, target)
        if config is not None:
            path = target / "config.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | config))
        if without is not None:
            (target / without).unlink()
        return target

    return copy


@pytest.fixture(scope="session")
def linear_weights() -> tuple[np.ndarray, np.ndarray]:
    """Rows (3, 6) and bias (3,) of a linear classifier."""
    rng = np.random.default_rng(5)
    return rng.normal(size=(3, 6)).astype(np.float32), rng.normal(size=3).astype(np.float32)


@pytest.fixture
def onnx_vectors(linear_weights: tuple[np.ndarray, np.ndarray]) -> Callable[..., onnx.ModelProto]:
    """A linear classifier of vectors as ONNX, with a hidden ReLU: `onnx_vectors(batch, softmax, features)`."""

    def make(
        batch: int | str = "batch", *, softmax: bool = False, features: bool = False, opset: int = 18
    ) -> onnx.ModelProto:
        rows, bias = linear_weights
        nodes = [
            helper.make_node("Relu", ["x"], ["features"]),
            helper.make_node("Gemm", ["features", "w", "b"], ["z"], transB=1),
            helper.make_node("Softmax" if softmax else "Identity", ["z"], ["out"]),
        ]
        outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, [batch, 3])]
        if features:
            outputs.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, [batch, 6]))
        graph = helper.make_graph(
            nodes,
            "linear",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 6])],
            outputs,
            [numpy_helper.from_array(rows, "w"), numpy_helper.from_array(bias, "b")],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)

    return make


@pytest.fixture
def saved_onnx(tmp_path: Path) -> Callable[[onnx.ModelProto], Path]:
    """A folder with a model as `model.onnx`."""

    def save(model: onnx.ModelProto) -> Path:
        (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
        return tmp_path

    return save
