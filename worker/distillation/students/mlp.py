"""A perceptron with one hidden layer, for feature vectors."""

import json
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from preceptor.contract.teachers import FeaturesPreprocessing, Modality, OnnxSource, Source

from ..blueprint import Surroundings
from ..data import Encoded, EncodedVectors
from ..inputs import ItemSource

HIDDEN: Final = 128


class Perceptron(nn.Module):
    """Standardise, one hidden layer, logits."""

    def __init__(self, mean: Tensor, std: Tensor, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.hidden = nn.Linear(len(mean), HIDDEN)
        self.head = nn.Linear(HIDDEN, classes)

    def forward(self, features: Tensor) -> Tensor:
        """Logits, shape (B, S), of vectors of shape (B, D)."""
        values = (features - self.get_buffer("mean")) / self.get_buffer("std")
        return self.head(torch.relu(self.hidden(values)))


class MlpBlueprint:
    """`mlp`."""

    name = "mlp"
    modality: Modality = "features"
    learning_rate = 3e-3
    light = True
    draws = False

    def __init__(self, around: Surroundings, settings: dict[str, Any]) -> None:
        self._device = torch.device(around.device)
        encoded = EncodedVectors(around.items, None, self._device)
        self._dimension = encoded.values.shape[1]
        values = encoded.values
        if around.transfer is not None:
            # Unlabelled items also help to estimate the scale of the features.
            transfer = EncodedVectors(around.transfer, self._dimension, self._device).values
            values = torch.cat([values, transfer])
        self._mean = values.mean(dim=0)
        spread = values.std(dim=0, correction=0)
        # A constant feature stays 0 instead of being scaled up.
        self._std = torch.where(spread > 1e-6 * spread.max().clamp_min(1e-12), spread, torch.ones_like(spread))
        self._classes = around.classes

    def encode(self, source: ItemSource) -> Encoded:
        """Feature vectors."""
        return EncodedVectors(source, self._dimension, self._device)

    def build(self) -> nn.Module:
        """A new perceptron."""
        return Perceptron(self._mean, self._std, self._classes).to(self._device)

    def save(self, model: nn.Module, folder: Path, labels: list[str]) -> Source:
        """`model.safetensors` and `config.json`; registered as ONNX."""
        save_file({n: t.contiguous() for n, t in model.state_dict().items()}, folder / "model.safetensors")
        config = {
            "model_type": "preceptor-mlp",
            "dimension": self._dimension,
            "hidden": HIDDEN,
            "activation": "relu",
            "id2label": {str(n): label for n, label in enumerate(labels)},
        }
        (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False), encoding="utf-8")
        return OnnxSource(preprocessing=FeaturesPreprocessing(dimension=self._dimension))
