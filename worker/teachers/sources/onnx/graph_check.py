"""What an ONNX file may contain, and where its last linear layer is: read from the graph, before it is run."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from ...errors import TeacherUnusable
from ...interface import Float32

_LARGEST: Final = 2 * 2**30 - 1  # protobuf's own limit
_DOMAINS: Final = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
_FORBIDDEN: Final = ("EPContext",)  # loads a second, opaque file by path
_OPSETS: Final = range(7, onnx.defs.onnx_opset_version() + 1)
_EXPORT: Final = "export it again with torch.onnx.export(model, inputs, 'model.onnx', external_data=False)"


def read_model(path: Path) -> ModelProto:
    """Parse and check an ONNX file.

    Refused are files that point to other files, operators that onnxruntime does not bring itself, and
    graphs that break the ONNX specification.

    Raises
    ------
    TeacherUnusable
        Any of these, with what to do.
    """
    if path.stat().st_size > _LARGEST:
        raise TeacherUnusable(f"{path.name} is larger than 2 GiB, more than one ONNX file can hold; {_EXPORT}")
    model = ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except Exception as error:  # protobuf's DecodeError has no public home in every version
        raise TeacherUnusable(
            f"{path.name} is not an ONNX model, or it is cut off ({type(error).__name__}); {_EXPORT}"
        ) from None
    if not model.graph.node:
        raise TeacherUnusable(f"{path.name} holds no graph; {_EXPORT}")
    _check_operators(model)
    for tensor in _tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise TeacherUnusable(
                f"{path.name} keeps the tensor {tensor.name[:80]!r} in another file; weights must be inside: {_EXPORT}"
            )
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        first = next((line for line in str(error).splitlines() if line.strip()), "")
        raise TeacherUnusable(f"{path.name} breaks the ONNX specification ({first[:200]}); {_EXPORT}") from None
    return model


def _check_operators(model: ModelProto) -> None:
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version not in _OPSETS:
            raise TeacherUnusable(
                f"the model uses ONNX opset {opset.version}; opsets {_OPSETS.start} to {_OPSETS.stop - 1} are "
                f"supported. "
                f"Export it with opset_version=18"
            )
    own = {(function.domain, function.name) for function in model.functions}
    for node in _nodes(model):
        known = node.domain in _DOMAINS and node.op_type not in _FORBIDDEN
        if not known and (node.domain, node.op_type) not in own:
            raise TeacherUnusable(
                f"the model uses the operator {node.domain}::{node.op_type}, which is not part of ONNX; "
                f"export it with standard operators only"
            )


def _graphs(model: ModelProto) -> Iterator[GraphProto]:
    waiting: list[GraphProto] = [model.graph]
    for function in model.functions:
        waiting.extend(_subgraphs(function.node))
    while waiting:
        graph = waiting.pop()
        yield graph
        waiting.extend(_subgraphs(graph.node))


def _subgraphs(nodes: Iterable[NodeProto]) -> Iterator[GraphProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH or attribute.HasField("g"):
                yield attribute.g
            yield from attribute.graphs


def _nodes(model: ModelProto) -> Iterator[NodeProto]:
    for graph in _graphs(model):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    for graph in _graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield sparse.values
            yield sparse.indices
    for node in _nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            sparse_ones = list(attribute.sparse_tensors)
            if attribute.HasField("sparse_tensor"):
                sparse_ones.append(attribute.sparse_tensor)
            for sparse in sparse_ones:
                yield sparse.values
                yield sparse.indices


def count_parameters(model: ModelProto) -> int:
    """How many floating-point numbers the initializers hold: the weights, without index tables."""
    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
    quantised = (TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4)
    return sum(
        int(np.prod(tensor.dims, dtype=np.int64))
        for graph in _graphs(model)
        for tensor in graph.initializer
        if tensor.data_type in floats + quantised
    )


def last_linear(model: ModelProto, output: str) -> tuple[str, Float32] | None:
    """The input of the linear layer that makes an output, and that layer's weights.

    Recognised are ``Gemm`` and ``MatMul`` (+ ``Add``) with constant weights, as every exporter writes them.

    Returns
    -------
    tuple or None
        Name of the layer's input tensor, and its rows, shape (K, D), float32.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    node = makers.get(output)
    while node is not None and node.op_type in ("Identity", "Add", "Cast"):
        moving = [name for name in node.input if name not in constants]
        if len(moving) != 1:
            return None
        node = makers.get(moving[0])
    if node is None or node.domain not in ("", "ai.onnx") or node.op_type not in ("Gemm", "MatMul"):
        return None
    if len(node.input) < 2 or node.input[1] not in constants or node.input[0] not in makers:
        return None
    weights = numpy_helper.to_array(constants[node.input[1]]).astype(np.float32)
    settings = {attribute.name: attribute for attribute in node.attribute}
    transposed = "transB" in settings and settings["transB"].i == 1
    if ("transA" in settings and settings["transA"].i == 1) or weights.ndim != 2:
        return None
    if "alpha" in settings:
        weights = weights * np.float32(settings["alpha"].f)
    return node.input[0], np.ascontiguousarray(weights if transposed else weights.T)


_FLOATS: Final = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
_ACTIVATIONS: Final = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid"}
_SAME_VALUES: Final = ("Identity", "Cast", "Squeeze", "Flatten", "Reshape")


@dataclass(frozen=True)
class Scores:
    """An output that can hold class scores.

    Attributes
    ----------
    name
        As the file calls it.
    tensor
        The tensor to read; another one than `name` where a ``ZipMap`` makes dictionaries of it.
    shape
        Known sides, None for the others; None where the file states no shape.
    classes
        The class names that a ``ZipMap`` gives, in order; None where it gives none.
    """

    name: str
    tensor: str
    shape: tuple[int | None, ...] | None
    classes: list[str] | None = None


def score_outputs(model: ModelProto) -> list[Scores]:
    """The outputs of a graph that hold floating-point numbers, in order.

    Exports of scikit-learn end in a ``ZipMap``, which turns probabilities into a list of dictionaries: its input
    counts as the output.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    found: list[Scores] = []
    for output in model.graph.output:
        maker = makers.get(output.name)
        if maker is not None and maker.op_type == "ZipMap" and maker.domain == "ai.onnx.ml":
            names = [a.strings for a in maker.attribute if a.name == "classlabels_strings"]
            classes = [name.decode(errors="replace") for name in names[0]] if names else None
            found.append(Scores(output.name, maker.input[0], None, classes))
            continue
        kind = output.type.tensor_type
        if output.type.HasField("tensor_type") and kind.elem_type in (*_FLOATS, TensorProto.UNDEFINED):
            sides = [side.dim_value if side.HasField("dim_value") else None for side in kind.shape.dim]
            found.append(Scores(output.name, output.name, tuple(sides) if kind.HasField("shape") else None))
    return found


def final_activation(model: ModelProto, tensor: str) -> tuple[str, str] | None:
    """The softmax or sigmoid that makes a tensor.

    Returns
    -------
    tuple or None
        ``softmax``, ``log_softmax`` or ``sigmoid``, and the name of the tensor that goes into it.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    node = makers.get(tensor)
    while node is not None and node.op_type in _SAME_VALUES and node.domain in ("", "ai.onnx"):
        node = makers.get(node.input[0])
    if node is None or node.op_type not in _ACTIVATIONS or node.domain not in ("", "ai.onnx"):
        return None
    return (_ACTIVATIONS[node.op_type], node.input[0]) if node.input[0] in makers else None
