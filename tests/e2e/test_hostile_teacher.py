"""A teacher that behaves while it is looked at, and asks for all memory over a probe: one row of the answer."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from preceptor import Client
from service.cli.dev_stack import Stack
from tests import digits_zoo

TAG = "hostile"


def write_greedy(folder: Path) -> Path:
    """Ten digits; beyond eight items in a batch it asks for 32 GiB for each."""
    nodes = [
        helper.make_node("Shape", ["x"], ["items"], end=1),
        helper.make_node("Sub", ["items", "eight"], ["over"]),
        helper.make_node("Max", ["over", "nothing"], ["excess"]),
        helper.make_node("Mul", ["excess", "factor"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["big"]),
        helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
        helper.make_node("Gemm", ["x", "w"], ["z"]),
        helper.make_node("Add", ["z", "sum"], ["logits"]),
    ]
    constants = {
        "w": np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32),
        "eight": np.array([8], dtype=np.int64),
        "nothing": np.array([0], dtype=np.int64),
        "factor": np.array([2**33], dtype=np.int64),
    }
    graph = helper.make_graph(
        nodes,
        "greedy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    target = folder / "greedy"
    target.mkdir()
    onnx.save(model, target / "model.onnx")
    source = {"kind": "onnx", "preprocessing": {"modality": "features", "dimension": 64}}
    (target / "teacher.json").write_text(
        json.dumps({"name": "greedy", "modality": "features", "labels": digits_zoo.NAMES, "source": source})
    )
    return target


def test_the_job_goes_on_without_it(stack: Stack, client: Client, tmp_path: Path) -> None:
    good = client.teachers.add_folder(digits_zoo.write_teacher(tmp_path, "good", list(range(10))), tags=[TAG])
    greedy = client.teachers.add_folder(write_greedy(tmp_path), tags=[TAG])
    assert (good.status, greedy.status) == ("ready", "ready")
    probe = client.probes.upload(digits_zoo.probe([1, 2, 3], 900, 1100, per_class=10), format="npz")
    worker = stack.process("worker-recommend")
    for _ in range(2):
        result = client.recommendations.create(probe=probe.id, tags=[TAG]).wait(timeout=60)
        assert [row.teacher for row in result.ranking] == [good.id]
        assert [row.teacher for row in result.skipped] == [greedy.id]
        assert "memory" in result.skipped[0].reason
    assert stack.process("worker-recommend") is worker
    assert worker.poll() is None
