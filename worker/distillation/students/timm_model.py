"""A `timm` architecture, from scratch, if timm can be imported."""

import importlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from preceptor.contract.teachers import ImagePreprocessing, Modality, OnnxSource, Source
from worker.errors import ComputationFailed

from ..blueprint import Surroundings
from ..data import Encoded, EncodedPictures, ExactReader
from ..inputs import ItemSource
from .transformers_model import LARGEST


class Named(nn.Module):
    """A timm model whose input is named `pixel_values`."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Logits, shape (B, S)."""
        return self.inner(pixel_values)


class TimmBlueprint:
    """`timm`.

    Raises
    ------
    ComputationFailed
        timm cannot be imported here, or has no such architecture.
    """

    modality: Modality = "image"
    learning_rate = 1e-3
    light = False
    draws = True

    def __init__(self, around: Surroundings, settings: dict[str, Any]) -> None:
        self.name = self._architecture = settings["architecture"]
        self._device = torch.device(around.device)
        self._classes = around.classes
        try:
            self._timm: Any = importlib.import_module("timm")
        except Exception as error:  # with a CPU torch, torchvision fails inside timm with a RuntimeError
            raise ComputationFailed(
                f"timm cannot be imported on this worker ({str(error).splitlines()[0][:120]}); install timm and "
                f"the torchvision that fits this torch, or use a transformers student"
            ) from None
        if not self._timm.is_model(self._architecture):
            raise ComputationFailed(f"timm has no architecture {self._architecture!r}")
        with torch.device("meta"):
            model = self._timm.create_model(self._architecture, pretrained=False, num_classes=self._classes)
        count = sum(parameter.numel() for parameter in model.parameters())
        if count > LARGEST:
            raise ComputationFailed(f"the student has {count:,} weights, more than {LARGEST:,}")
        own = model.default_cfg
        size = own.get("input_size", (3, 224, 224))
        self._how = ImagePreprocessing(
            size=(size[1], size[2]),
            resize="exact",
            mean=[255 * value for value in own.get("mean", (0.5, 0.5, 0.5))],
            std=[255 * value for value in own.get("std", (0.5, 0.5, 0.5))],
        )

    def encode(self, source: ItemSource) -> Encoded:
        """Pictures at the architecture's size."""
        return EncodedPictures(source, ExactReader(self._how), self._device)

    def build(self) -> nn.Module:
        """A new model."""
        inner = self._timm.create_model(self._architecture, pretrained=False, num_classes=self._classes)
        return Named(inner).to(self._device)

    def save(self, model: nn.Module, folder: Path, labels: list[str]) -> Source:
        """timm's own weight names, and its config; registered as ONNX."""
        state = model.get_submodule("inner").state_dict()
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors")
        config = {"architecture": self._architecture, "num_classes": self._classes, "label_names": labels}
        (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False), encoding="utf-8")
        return OnnxSource(preprocessing=self._how)
