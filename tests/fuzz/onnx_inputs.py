"""Spoils ONNX graphs: cycles, depth, enormous shapes, outside data, operators that should not be there."""

from collections.abc import Callable
from random import Random
from typing import Any, Final

import onnx
from onnx import TensorProto, helper

from .byte_mutations import damaged
from .case import Files
from .json_mutations import STRINGS
from .onnx_decisions import DECISIONS, before_output

_SIZES: Final = (0, 1, -1, 2, 7, 2**20, 2**31 - 1, 2**31, 2**40, 2**62, -(2**63))
_OPERATORS: Final = (
    "Loop", "Scan", "If", "ConstantOfShape", "Expand", "Tile", "Range", "NonZero", "Resize", "RandomNormal", "Gather",
    "ReduceSum", "LSTM", "Conv", "ConvTranspose", "Einsum", "TopK", "OneHot", "Pad", "Reshape", "Concat",
    "Shape", "Cast",
    "StringNormalizer", "ATen", "SequenceEmpty", "SplitToSequence", "Optional", "DequantizeLinear", "MatMul", "Softmax",
    "GroupNormalization", "LayerNormalization", "Attention", "MaxPool", "Bernoulli", "Multinomial", "DFT", "Compress",
)  # fmt: skip
Change = Callable[[onnx.ModelProto, Random], None]


def _size(model: onnx.ModelProto, rng: Random) -> None:
    if model.graph.initializer:
        tensor = rng.choice(list(model.graph.initializer))
        tensor.dims[:] = [rng.choice(_SIZES) for _ in range(rng.choice((0, 1, 2, 2, 3, 60)))]


def _data(model: onnx.ModelProto, rng: Random) -> None:
    if model.graph.initializer:
        tensor = rng.choice(list(model.graph.initializer))
        kind = rng.randrange(4)
        if kind == 0:
            tensor.raw_data = damaged(tensor.raw_data, rng)
        elif kind == 1:
            tensor.ClearField("raw_data")
        elif kind == 2:
            tensor.data_type = rng.randrange(-1, 30)
        else:
            tensor.data_location = TensorProto.EXTERNAL
            tensor.ClearField("raw_data")
            place = rng.choice(
                ("/etc/passwd", "../../x", "weights.bin", "model.onnx", "", "*/_ORT_MEM_ADDR_/*", "\x00")
            )
            tensor.external_data.add(key="location", value=place)
            tensor.external_data.add(key="offset", value=str(rng.choice(_SIZES)))
            tensor.external_data.add(key="length", value=str(rng.choice(_SIZES)))


def _edge(model: onnx.ModelProto, rng: Random) -> None:
    nodes = list(model.graph.node)
    if nodes:
        node = rng.choice(nodes)
        names = [name for other in nodes for name in (*other.input, *other.output)] or ["x"]
        target = node.input if rng.random() < 0.6 and node.input else node.output
        if target:
            target[rng.randrange(len(target))] = rng.choice([*names, *names, "", *STRINGS[6:8]])


def _nodes(model: onnx.ModelProto, rng: Random) -> None:
    nodes = list(model.graph.node)
    kind = rng.randrange(4)
    if kind == 0 and nodes:
        del model.graph.node[rng.randrange(len(nodes))]
    elif kind == 1 and nodes:
        model.graph.node.append(rng.choice(nodes))
    elif kind == 2:
        rng.shuffle(nodes)
        del model.graph.node[:]
        model.graph.node.extend(nodes)
    else:
        model.graph.node.extend(helper.make_node("Identity", [f"n{n}"], [f"n{n + 1}"]) for n in range(3000))


def _operator(model: onnx.ModelProto, rng: Random) -> None:
    if model.graph.node:
        node = rng.choice(list(model.graph.node))
        node.op_type = rng.choice(_OPERATORS)
        if rng.random() < 0.2:
            node.domain = rng.choice(("ai.onnx.ml", "com.microsoft", "ai.onnx.training", "own", "x"))


def _attribute(model: onnx.ModelProto, rng: Random) -> None:
    if model.graph.node:
        node = rng.choice(list(model.graph.node))
        names = ("axis", "to", "value", "transB", "alpha", "shape", "pads", "k", "equation", "body", "perm", "group")
        value: Any = rng.choice((rng.choice(_SIZES), [rng.choice(_SIZES)] * 4, float("nan"), "ij,jk->ik", [1.5]))
        name = rng.choice([attribute.name for attribute in node.attribute] + list(names))
        for place, attribute in enumerate(node.attribute):
            if attribute.name == name:
                del node.attribute[place]
                break
        node.attribute.append(helper.make_attribute(name, value))


def _interface(model: onnx.ModelProto, rng: Random) -> None:
    kind = rng.randrange(6)
    graph = model.graph
    if kind == 0:
        graph.input.append(helper.make_tensor_value_info(rng.choice(("x", "y", "w")), rng.randrange(20), ["batch", 6]))
    elif kind == 1 and graph.output:
        del graph.output[0]
    elif kind == 2 and graph.input:
        shape = [rng.choice((*_SIZES, "batch", None)) for _ in range(rng.randrange(5))]
        graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, shape))
    elif kind == 3 and graph.output:
        shape = [rng.choice((*_SIZES, "batch")) for _ in range(rng.randrange(4))]
        graph.output[0].CopyFrom(helper.make_tensor_value_info(rng.choice(("out", "z", "x", "?")), 1, shape))
    elif kind == 4:
        model.opset_import[0].version = rng.choice((0, 1, 7, 13, 22, 99, -1, 2**31))
    else:
        model.ir_version = rng.choice((0, 3, 13, 99, 2**31))


def _grown(model: onnx.ModelProto, rng: Random) -> None:
    """Few bytes that ask for very many."""
    size = rng.choice((2**10, 2**24, 2**31, 2**36, 2**50))
    shape = helper.make_tensor("s", TensorProto.INT64, [2], [rng.choice((1, size)), size])
    made = [
        helper.make_node("Constant", [], ["big shape"], value=shape),
        helper.make_node(rng.choice(("ConstantOfShape", "RandomUniformLike")), ["big shape"], ["big"]),
        helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
        helper.make_node("Add", ["z", "sum"], ["changed"]),
    ]
    before_output(model, made, "z", "changed")


def _endless(model: onnx.ModelProto, rng: Random) -> None:
    """A loop of very many turns."""
    turns = helper.make_tensor("n", TensorProto.INT64, [], [rng.choice((3, 3, 5, 5, 100, 10**5, 10**5, -1, 10**12))])
    body = helper.make_graph(
        [helper.make_node("Identity", ["go on"], ["still"]), helper.make_node("Add", ["was", "was"], ["is"])],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("was", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("is", TensorProto.FLOAT, None),
        ],
    )
    made = [
        helper.make_node("Constant", [], ["turns"], value=turns),
        helper.make_node("Loop", ["turns", "", "z"], ["changed"], body=body),
    ]
    before_output(model, made, "z", "changed")


def _deep(model: onnx.ModelProto, rng: Random) -> None:
    """A condition in a condition in a condition."""
    value = helper.make_tensor_value_info("t", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Identity", ["z"], ["t"])], "inner", [], [value])
    depth = rng.choice((5, 11, 20, 29))
    for _ in range(depth):
        both: dict[str, Any] = {"then_branch": graph, "else_branch": graph} if depth < 12 else {"then_branch": graph}
        graph = helper.make_graph([helper.make_node("If", ["c"], ["t"], **both)], "g", [], [value])
    true = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("v", TensorProto.BOOL, [], [True]))
    made = [true, helper.make_node("If", ["c"], ["changed"], then_branch=graph, else_branch=graph)]
    before_output(model, made, "z", "changed")


def _function(model: onnx.ModelProto, rng: Random) -> None:
    """Functions that call themselves, or each other, or double what is called each time."""
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    count = rng.choice((1, 2, 8, 24))
    for number in range(count):
        following = (number + 1) % count if rng.random() < 0.5 else number + 1
        calls = [
            helper.make_node(f"F{following}", ["a"], [name], domain="own")
            for name in ("d", *(["e"] if count > 2 else []))
        ]
        if following == count:
            calls = [helper.make_node("Identity", ["a"], ["d"])]
        model.functions.append(helper.make_function("own", f"F{number}", ["a"], ["d"], calls, opsets))
    if all(opset.domain != "own" for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid("own", 1))
    before_output(model, [helper.make_node("F0", ["z"], ["changed"], domain="own")], "z", "changed")


_CHANGES: Final[tuple[Change, ...]] = (
    _size, _data, _edge, _edge, _nodes, _operator, _attribute, _interface, _grown, _endless, _deep, _function,
    *DECISIONS, *DECISIONS,
)  # fmt: skip


def spoil_onnx(seeds: list[Files], rng: Random) -> Files:
    """A graph with one to three changes; now and then the bytes are damaged as well."""
    data = rng.choice(seeds)["model.onnx"]
    if rng.random() < 0.1:
        return {"model.onnx": damaged(data, rng, [files["model.onnx"] for files in seeds])}
    model = onnx.ModelProto.FromString(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        rng.choice(_CHANGES)(model, rng)
    found = model.SerializeToString()
    return {"model.onnx": damaged(found, rng) if rng.random() < 0.05 else found}


def spoil_quietly(seeds: list[Files], rng: Random) -> Files:
    """A graph that is changed once, mostly so that it is still one that is taken: what is tried is how it runs."""
    model = onnx.ModelProto.FromString(rng.choice(seeds)["model.onnx"])
    rng.choice(DECISIONS if rng.random() < 0.7 else (_grown, _endless, _deep, _operator, _attribute))(model, rng)
    return {"model.onnx": model.SerializeToString()}
