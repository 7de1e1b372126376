"""Registrations, and a linear classifier of vectors as ONNX."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from preceptor.contract.base import now
from preceptor.contract.ids import TEACHER, new_id
from preceptor.contract.teachers import Teacher, TeacherStatus


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


@pytest.fixture
def onnx_folder(tmp_path: Path) -> Callable[..., Path]:
    """A folder with `x -> nodes -> logits`, six numbers (or another shape) in, three out."""

    def make(
        nodes: list[Any] | None = None, constants: dict[str, Any] | None = None, shape: list[str | int] | None = None
    ) -> Path:
        rows = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
        graph = helper.make_graph(
            nodes or [helper.make_node("Gemm", ["x", "w"], ["logits"])],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape or ["n", 6])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
            [numpy_helper.from_array(v, k) for k, v in ({"w": rows} | (constants or {})).items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
        return tmp_path

    return make


@pytest.fixture
def endless_body() -> onnx.GraphProto:
    """The body of an ONNX Loop that hands on what it gets, for as many trips as it is told."""
    return helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["v"], ["w2"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w2", TensorProto.FLOAT, None),
        ],
    )
