"""Photographs as Parquet (columns image and label), and their features and logits under EfficientNet-Lite."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pyarrow.parquet as parquet
from numpy.typing import NDArray
from PIL import Image

from examples.demo_zoo import imagenet

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

SIDE = 128
"""Side of the networks' input in pixels; the pictures have 64."""


class Pictures:
    """Rows of a Parquet file with the columns image and label."""

    def __init__(self, path: Path) -> None:
        table = parquet.read_table(path)
        self.bytes: list[bytes] = [row["bytes"] for row in table["image"].to_pylist()]
        self.labels: Int64 = np.asarray(table["label"].to_pylist(), dtype=np.int64)


@dataclass
class Collection:
    """A folder of Parquet files and its labels.json."""

    folder: Path
    parts: tuple[str, ...]

    @cached_property
    def described(self) -> dict[str, list[str]]:
        """`names`, and other properties of the classes."""
        return json.loads((self.folder / "labels.json").read_text(encoding="utf-8"))

    @cached_property
    def read(self) -> list[Pictures]:
        """The pictures, part by part."""
        return [Pictures(self.folder / f"{part}.parquet") for part in self.parts]

    @property
    def pictures(self) -> list[bytes]:
        """Encoded pictures of all parts."""
        return [picture for part in self.read for picture in part.bytes]

    @property
    def labels(self) -> Int64:
        """Labels of all parts, shape (N,)."""
        return np.concatenate([part.labels for part in self.read])


def features(variant: int, pictures: Sequence[bytes]) -> Float32:
    """Pooled features of the last layer of EfficientNet-Lite, shape (N, 1280)."""
    return output(variant, pictures, "features")


def logits(variant: int, vectors: Float32) -> Float32:
    """The network's logits for pictures with these features, shape (N, 1000)."""
    weights = imagenet.read_weights(variant)
    return (vectors @ weights["_fc.weight"].T + weights["_fc.bias"]).astype(np.float32)


def output(variant: int, pictures: Sequence[bytes], name: str) -> Float32:
    """Output of a node of the network for pictures, with N as first dimension."""
    model = imagenet.efficientnet_lite(imagenet.read_weights(variant), variant)
    for value in model.graph.input:
        for axis in value.type.tensor_type.shape.dim[2:]:
            axis.dim_param = "side"
    del model.graph.output[:]
    model.graph.output.append(onnx.ValueInfoProto(name=name))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = []
    for begin in range(0, len(pictures), 32):
        batch = np.stack([_pixels(picture, SIDE) for picture in pictures[begin : begin + 32]])
        image = (batch.transpose(0, 3, 1, 2) - 127) / 128
        found.append(np.asarray(session.run([name], {"image": image.astype(np.float32)})[0]))
    return np.concatenate(found)


def _pixels(picture: bytes, side: int) -> np.ndarray:
    with Image.open(io.BytesIO(picture)) as opened:
        return np.asarray(opened.convert("RGB").resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32)
