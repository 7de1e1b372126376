"""A small real zoo for tests: linear teachers of handwritten digits, as ONNX files, and probes of the same data."""

import io
import json
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """1797 pictures of 8x8 as vectors of length 64, in a fixed random order; and their classes."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    return data.data[order].astype(np.float32), data.target[order].astype(np.int64)


def write_teacher(folder: Path, name: str, classes: list[int], *, labels: list[str] | None = None) -> Path:
    """Train a linear classifier of some digits on the first 900 items and write it as a teacher's folder."""
    x, y = digits()
    chosen = np.isin(y[:900], classes)
    model = LogisticRegression(C=0.01, max_iter=2000).fit(x[:900][chosen], y[:900][chosen])
    weight, bias = model.coef_.astype(np.float32), model.intercept_.astype(np.float32)
    if len(classes) == 2:  # one row of a binary classifier
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["features", "weight", "bias"], ["logits"], transB=1)],
        "digits",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(classes)])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    target = folder / name
    target.mkdir(parents=True)
    onnx.save(made, target / "model.onnx")
    (target / "teacher.json").write_text(
        json.dumps(
            {
                "name": name,
                "modality": "features",
                "labels": labels or [NAMES[number] for number in classes],
                "source": {"kind": "onnx", "preprocessing": {"modality": "features", "dimension": 64}},
            }
        )
    )
    return target


def probe(classes: list[int], begin: int, end: int, *, per_class: int | None = None, labelled: bool = True) -> bytes:
    """Items `begin` to `end` of some digits as an `.npz`; at most `per_class` of each class."""
    x, y = digits()
    rows = [row for row in range(begin, end) if y[row] in classes]
    if per_class is not None:
        rows = [row for number in classes for row in [r for r in rows if y[r] == number][:per_class]]
    arrays: dict[str, NDArray[np.generic]] = {"features": x[rows]}
    if labelled:
        arrays["labels"] = np.array([classes.index(int(y[row])) for row in rows])
        arrays["label_names"] = np.array([NAMES[number] for number in classes])
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()
