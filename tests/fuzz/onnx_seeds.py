"""Valid ONNX graphs: plain, with branches, loops and functions, and some that decide by the number of items."""

from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .case import Files

FEATURES: Final = 6
CLASSES: Final = 3


def onnx_seeds() -> list[Files]:
    """Linear classifiers with a hidden layer: `z` are their logits, and what becomes of them differs."""
    made = [_plain(), _branch(), _function(), _by_items(), _turns(), _sparse(), _scanned(), _shadowed()]
    return [{"model.onnx": model.SerializeToString()} for model in made]


def constant(name: str, values: Any, kind: Any) -> onnx.NodeProto:
    """A node that gives a constant."""
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(values, kind), f"{name} v"))


def graph(nodes: list[onnx.NodeProto], name: str, output: str, inputs: list[Any] | None = None) -> onnx.GraphProto:
    """An inner graph with one output of floats."""
    value = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    return helper.make_graph(nodes, name, inputs or [], [value])


def loop_body(more: list[onnx.NodeProto], source: str, target: str) -> onnx.GraphProto:
    """A body that goes on for ever; `more` makes `target` of `source`."""
    return helper.make_graph(
        [helper.make_node("Identity", ["go on"], ["still"]), *more],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go on", TensorProto.BOOL, []),
            helper.make_tensor_value_info(source, TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info(target, TensorProto.FLOAT, None),
        ],
    )


def items() -> list[onnx.NodeProto]:
    """Nodes that count the items: `items`, a vector of length one."""
    return [
        helper.make_node("Shape", ["x"], ["shape of x"]),
        constant("first", [0], np.int64),
        helper.make_node("Gather", ["shape of x", "first"], ["items"]),
    ]


def more_than(number: int) -> list[onnx.NodeProto]:
    """Nodes that say whether there are more items than that: `many`, a single truth value."""
    return [
        *items(),
        constant("bound", [number], np.int64),
        helper.make_node("Greater", ["items", "bound"], ["many each"]),
        helper.make_node("Squeeze", ["many each"], ["many"]),
    ]


def _base() -> tuple[list[TensorProto], list[onnx.NodeProto]]:
    rng = np.random.default_rng(5)
    weights = [
        numpy_helper.from_array(rng.normal(size=(CLASSES, FEATURES)).astype(np.float32), "w"),
        numpy_helper.from_array(rng.normal(size=CLASSES).astype(np.float32), "b"),
    ]
    nodes = [
        helper.make_node("Relu", ["x"], ["features"]),
        helper.make_node("Gemm", ["features", "w", "b"], ["z"], transB=1),
    ]
    return weights, nodes


def _model(
    after: list[onnx.NodeProto], functions: list[onnx.FunctionProto] | None = None, sparse: Any = None
) -> onnx.ModelProto:
    weights, nodes = _base()
    made = helper.make_graph(
        [*nodes, *after],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", FEATURES])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", CLASSES])],
        weights,
        sparse_initializer=sparse,
    )
    opsets = [helper.make_opsetid("", 18), *([helper.make_opsetid("own", 1)] if functions else [])]
    return helper.make_model(made, opset_imports=opsets, ir_version=10, functions=functions or [])


def _plain() -> onnx.ModelProto:
    return _model([helper.make_node("Identity", ["z"], ["out"])])


def _branch() -> onnx.ModelProto:
    then = graph([helper.make_node("Identity", ["z"], ["t"])], "then", "t")
    other = graph([helper.make_node("Neg", ["z"], ["e"])], "else", "e")
    choice = helper.make_node("If", ["c"], ["out"], then_branch=then, else_branch=other)
    return _model([constant("c", True, np.bool_), choice])


def _function() -> onnx.ModelProto:
    twice = helper.make_node("Add", ["a", "a"], ["d"])
    function = helper.make_function("own", "Twice", ["a"], ["d"], [twice], [helper.make_opsetid("", 18)])
    return _model([helper.make_node("Twice", ["z"], ["out"], domain="own")], [function])


def _shadowed() -> onnx.ModelProto:
    """A function under the name of an operator."""
    opsets = [helper.make_opsetid("", 18)]
    function = helper.make_function("", "Neg", ["a"], ["d"], [helper.make_node("Abs", ["a"], ["d"])], opsets)
    return _model([helper.make_node("Neg", ["z"], ["out"])], [function])


def _by_items() -> onnx.ModelProto:
    then = graph([helper.make_node("Neg", ["z"], ["t"])], "then", "t")
    other = graph([helper.make_node("Identity", ["z"], ["e"])], "else", "e")
    choice = helper.make_node("If", ["many"], ["out"], then_branch=then, else_branch=other)
    return _model([*more_than(2), choice])


def _turns() -> onnx.ModelProto:
    """As many turns as there are items."""
    body = loop_body([helper.make_node("Abs", ["was"], ["is"])], "was", "is")
    return _model([*items(), helper.make_node("Loop", ["items", "", "z"], ["out"], body=body)])


def _sparse() -> onnx.ModelProto:
    values = numpy_helper.from_array(np.array([0.5, 2.0], np.float32), "shift")
    indices = numpy_helper.from_array(np.array([0, 2], np.int64), "places")
    table = helper.make_sparse_tensor(values, indices, [CLASSES])
    return _model([helper.make_node("Add", ["z", "shift"], ["out"])], sparse=[table])


def _scanned() -> onnx.ModelProto:
    """Item by item."""
    row = helper.make_tensor_value_info("row", TensorProto.FLOAT, [CLASSES])
    body = graph([helper.make_node("Abs", ["row"], ["abs"])], "each", "abs", [row])
    return _model([helper.make_node("Scan", ["z"], ["out"], body=body, num_scan_inputs=1)])
