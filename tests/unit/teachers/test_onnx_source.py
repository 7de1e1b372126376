"""ONNX teachers: the numbers of the graph, and a reason for every file that is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from preceptor.contract.teachers import Teacher, TeacherStatus
from worker.teachers.errors import TeacherUnusable
from worker.teachers.interface import Items
from worker.teachers.loading import load_teacher
from worker.teachers.validation import Verdict, validate_teacher

LABELS = ["cat", "dog", "fox"]
VECTORS = {"kind": "onnx", "preprocessing": {"modality": "features", "dimension": 6}}
PROBABILITIES = VECTORS | {"output": "probabilities"}
Make = Callable[..., Teacher]
Model = Callable[..., onnx.ModelProto]
Save = Callable[[onnx.ModelProto], Path]
Weights = tuple[np.ndarray, np.ndarray]


def judged(teacher: Teacher, folder: Path) -> Verdict:
    """In this process: the child process has its own tests."""
    return validate_teacher(teacher, folder, isolate=False)


def expected(vectors: np.ndarray, weights: Weights) -> np.ndarray:
    rows, bias = weights
    return np.maximum(vectors, 0) @ rows.T + bias


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(7, 6)).astype(np.float32)


@pytest.mark.parametrize("batch", ["batch", 7, 1, 3])
def test_any_batch_axis_gives_the_same_logits(
    batch: int | str,
    vectors: np.ndarray,
    onnx_vectors: Model,
    saved_onnx: Save,
    make_teacher: Make,
    linear_weights: Weights,
) -> None:
    folder = saved_onnx(onnx_vectors(batch))
    teacher = load_teacher(make_teacher("features", VECTORS, LABELS), folder, threads=1)
    found = teacher.predict(Items(features=vectors))
    assert np.allclose(found.logits, expected(vectors, linear_weights), atol=1e-5)
    assert teacher.parameters == 21
    assert teacher.classes == 3
    teacher.close()


def test_the_last_linear_layer_is_found(
    vectors: np.ndarray, onnx_vectors: Model, saved_onnx: Save, make_teacher: Make, linear_weights: Weights
) -> None:
    for shown in (False, True):
        teacher = load_teacher(make_teacher("features", VECTORS, LABELS), saved_onnx(onnx_vectors(features=shown)))
        found = teacher.predict(Items(features=vectors))
        assert found.features is not None
        assert np.array_equal(found.features, np.maximum(vectors, 0))
        assert teacher.class_weights is not None
        assert np.array_equal(teacher.class_weights, linear_weights[0])


def test_matmul_and_add_are_a_linear_layer(
    vectors: np.ndarray, saved_onnx: Save, make_teacher: Make, linear_weights: Weights
) -> None:
    rows, bias = linear_weights
    nodes = [
        helper.make_node("Tanh", ["features"], ["h"]),
        helper.make_node("MatMul", ["h", "w"], ["m"]),
        helper.make_node("Add", ["b", "m"], ["logits"]),
    ]
    model = graph_of(nodes, {"w": rows.T, "b": bias}, inputs={"features": ["n", 6]}, outputs={"logits": ["n", 3]})
    teacher = load_teacher(make_teacher("features", VECTORS, LABELS), saved_onnx(model))
    found = teacher.predict(Items(features=vectors))
    assert np.allclose(found.logits, np.tanh(vectors) @ rows.T + bias, atol=1e-5)
    assert np.array_equal(teacher.class_weights, rows)
    assert found.features is not None
    assert np.allclose(found.features, np.tanh(vectors), atol=1e-6)


def graph_of(
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    *,
    inputs: dict[str, list[Any]],
    outputs: dict[str, list[Any]],
    kind: int = TensorProto.FLOAT,
    opsets: list[onnx.OperatorSetIdProto] | None = None,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=opsets or [helper.make_opsetid("", 18)], ir_version=10)


def test_probabilities_become_their_logarithms(
    vectors: np.ndarray, onnx_vectors: Model, saved_onnx: Save, make_teacher: Make, linear_weights: Weights
) -> None:
    teacher = load_teacher(make_teacher("features", PROBABILITIES, LABELS), saved_onnx(onnx_vectors(softmax=True)))
    found = teacher.predict(Items(features=vectors))
    scores = np.exp(expected(vectors, linear_weights))
    assert np.allclose(np.exp(found.logits), scores / scores.sum(axis=1, keepdims=True), atol=1e-5)


def test_logits_called_probabilities_are_refused(onnx_vectors: Model, saved_onnx: Save, make_teacher: Make) -> None:
    verdict = judged(make_teacher("features", PROBABILITIES, LABELS), saved_onnx(onnx_vectors()))
    assert "registered as probabilities, but a row sums to" in (verdict.reason or "")


def test_vectors_are_standardised(
    vectors: np.ndarray, onnx_vectors: Model, saved_onnx: Save, make_teacher: Make, linear_weights: Weights
) -> None:
    source = {"kind": "onnx", "preprocessing": VECTORS["preprocessing"] | {"mean": 2.0, "std": 4.0}}
    teacher = load_teacher(make_teacher("features", source, LABELS), saved_onnx(onnx_vectors()))
    found = teacher.predict(Items(features=vectors))
    assert np.allclose(found.logits, expected((vectors - 2) / 4, linear_weights), atol=1e-5)
    with pytest.raises(TeacherUnusable, match="dimension 6, the probe has 5"):
        teacher.predict(Items(features=vectors[:, :5]))


def pooled(shape: list[Any], kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """Mean over all pixels of each channel, as three logits."""
    axes = [2, 3] if shape[1] == 3 else [1, 2]
    nodes = [
        helper.make_node("Cast", ["pixels"], ["p"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["p", "axes"], ["logits"], keepdims=0),
    ]
    constants = {"axes": np.array(axes, dtype=np.int64)}
    return graph_of(nodes, constants, inputs={"pixels": shape}, outputs={"logits": ["n", 3]}, kind=kind)


@pytest.mark.parametrize(
    ("shape", "layout", "kind"),
    [
        (["n", 3, 32, 32], "NCHW", TensorProto.FLOAT),
        ([1, 3, "h", "w"], "NCHW", TensorProto.FLOAT16),
        (["n", 32, 32, 3], "NHWC", TensorProto.DOUBLE),
    ],
)
def test_pictures_reach_the_graph(
    shape: list[Any], layout: str, kind: int, saved_onnx: Save, make_teacher: Make, picture: Any
) -> None:
    preprocessing = {"modality": "image", "size": [32, 32], "mean": [127.0], "std": [128.0], "layout": layout}
    teacher = load_teacher(
        make_teacher("image", {"kind": "onnx", "preprocessing": preprocessing}, LABELS),
        saved_onnx(pooled(shape, kind)),
    )
    items = [picture(32, 32, seed) for seed in (1, 2)]
    found = teacher.predict(Items(images=items))
    for row, seed in zip(found.logits, (1, 2), strict=True):
        pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        assert np.allclose(row, (pixels.mean(axis=(0, 1)) - 127) / 128, atol=2e-3)


@pytest.mark.parametrize(
    ("change", "shape", "told"),
    [
        ({}, ["n", 3, 64, 64], "is any x 3 x 64 x 64, but the preprocessing makes any x 3 x 32 x 32"),
        ({"channels": "gray"}, ["n", 3, 32, 32], "makes any x 1 x 32 x 32"),
        ({"layout": "NHWC"}, ["n", 3, 32, 32], "makes any x 32 x 32 x 3"),
        ({"mean": [1.0, 2.0]}, ["n", 3, 32, 32], "preprocessing.mean has 2 values for 3 colour channels"),
    ],
)
def test_preprocessing_must_fit_the_graph(
    change: dict[str, Any], shape: list[Any], told: str, saved_onnx: Save, make_teacher: Make
) -> None:
    preprocessing = {"modality": "image", "size": [32, 32]} | change
    teacher = make_teacher("image", {"kind": "onnx", "preprocessing": preprocessing}, LABELS)
    verdict = judged(teacher, saved_onnx(pooled(shape)))
    assert verdict.status is TeacherStatus.REJECTED
    assert told in (verdict.reason or "")


def bag_of_tokens(axis: int | str = "length", second: str = "attention_mask") -> onnx.ModelProto:
    """Mean embedding of the tokens that count, as three logits."""
    table = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["e"]),
        helper.make_node("Cast", [second], ["m"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["m", "last"], ["mask"]),
        helper.make_node("Mul", ["e", "mask"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "one"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "one"], ["count"], keepdims=0),
        helper.make_node("Div", ["sum", "count"], ["logits"]),
    ]
    constants = {"table": table, "last": np.array([2]), "one": np.array([1])}
    shapes = {"input_ids": ["n", axis], second: ["n", axis]}
    return graph_of(nodes, constants, inputs=shapes, outputs={"logits": ["n", 3]}, kind=TensorProto.INT64)


TEXT = {"kind": "onnx", "preprocessing": {"modality": "text", "max_length": 12}}


def test_texts_reach_the_graph(saved_onnx: Save, make_teacher: Make, tokenizer_file: Path) -> None:
    folder = saved_onnx(bag_of_tokens())
    (folder / "tokenizer.json").write_bytes(tokenizer_file.read_bytes())
    teacher = make_teacher("text", TEXT, LABELS)
    assert judged(teacher, folder).status is TeacherStatus.READY
    loaded = load_teacher(teacher, folder)
    together = loaded.predict(Items(texts=["where is my order", "?"])).logits
    alone = loaded.predict(Items(texts=["?"])).logits
    assert np.allclose(together[1:], alone, atol=1e-6)
    table = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    assert np.allclose(alone[0], table[[2, 8, 3]].mean(axis=0), atol=1e-6)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (bag_of_tokens(12), "texts of exactly 12 tokens; export it with a dynamic axis 1"),
        (bag_of_tokens(second="mask_of_words"), "inputs ['input_ids', 'mask_of_words'], the preprocessing makes"),
    ],
)
def test_text_inputs_must_fit(
    model: onnx.ModelProto, told: str, saved_onnx: Save, make_teacher: Make, tokenizer_file: Path
) -> None:
    folder = saved_onnx(model)
    (folder / "tokenizer.json").write_bytes(tokenizer_file.read_bytes())
    assert told in (judged(make_teacher("text", TEXT, LABELS), folder).reason or "")


def _external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    tensor.ClearField("raw_data")


def _hidden_external(model: onnx.ModelProto) -> None:
    """A constant inside a branch of a node, pointing into the memory of the process."""
    tensor = numpy_helper.from_array(np.zeros(2, dtype=np.float32), "t")
    tensor.external_data.add(key="location", value="*/_ORT_MEM_ADDR_/*")
    branch = helper.make_graph([helper.make_node("Constant", [], ["c"], value=tensor)], "branch", [], [])
    model.graph.node.add(op_type="If", input=["x"], output=["y"]).attribute.append(
        helper.make_attribute("then_branch", branch)
    )


def _custom(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.evil"
    model.opset_import.append(helper.make_opsetid("com.evil", 1))


def _context(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.microsoft"
    model.graph.node[0].op_type = "EPContext"


def _old(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 3


def _unknown(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Relux"


def _dangling(model: onnx.ModelProto) -> None:
    model.graph.node[1].input[0] = "nowhere"


def _nan(model: onnx.ModelProto) -> None:
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.full(3, np.nan, dtype=np.float32), "b"))


def _empty(model: onnx.ModelProto) -> None:
    model.graph.ClearField("node")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_external, "keeps the tensor 'w' in another file"),
        (_hidden_external, "keeps the tensor 't' in another file"),
        (_custom, "com.evil::Relu, which is not part of ONNX"),
        (_context, "com.microsoft::EPContext"),
        (_old, "ONNX opset 3; opsets 7 to"),
        (_unknown, "Relux"),
        (_dangling, "breaks the ONNX specification"),
        (_nan, "outputs are not finite for item 0"),
        (_empty, "holds no graph"),
    ],
)
def test_a_wrong_graph_is_rejected(
    change: Callable[[onnx.ModelProto], None],
    told: str,
    onnx_vectors: Model,
    saved_onnx: Save,
    make_teacher: Make,
) -> None:
    model = onnx_vectors()
    change(model)
    verdict = judged(make_teacher("features", VECTORS, LABELS), saved_onnx(model))
    assert verdict.status is TeacherStatus.REJECTED
    assert told in (verdict.reason or "")
    assert "\n" not in (verdict.reason or "")


@pytest.mark.parametrize("keep", [0, 40, -30])
def test_a_truncated_file_is_rejected(keep: int, onnx_vectors: Model, saved_onnx: Save, make_teacher: Make) -> None:
    folder = saved_onnx(onnx_vectors())
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes()[:keep])
    verdict = judged(make_teacher("features", VECTORS, LABELS), folder)
    assert verdict.status is TeacherStatus.REJECTED
    assert "export it again" in (verdict.reason or "")


def test_outputs_must_be_as_many_as_labels(onnx_vectors: Model, saved_onnx: Save, make_teacher: Make) -> None:
    folder = saved_onnx(onnx_vectors())
    verdict = judged(make_teacher("features", VECTORS, ["cat", "dog"]), folder)
    assert verdict.reason == (
        "the model has 3 outputs but there are 2 labels; give one label for each output, in order"
    )
    (folder / "model.onnx").unlink()
    assert "model.onnx is missing" in (judged(make_teacher("features", VECTORS, LABELS), folder).reason or "")


def test_an_answer_that_depends_on_the_batch_is_refused(saved_onnx: Save, make_teacher: Make) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x", "zero"], ["m"], keepdims=1),
        helper.make_node("Sub", ["x", "m"], ["c"]),
        helper.make_node("Add", ["c", "shift"], ["d"]),
        helper.make_node("Gemm", ["d", "w"], ["logits"]),
    ]
    constants = {
        "zero": np.array([0]),
        "shift": np.full(6, 0.1, dtype=np.float32),
        "w": np.ones((6, 3), dtype=np.float32),
    }
    model = graph_of(nodes, constants, inputs={"x": ["n", 6]}, outputs={"logits": ["n", 3]})
    verdict = judged(make_teacher("features", VECTORS, LABELS), saved_onnx(model))
    assert "answers the same item differently alone and in a batch" in (verdict.reason or "")


def test_a_matrix_for_each_item_is_no_classifier(saved_onnx: Save, make_teacher: Make) -> None:
    nodes = [helper.make_node("Unsqueeze", ["x", "last"], ["logits"])]
    model = graph_of(nodes, {"last": np.array([2])}, inputs={"x": ["n", 6]}, outputs={"logits": ["n", 6, 1]})
    verdict = judged(make_teacher("features", VECTORS, LABELS), saved_onnx(model))
    assert verdict.status is TeacherStatus.REJECTED
    assert "output" in (verdict.reason or "")
