"""The same model gets the same logits with and without its final softmax or sigmoid, whatever the registration says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from preceptor.contract.teachers import Teacher, TeacherStatus
from worker.teachers.errors import TeacherUnusable
from worker.teachers.interface import Items, LoadedTeacher
from worker.teachers.loading import load_teacher
from worker.teachers.output_values import as_logits, choose_output, recognise
from worker.teachers.validation import Verdict, validate_teacher

LABELS = ["cat", "dog", "bird"]
ROWS = np.random.default_rng(3).normal(size=(3, 4)).astype(np.float32)
X = np.random.default_rng(4).normal(size=(9, 4)).astype(np.float32)
Z = X @ ROWS.T
Make = Callable[..., Teacher]


def source(kind: str = "onnx", **more: Any) -> dict[str, Any]:
    return {"kind": kind, "preprocessing": {"modality": "features", "dimension": 4}, **more}


def softmax(z: np.ndarray) -> np.ndarray:
    scores = np.exp(z - z.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


def graph(
    nodes: list[onnx.NodeProto],
    constants: dict[str, Any] | None = None,
    outputs: list[onnx.ValueInfoProto] | None = None,
    *,
    rows: np.ndarray = ROWS,
    out: list[Any] | None = None,
) -> onnx.ModelProto:
    """`z` is the linear layer's output; `nodes` follow it."""
    made = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["z"]), *nodes],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        outputs or [helper.make_tensor_value_info("out", TensorProto.FLOAT, out or ["n", len(rows)])],
        [numpy_helper.from_array(rows.T.copy(), "w")]
        + [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(made, opset_imports=opsets, ir_version=9)


def judged(
    model: onnx.ModelProto, folder: Path, make: Make, labels: list[str] | None = None, **more: Any
) -> tuple[Verdict, LoadedTeacher | None]:
    """The verdict, and the teacher as a job loads it afterwards."""
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    teacher = make("features", source(**more), labels or LABELS)
    verdict = validate_teacher(teacher, folder, isolate=False)
    if verdict.status is not TeacherStatus.READY:
        return verdict, None
    return verdict, load_teacher(teacher.model_copy(update={"output": verdict.output}), folder)


def node(kind: str, given: str = "z", made: str = "out", **more: Any) -> onnx.NodeProto:
    return helper.make_node(kind, [given], [made], **more)


SPATIAL = [helper.make_node("Unsqueeze", ["z", "axes"], ["z4"]), node("Softmax", "z4", axis=1)]
ENDINGS: dict[str, tuple[list[onnx.NodeProto], dict[str, np.ndarray], list[Any] | None]] = {
    "softmax": ([node("Softmax", axis=-1)], {}, None),
    "log_softmax": ([node("LogSoftmax", axis=-1)], {}, None),
    "softmax behind a cast": (
        [node("Cast", "z", "h", to=10), node("Softmax", "h", "p", axis=1), node("Cast", "p", "out", to=1)],
        {},
        None,
    ),
    "softmax of pooled maps": (SPATIAL, {"axes": np.array([2, 3])}, ["n", 3, 1, 1]),
    "softmax, channels last": (
        [helper.make_node("Unsqueeze", ["z", "axes"], ["z4"]), node("Softmax", "z4", axis=3)],
        {"axes": np.array([1, 2])},
        ["n", 1, 1, 3],
    ),
    "softmax written out": (
        [
            node("Exp", "z", "e"),
            helper.make_node("ReduceSum", ["e", "one"], ["s"], keepdims=1),
            helper.make_node("Div", ["e", "s"], ["out"]),
        ],
        {"one": np.array([1])},
        None,
    ),
    "plain": ([node("Identity")], {}, None),
    "plain, pooled maps": (
        [helper.make_node("Unsqueeze", ["z", "axes"], ["out"])],
        {"axes": np.array([2, 3])},
        ["n", 3, 1, 1],
    ),
}


@pytest.mark.parametrize(
    ("ending", "registered"),
    [(ending, "logits") for ending in ENDINGS]
    + [(ending, "probabilities") for ending in ENDINGS if not ending.startswith("plain")],
)
def test_any_ending_has_the_same_distribution(ending: str, registered: str, tmp_path: Path, make_teacher: Make) -> None:
    nodes, constants, out = ENDINGS[ending]
    verdict, loaded = judged(graph(nodes, constants, out=out), tmp_path, make_teacher, output=registered)
    assert verdict.reason is None
    assert loaded is not None
    found = loaded.predict(Items(features=X))
    tolerance = 2e-3 if "cast" in ending else 1e-5
    assert np.allclose(softmax(found.logits), softmax(Z), atol=tolerance)
    if ending in ("softmax", "softmax behind a cast", "softmax written out"):
        assert verdict.output == "probabilities"
        assert bool(verdict.warnings) == (registered == "logits")
    if ending in ("softmax", "log_softmax", "plain"):
        assert found.features is None, "the linear layer's input is the graph's input"


def test_a_softmax_does_not_hide_the_last_linear_layer(tmp_path: Path, make_teacher: Make) -> None:
    model = graph([node("Softmax", axis=-1)])
    model.graph.node.insert(0, node("Relu", "x", "h"))
    model.graph.node[1].input[0] = "h"
    _, loaded = judged(model, tmp_path, make_teacher)
    assert loaded is not None
    found = loaded.predict(Items(features=X))
    assert found.features is not None
    assert np.allclose(found.features, np.maximum(X, 0))
    assert loaded.class_weights is not None
    assert np.allclose(loaded.class_weights, ROWS)


def test_a_temperature_is_part_of_the_model(tmp_path: Path, make_teacher: Make) -> None:
    nodes = [helper.make_node("Div", ["z", "t"], ["y"]), node("Softmax", "y", axis=-1)]
    _, loaded = judged(graph(nodes, {"t": np.float32(2.5)}), tmp_path, make_teacher)
    assert loaded is not None
    assert np.allclose(softmax(loaded.predict(Items(features=X)).logits), softmax(Z / 2.5), atol=1e-5)


def test_a_softmax_over_the_items_is_none_over_the_labels(tmp_path: Path, make_teacher: Make) -> None:
    verdict, _ = judged(graph([node("Softmax", axis=0)]), tmp_path, make_teacher)
    assert "differently alone and in a batch" in (verdict.reason or "")


@pytest.mark.parametrize("registered", ["logits", "probabilities"])
def test_a_sigmoid_for_each_label_is_undone(registered: str, tmp_path: Path, make_teacher: Make) -> None:
    verdict, loaded = judged(graph([node("Sigmoid")]), tmp_path, make_teacher, output=registered)
    assert loaded is not None
    assert verdict.output == "independent_probabilities"
    assert "independently" in verdict.warnings[0]
    assert np.allclose(loaded.predict(Items(features=X)).logits, Z, atol=1e-5)


def test_a_sigmoid_written_out_is_undone_where_the_output_says_so(tmp_path: Path, make_teacher: Make) -> None:
    steps = [
        node("Neg", "z", "m"),
        node("Exp", "m", "e"),
        helper.make_node("Add", ["e", "one"], ["d"]),
    ]
    for name, kind in (("class_probs", "independent_probabilities"), ("scores", "logits")):
        model = graph(
            [*steps, node("Reciprocal", "d", name)],
            {"one": np.float32(1)},
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3])],
        )
        verdict, loaded = judged(model, tmp_path, make_teacher)
        assert verdict.output == kind
        assert loaded is not None
        if kind == "logits":
            assert "If they are probabilities" in verdict.warnings[0]
        else:
            assert np.allclose(loaded.predict(Items(features=X)).logits, Z, atol=1e-4)


@pytest.mark.parametrize(
    ("ending", "shape"),
    [("Sigmoid", ["n", 1]), ("Identity", ["n", 1]), ("flat Sigmoid", ["n"])],
)
def test_one_output_scores_the_second_of_two_labels(
    ending: str, shape: list[Any], tmp_path: Path, make_teacher: Make
) -> None:
    nodes = [node(ending.split()[-1], "z", "out" if len(shape) == 2 else "p")]
    constants = {}
    if len(shape) == 1:
        nodes.append(helper.make_node("Squeeze", ["p", "axes"], ["out"]))
        constants["axes"] = np.array([1])
    model = graph(nodes, constants, rows=ROWS[:1], out=shape)
    verdict, loaded = judged(model, tmp_path, make_teacher, ["ham", "spam"])
    assert verdict.reason is None
    assert "second label" in verdict.warnings[0]
    assert loaded is not None
    p = 1 / (1 + np.exp(-Z[:, 0]))
    found = loaded.predict(Items(features=X))
    assert np.allclose(softmax(found.logits), np.stack([1 - p, p], axis=1), atol=1e-5)
    assert loaded.class_weights is None


def test_one_output_for_three_labels_says_what_it_is(tmp_path: Path, make_teacher: Make) -> None:
    verdict, _ = judged(graph([node("Sigmoid")], rows=ROWS[:1]), tmp_path, make_teacher)
    assert "one output, a binary score, but there are 3 labels; give two labels" in (verdict.reason or "")


def zipmap(classes: list[str] | list[int]) -> onnx.ModelProto:
    """As scikit-learn's converter writes a classifier: class numbers, and probabilities as dictionaries."""
    strings = isinstance(classes[0], str)
    keys: dict[str, Any] = {f"classlabels_{'strings' if strings else 'int64s'}": classes}
    key_type = TensorProto.STRING if strings else TensorProto.INT64
    dictionaries = helper.make_sequence_type_proto(
        helper.make_map_type_proto(key_type, helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    )
    return graph(
        [
            node("ArgMax", "z", "output_label", axis=1, keepdims=0),
            node("Softmax", "z", "probabilities", axis=-1),
            helper.make_node("ZipMap", ["probabilities"], ["output_probability"], domain="ai.onnx.ml", **keys),
        ],
        outputs=[
            helper.make_tensor_value_info("output_label", TensorProto.INT64, ["n"]),
            helper.make_value_info("output_probability", dictionaries),
        ],
    )


@pytest.mark.parametrize("classes", [[0, 1, 2], LABELS])
@pytest.mark.parametrize("more", [{}, {"output": "probabilities"}, {"output_name": "output_probability"}])
def test_dictionaries_of_scikit_learn_are_read(
    classes: Any, more: dict[str, Any], tmp_path: Path, make_teacher: Make
) -> None:
    verdict, loaded = judged(zipmap(classes), tmp_path, make_teacher, **more)
    assert verdict.reason is None
    assert loaded is not None
    assert np.allclose(softmax(loaded.predict(Items(features=X)).logits), softmax(Z), atol=1e-5)


def test_labels_in_another_order_than_the_files_classes_are_refused(tmp_path: Path, make_teacher: Make) -> None:
    verdict, _ = judged(zipmap(["dog", "cat", "bird"]), tmp_path, make_teacher)
    assert "Give them in the model's order: dog, cat, bird" in (verdict.reason or "")


def two_outputs(names: tuple[str, str], widths: tuple[int, int] = (3, 3)) -> onnx.ModelProto:
    other = np.ones((4, widths[1]), dtype=np.float32)
    return graph(
        [node("Identity", "z", names[0]), helper.make_node("MatMul", ["x", "other"], [names[1]])],
        {"other": other},
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])
            for name, width in zip(names, widths, strict=True)
        ],
    )


def test_of_two_outputs_the_one_that_fits_is_read(tmp_path: Path, make_teacher: Make) -> None:
    for model in (two_outputs(("a", "b"), (3, 7)), two_outputs(("logits", "b")), two_outputs(("b", "features"))):
        _, loaded = judged(model, tmp_path, make_teacher)
        assert loaded is not None
        assert np.allclose(loaded.predict(Items(features=X)).logits, Z, atol=1e-5)
    verdict, _ = judged(two_outputs(("a", "b")), tmp_path, make_teacher)
    assert "2 outputs: 'a' (any x 3), 'b' (any x 3)" in (verdict.reason or "")
    assert "Set source.output_name" in (verdict.reason or "")
    verdict, loaded = judged(two_outputs(("b", "a")), tmp_path, make_teacher, output_name="b")
    assert loaded is not None
    assert np.allclose(loaded.predict(Items(features=X)).logits, Z, atol=1e-5)
    verdict, _ = judged(two_outputs(("a", "b")), tmp_path, make_teacher, output_name="c")
    assert "output_name is 'c', but the model has 'a'" in (verdict.reason or "")


def test_class_numbers_alone_are_no_scores(tmp_path: Path, make_teacher: Make) -> None:
    model = graph(
        [node("ArgMax", "z", "label", axis=1, keepdims=0)],
        outputs=[helper.make_tensor_value_info("label", TensorProto.INT64, ["n"])],
    )
    verdict, _ = judged(model, tmp_path, make_teacher)
    assert "class numbers only" in (verdict.reason or "")


def test_a_teacher_of_an_earlier_version_is_read_by_its_graph(tmp_path: Path, make_teacher: Make) -> None:
    (tmp_path / "model.onnx").write_bytes(graph([node("Softmax", axis=-1)]).SerializeToString())
    loaded = load_teacher(make_teacher("features", source(), LABELS), tmp_path)
    assert np.allclose(softmax(loaded.predict(Items(features=X)).logits), softmax(Z), atol=1e-5)


class Exported(torch.nn.Module):
    """A linear layer and an ending."""

    def __init__(self, ending: Callable[[torch.Tensor], torch.Tensor], rows: np.ndarray = ROWS) -> None:
        super().__init__()
        self.head = torch.nn.Linear(4, len(rows), bias=False)
        self.head.weight.data = torch.from_numpy(rows.copy())
        self.ending = ending

    def forward(self, x: torch.Tensor) -> Any:
        return self.ending(self.head(torch.relu(x)))


def exported(model: torch.nn.Module, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    batch = torch.export.Dim("batch")
    program = torch.export.export(
        model.to(dtype).eval(), (torch.zeros(2, 4, dtype=dtype),), dynamic_shapes=({0: batch},)
    )
    torch.export.save(program, folder / "model.pt2")


ZR = np.maximum(X, 0) @ ROWS.T
PROGRAMS: dict[str, tuple[Callable[[torch.Tensor], Any], str]] = {
    "softmax": (lambda z: torch.softmax(z, dim=-1), "probabilities"),
    "log_softmax": (lambda z: torch.log_softmax(z, dim=1), "logits"),
    "plain": (lambda z: z, "logits"),
    "softmax of maps": (lambda z: torch.softmax(z[..., None, None], dim=1), "probabilities"),
    "two outputs": (lambda z: (z.sum(dim=1), z), "logits"),
}


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("ending", PROGRAMS)
def test_programs_are_read_alike(ending: str, half: bool, tmp_path: Path, make_teacher: Make) -> None:
    function, kind = PROGRAMS[ending]
    exported(Exported(function), tmp_path, torch.float16 if half else torch.float32)
    teacher = make_teacher("features", source("torch_export"), LABELS)
    verdict = validate_teacher(teacher, tmp_path, isolate=False)
    assert (verdict.reason, verdict.output) == (None, kind)
    loaded = load_teacher(teacher.model_copy(update={"output": verdict.output}), tmp_path)
    found = loaded.predict(Items(features=X))
    assert np.allclose(softmax(found.logits), softmax(ZR), atol=4e-3 if half else 1e-5)
    if ending in ("softmax", "log_softmax", "plain"):
        assert found.features is not None
        assert np.allclose(found.features, np.maximum(X, 0), atol=1e-2)


def test_a_binary_program_scores_the_second_label(tmp_path: Path, make_teacher: Make) -> None:
    exported(Exported(torch.sigmoid, ROWS[:1]), tmp_path)
    teacher = make_teacher("features", source("torch_export"), ["ham", "spam"])
    verdict = validate_teacher(teacher, tmp_path, isolate=False)
    assert (verdict.reason, verdict.output) == (None, "independent_probabilities")
    loaded = load_teacher(teacher.model_copy(update={"output": verdict.output}), tmp_path)
    p = 1 / (1 + np.exp(-ZR[:, 0]))
    found = softmax(loaded.predict(Items(features=X)).logits)
    assert np.allclose(found, np.stack([1 - p, p], axis=1), atol=1e-5)


def test_numbers_decide_where_the_graph_is_silent() -> None:
    p = softmax(Z).astype(np.float32)
    assert recognise(p, "logits", labels=3).kind == "probabilities"
    assert recognise(p.astype(np.float16).astype(np.float32), "logits", labels=3).kind == "probabilities"
    assert recognise(np.log(p), "probabilities", labels=3).kind == "logits"
    assert recognise(Z, "logits", labels=3).warning is None
    called = recognise(Z, "logits", labels=3, name="softmax_output")
    assert called.kind == "logits"
    assert "was taken for logits" in (called.warning or "")
    with pytest.raises(TeacherUnusable, match="registered as probabilities, but a row sums to"):
        recognise(Z, "probabilities", labels=3)


def test_rounded_probabilities_are_normalised() -> None:
    p = np.array([[0.33, 0.33, 0.33], [0.5, 0.26, 0.25]], dtype=np.float32)
    assert np.allclose(np.exp(as_logits(p, "probabilities", labels=3)).sum(axis=1), 1, atol=1e-6)


def test_a_saturated_sigmoid_stays_finite() -> None:
    found = as_logits(np.array([[0.0, 1.0, 0.5]], dtype=np.float32), "independent_probabilities", labels=3)
    assert np.isfinite(found).all()
    assert found[0, 1] > 17
    assert found[0, 2] == 0


def test_outputs_are_chosen_by_name_and_width() -> None:
    assert choose_output([("a", None)], labels=3, wanted=None) == 0
    assert choose_output([("hidden", (None, 8)), ("y", (None, 3, 1, 1))], labels=3, wanted=None) == 1
    with pytest.raises(TeacherUnusable, match="none of them fit 3 labels"):
        choose_output([("a", None), ("b", (None, 9))], labels=3, wanted=None)
