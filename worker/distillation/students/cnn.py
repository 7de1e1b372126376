"""A small residual network for pictures: a `transformers` ResNet preset, so that plain `transformers` loads it."""

from typing import Any, Final

from torch import nn

from ..blueprint import Surroundings
from .transformers_folder import PictureHandling, TransformersBlueprint, picture_preprocessing

SIZE: Final = 48
"""Pixels a side. The network halves its input twice before the first block; 32 pixels leave it too little."""
_PRESET: Final[dict[str, Any]] = {
    "num_channels": 3,
    "embedding_size": 32,
    "hidden_sizes": [32, 64, 128],
    "depths": [1, 1, 1],
    "layer_type": "basic",
}


class CnnBlueprint(TransformersBlueprint):
    """`cnn`: 0.3 million weights, pictures stretched to 48 x 48."""

    def __init__(self, around: Surroundings, settings: dict[str, Any]) -> None:
        from transformers import ResNetConfig, ResNetForImageClassification

        config: Any = ResNetConfig(**_PRESET)
        config.num_labels = around.classes

        def make() -> nn.Module:
            return ResNetForImageClassification(config)

        how = PictureHandling(picture_preprocessing((SIZE, SIZE), 3))
        super().__init__("cnn", make, how, learning_rate=2e-3, device=around.device, draws=False)
