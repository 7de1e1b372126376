"""Changes of ONNX graphs that keep them valid, mostly: they decide by the number of items, or hide what they do."""

from collections.abc import Callable
from random import Random
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .onnx_seeds import constant, graph, items, loop_body, more_than

Change = Callable[[onnx.ModelProto, Random], None]
_BOUNDS: Final = (1, 2, 3, 15, 16, 40)
_ENORMOUS: Final = (2**16, 2**24, 2**31, 2**36)


def before_output(model: onnx.ModelProto, made: list[Any], source: str, target: str) -> None:
    """Put nodes before the one that makes the output; of those that make the same value, the first stays."""
    for node in model.graph.node:
        if "out" in node.output:
            node.input[:] = [target if name == source else name for name in node.input]
    last = list(model.graph.node)[-1:]
    if last:
        del model.graph.node[-1]
    there = {name for node in model.graph.node for name in node.output}
    fresh = [node for node in made if not there.intersection(node.output)]
    model.graph.node.extend([*fresh, *last])


def _by_items(model: onnx.ModelProto, rng: Random) -> None:
    """Another branch where there are more items than a validation has."""
    branch = graph(_trouble("z", "t", rng), "then", "t")
    other = graph([helper.make_node("Identity", ["z"], ["e"])], "else", "e")
    choice = helper.make_node("If", ["many"], ["changed"], then_branch=branch, else_branch=other)
    before_output(model, [*more_than(rng.choice(_BOUNDS)), choice], "z", "changed")


def _trouble(source: str, target: str, rng: Random) -> list[onnx.NodeProto]:
    """Nodes that take all memory, never end, fail, or give what no teacher gives."""
    kind = rng.randrange(9)
    if kind == 0:
        return [
            constant("big shape", [rng.choice(_ENORMOUS), rng.choice((1, 2**12, 2**20))], np.int64),
            helper.make_node("ConstantOfShape", ["big shape"], ["big"]),
            helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
            helper.make_node("Add", [source, "sum"], [target]),
        ]
    if kind == 1:
        body = loop_body([helper.make_node("Sin", ["was"], ["is"])], "was", "is")
        turns = constant("turns", rng.choice((100, 10**4, 2**62)), np.int64)
        return [turns, helper.make_node("Loop", ["turns", "", source], [target], body=body)]
    if kind == 2:  # twice as long with every turn
        body = loop_body([helper.make_node("Concat", ["was", "was"], ["is"], axis=rng.choice((0, 1)))], "was", "is")
        turns = constant("turns", rng.choice((1, 10, 60)), np.int64)
        return [turns, helper.make_node("Loop", ["turns", "", source], [target], body=body)]
    if kind == 3:
        return [
            constant("nothing", 0.0, np.float32),
            helper.make_node(rng.choice(("Div", "Mod")), [source, "nothing"], [target]),
        ]
    if kind == 4:
        place = constant("place", rng.choice(([2**40], [-1], [-(2**40)], [0])), np.int64)
        return [place, helper.make_node("Gather", [source, "place"], [target], axis=rng.choice((0, 1)))]
    if kind == 5:
        shape = constant("new shape", rng.choice(([-1], [1, -1], [0], [2**31, 1], [3, -1, 1])), np.int64)
        return [shape, helper.make_node("Reshape", [source, "new shape"], [target])]
    if kind == 6:
        times = constant("times", [rng.choice((1, 0, 2**10, 2**31)), rng.choice((1, 2, 2**16))], np.int64)
        return [times, helper.make_node("Tile", [source, "times"], [target])]
    if kind == 7:
        return [
            helper.make_node("NonZero", [source], ["found"]),
            helper.make_node("Cast", ["found"], [target], to=TensorProto.FLOAT),
        ]
    k = constant("k", [rng.choice((0, 1, 2, 3, 2**31))], np.int64)
    return [k, helper.make_node("TopK", [source, "k"], [target, "indices"])]


def _growing(model: onnx.ModelProto, rng: Random) -> None:
    """As much memory as a power of the number of items."""
    power = rng.choice((2, 4, 6, 12))
    grown = [helper.make_node("Concat", ["items"] * power, ["cube"], axis=0)]
    made = [
        *items(),
        *grown,
        helper.make_node("ConstantOfShape", ["cube"], ["full"]),
        helper.make_node("ReduceMax", ["full"], ["most"], keepdims=0),
        helper.make_node("Add", ["z", "most"], ["changed"]),
    ]
    before_output(model, made, "z", "changed")


def _turning(model: onnx.ModelProto, rng: Random) -> None:
    """As many turns as a power of the number of items."""
    made = items()
    name = "items"
    for number in range(rng.choice((0, 1, 2, 4, 9))):
        made.append(helper.make_node("Mul", [name, name], [f"power {number}"]))
        name = f"power {number}"
    body = loop_body([helper.make_node("Cos", ["was"], ["is"])], "was", "is")
    before_output(model, [*made, helper.make_node("Loop", [name, "", "z"], ["changed"], body=body)], "z", "changed")


def _troubled(model: onnx.ModelProto, rng: Random) -> None:
    before_output(model, _trouble("z", "changed", rng), "z", "changed")


def _shadowing(model: onnx.ModelProto, rng: Random) -> None:
    """A function of the model's own under the name of an operator that it, or the graph, calls."""
    name = rng.choice(("Relu", "Gemm", "Identity", "Constant", "If", "Loop", "EPContext", "Abs"))
    domain = rng.choice(("", "", "ai.onnx", "ai.onnx.ml", "com.microsoft"))
    inner = rng.choice(("Abs", name, "Identity", "EPContext"))
    body = [helper.make_node(inner, ["a"], ["d"])]
    inputs = ["a", "second", "third"][: rng.choice((1, 3))]
    opsets = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function(domain, name, inputs, ["d"], body, opsets))
    if rng.random() < 0.5:
        before_output(model, [helper.make_node(name, ["z"], ["changed"], domain=domain)], "z", "changed")


def _sparse(model: onnx.ModelProto, rng: Random) -> None:
    """Sparse weights whose places, lengths or sizes do not fit."""
    places = rng.choice(([0, 2], [2, 0], [0, 3], [-1, 1], [0, 2**40], [0, 0], [0]))
    values = numpy_helper.from_array(np.ones(rng.choice((2, 2, 1, 0)), np.float32), "thin")
    indices = numpy_helper.from_array(np.array(places, rng.choice((np.int64, np.int64, np.int32))), "places")
    sides = rng.choice(([3], [3], [2**31], [2**40], [-3], [0], [2**16, 2**16], [3, 1]))
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, sides))
    before_output(model, [helper.make_node("Add", ["z", "thin"], ["changed"])], "z", "changed")


def _misfit(model: onnx.ModelProto, rng: Random) -> None:
    """A weight whose sides are not those of its data."""
    tensor = rng.choice(list(model.graph.initializer)) if model.graph.initializer else None
    if tensor is not None:
        count = int(np.prod(tensor.dims, dtype=np.float64))
        sides = ([count + 1], [count, 2**31], [0], [count // 2], [-count], [1] * 70, [2**32, 2**32], [])
        tensor.dims[:] = rng.choice(sides)


def _training(model: onnx.ModelProto, rng: Random) -> None:
    """What is for training alone: graphs beside the graph, with weights elsewhere."""
    info = model.training_info.add()
    tensor = info.initialization.initializer.add(name="t", data_type=TensorProto.FLOAT, dims=[rng.choice((1, 2**40))])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=rng.choice(("/etc/passwd", "../x", "model.onnx")))
    info.algorithm.CopyFrom(model.graph if rng.random() < 0.5 else graph([], "empty", "nothing"))
    info.update_binding.add(key="w", value=rng.choice(("t", "w", "")))


def _elsewhere(model: onnx.ModelProto, rng: Random) -> None:
    """Weights in another file, at all the places where a tensor may stand."""
    tensor = helper.make_tensor("far", TensorProto.FLOAT, [1], [1.0])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL if rng.random() < 0.8 else TensorProto.DEFAULT
    place = rng.choice(("/etc/passwd", "../x", "model.onnx", "*/_ORT_MEM_ADDR_/*", "/proc/self/mem"))
    tensor.external_data.add(key="location", value=place)
    inner = helper.make_node("Constant", [], ["far away"], value=tensor)
    kind = rng.randrange(4)
    if kind == 0:
        made = [inner, helper.make_node("Add", ["z", "far away"], ["changed"])]
    elif kind == 1:
        branch = graph([inner, helper.make_node("Add", ["z", "far away"], ["t"])], "then", "t")
        choice = helper.make_node("If", ["c"], ["changed"], then_branch=branch, else_branch=branch)
        made = [constant("c", True, np.bool_), choice]
    elif kind == 2:
        body = [inner, helper.make_node("Add", ["a", "far away"], ["d"])]
        model.functions.append(helper.make_function("own", "Far", ["a"], ["d"], body, [helper.make_opsetid("", 18)]))
        model.opset_import.append(helper.make_opsetid("own", 1))
        made = [helper.make_node("Far", ["z"], ["changed"], domain="own")]
    else:
        sparse = helper.make_sparse_tensor(tensor, helper.make_tensor("p", TensorProto.INT64, [1], [0]), [3])
        made = [
            helper.make_node("Constant", [], ["far away"], sparse_value=sparse),
            helper.make_node("Add", ["z", "far away"], ["changed"]),
        ]
    before_output(model, made, "z", "changed")


def _foreign(model: onnx.ModelProto, rng: Random) -> None:
    """Operators of another domain, declared or not."""
    domain = rng.choice(("com.microsoft.nchwc", "ai.onnx.preview.training", "evil", "com.microsoft", "ai.onnx.contrib"))
    name = rng.choice(("EPContext", "PythonOp", "Gelu", "QuickGelu", "PyOp", "FusedGemm", "Inverse", "MemcpyFromHost"))
    if rng.random() < 0.7:
        model.opset_import.append(helper.make_opsetid(domain, rng.choice((1, 1, 0, 2**31))))
    before_output(model, [helper.make_node(name, ["z"], ["changed"], domain=domain)], "z", "changed")


def _huge_attribute(model: onnx.ModelProto, rng: Random) -> None:
    """Attributes of an operator that is known, at the ends of their types."""
    number = rng.choice((2**31, 2**62, -(2**63), 2**63 - 1, -1))
    cases: tuple[tuple[str, dict[str, Any]], ...] = (
        ("Softmax", {"axis": number}), ("Flatten", {"axis": number}), ("Gelu", {"approximate": "x" * 10_000}),
        ("LeakyRelu", {"alpha": 1e308 if number > 0 else float("nan")}), ("Transpose", {"perm": [number, 0]}),
        ("Concat", {"axis": number}), ("Cast", {"to": number}), ("Hardmax", {"axis": number}),
        ("LpNormalization", {"p": number, "axis": 1}), ("EyeLike", {"k": number, "dtype": 1}),
        ("RandomNormalLike", {"seed": float("nan"), "scale": float("inf")}), ("Einsum", {"equation": "ij->" * 500}),
        ("SpaceToDepth", {"blocksize": number}), ("DepthToSpace", {"blocksize": number}), ("Shape", {"start": number}),
    )  # fmt: skip
    name, attributes = rng.choice(cases)
    before_output(model, [helper.make_node(name, ["z"], ["changed"], **attributes)], "z", "changed")


def _cycle(model: onnx.ModelProto, rng: Random) -> None:
    """Values that are made of each other, in the graph or in a branch of it."""
    ring = [
        helper.make_node("Add", ["z", "second"], ["first of two"]),
        helper.make_node("Add", ["z", "first of two"], ["second"]),
    ]
    if rng.random() < 0.5:
        made = [*ring, helper.make_node("Identity", ["second"], ["changed"])]
    else:
        inner = graph([*ring, helper.make_node("Identity", ["second"], ["t"])], "then", "t")
        choice = helper.make_node("If", ["c"], ["changed"], then_branch=inner, else_branch=inner)
        made = [constant("c", True, np.bool_), choice]
    before_output(model, made, "z", "changed")


DECISIONS: Final[tuple[Change, ...]] = (
    _by_items, _by_items, _growing, _turning, _troubled, _shadowing, _sparse, _misfit, _training, _elsewhere, _foreign,
    _huge_attribute, _cycle,
)  # fmt: skip
