"""Text teachers: a linear head on the mean of fixed word vectors, as one ONNX graph with its tokenizer.

The vectors are those of the package `wordllama` (MIT); they were trained so that their first 64, 128 or 256 columns
can be used separately. Such a teacher trains in about a second and is informative, because the vectors are.
"""

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Float32 = NDArray[np.float32]

MAX_LENGTH: Final = 128
_PENALTY: Final = 1e-3
_OPSET: Final = 18


class WordVectors:
    """The packaged vectors and their tokenizer.

    Parameters
    ----------
    columns
        Number of columns to keep: 64, 128 or 256.
    """

    def __init__(self, columns: int = 128) -> None:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        found = importlib.util.find_spec("wordllama")
        if found is None or found.origin is None:
            raise SystemExit("the demo zoo needs the package wordllama: install the extra 'demo'")
        package = Path(found.origin).parent
        table = load_file(package / "weights" / "l2_supercat_256.safetensors")["embedding.weight"]
        described: dict[str, Any] = json.loads(
            (package / "tokenizers" / "l2_supercat_tokenizer_config.json").read_text(encoding="utf-8")
        )
        # A start token in front of every text would only shift all means equally.
        described["post_processor"] = None
        self.table = np.ascontiguousarray(table[:, :columns])
        self.tokenizer_json = json.dumps(described, ensure_ascii=False)
        self._tokenizer: Any = Tokenizer.from_str(self.tokenizer_json)
        self._tokenizer.enable_truncation(MAX_LENGTH)

    def means(self, texts: Sequence[str]) -> Float32:
        """The mean vector of each text's tokens, shape (n, columns); a text without tokens is zero."""
        rows = np.zeros((len(texts), self.table.shape[1]), dtype=np.float32)
        for row, tokens in zip(rows, self._tokenizer.encode_batch(list(texts)), strict=True):
            if tokens.ids:
                row[:] = self.table[tokens.ids].astype(np.float32).mean(axis=0)
        return rows


@dataclass(frozen=True)
class LinearHead:
    """Logits = x W^T + b; W of shape (K, d), b of shape (K,)."""

    weight: Float32
    bias: Float32

    def logits(self, rows: Float32) -> Float32:
        """Shape (n, K)."""
        return rows @ self.weight.T + self.bias


def fit_head(rows: Float32, labels: NDArray[np.int64], classes: int, penalty: float = _PENALTY) -> LinearHead:
    """Multinomial logistic regression on standardised columns (L-BFGS from zero: no random numbers).

    Parameters
    ----------
    rows
        Shape (n, d).
    labels
        Class numbers, shape (n,).
    classes
        K.
    penalty
        Weight of the squared norm of W, as a share of the mean loss.
    """
    mean, deviation = rows.mean(axis=0), rows.std(axis=0) + 1e-6
    inputs, wanted = torch.from_numpy((rows - mean) / deviation), torch.from_numpy(labels)
    weight = torch.zeros(classes, rows.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=120, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = torch.nn.functional.cross_entropy(inputs @ weight.T + bias, wanted) + penalty * weight.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    with torch.no_grad():
        folded = weight.numpy() / deviation
        return LinearHead(folded.astype(np.float32), (bias.numpy() - folded @ mean).astype(np.float32))


def graph_of(vectors: WordVectors, head: LinearHead) -> onnx.ModelProto:
    """Inputs `input_ids` and `attention_mask` (B, L) int64; output `logits` (B, K). The table stays float16."""
    constants = [
        numpy_helper.from_array(vectors.table, "table"),
        numpy_helper.from_array(head.weight, "head.weight"),
        numpy_helper.from_array(head.bias, "head.bias"),
        numpy_helper.from_array(np.array([1], dtype=np.int64), "tokens_axis"),
        numpy_helper.from_array(np.array([2], dtype=np.int64), "vector_axis"),
        numpy_helper.from_array(np.array(1, dtype=np.float32), "one"),
    ]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["half"]),
        helper.make_node("Cast", ["half"], ["words"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "vector_axis"], ["mask_column"]),
        helper.make_node("Mul", ["words", "mask_column"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "tokens_axis"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "tokens_axis"], ["count"], keepdims=1),
        helper.make_node("Max", ["count", "one"], ["length"]),
        helper.make_node("Div", ["sum", "length"], ["features"]),
        helper.make_node("Gemm", ["features", "head.weight", "head.bias"], ["logits"], transB=1),
    ]
    sizes: list[int | str] = ["batch", "tokens"]
    made = helper.make_graph(
        nodes,
        "mean-of-word-vectors",
        [helper.make_tensor_value_info(name, TensorProto.INT64, sizes) for name in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(head.bias)])],
        constants,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)


def preprocessing() -> dict[str, Any]:
    """As `preceptor.contract.teachers.TextPreprocessing`."""
    return {
        "modality": "text",
        "tokenizer": "tokenizer.json",
        "max_length": MAX_LENGTH,
        "inputs": ["input_ids", "attention_mask"],
    }
