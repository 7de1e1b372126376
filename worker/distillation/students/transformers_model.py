"""Any classifier of `transformers`, from scratch: a model type and overrides of its config, bounded in size."""

from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from worker.errors import ComputationFailed
from worker.teachers.errors import TeacherUnusable
from worker.teachers.sources.transformers import check_config

from ..blueprint import Surroundings
from .transformers_folder import (
    Handling,
    PictureHandling,
    TextHandling,
    TransformersBlueprint,
    picture_preprocessing,
)
from .words import MAX_LENGTH, learned_words

LARGEST: Final = 400_000_000
"""Weights; a student is smaller than its teacher, and AdamW keeps four numbers a weight."""
_PIXELS: Final = 64
_OWN: Final = ("num_labels", "id2label", "label2id", "vocab_size", "pad_token_id", "problem_type")


def auto_class(modality: str) -> Any:
    """The `transformers` auto class of a modality's classifiers."""
    import transformers

    if modality == "image":
        return transformers.AutoModelForImageClassification
    return transformers.AutoModelForSequenceClassification


def fresh_blueprint(around: Surroundings, settings: dict[str, Any]) -> TransformersBlueprint:
    """The blueprint of a model type and config overrides.

    Raises
    ------
    ComputationFailed
        An unknown model type or setting, no classifier of the data's modality, or too large.
    """
    modality, model_type = around.items.modality, settings["model_type"]
    if modality == "features":
        raise ComputationFailed(
            "transformers students take pictures or texts; use the student 'mlp' for feature vectors"
        )
    overrides: dict[str, Any] = dict(settings["config"])
    if modality == "image":
        config, handling = _picture_config(model_type, overrides, around)
    else:
        config, handling = _text_config(model_type, overrides, around)
    auto = auto_class(modality)
    if type(config) not in auto._model_mapping:
        raise ComputationFailed(f"transformers has no {modality} classifier of model type {model_type!r}")
    _check_size(auto, config, model_type)

    def make() -> nn.Module:
        return auto.from_config(config, trust_remote_code=False)

    return TransformersBlueprint(model_type, make, handling, learning_rate=5e-4, device=around.device)


def _config(model_type: str, overrides: dict[str, Any], around: Surroundings) -> Any:
    from transformers import CONFIG_MAPPING

    if model_type not in CONFIG_MAPPING:
        raise ComputationFailed(f"transformers has no model type {model_type!r}; use one like resnet, vit or bert")
    kind = CONFIG_MAPPING[model_type]
    known = kind().to_dict()
    for key in overrides:
        if key in _OWN:
            raise ComputationFailed(f"the config's {key!r} follows from the data; leave it out")
        if key not in known:
            raise ComputationFailed(f"a {model_type!r} config has no {key!r}")
    try:
        check_config(overrides)
        config: Any = kind(**overrides)
        config.num_labels = around.classes
        check_config({key: value for key, value in config.to_dict().items() if key not in _OWN})
    except TeacherUnusable as error:
        raise ComputationFailed(f"the student's config is rejected: {error.detail}") from None
    except Exception as error:
        raise ComputationFailed(f"the student's config is not valid: {str(error).splitlines()[0][:200]}") from None
    return config


def _picture_config(model_type: str, overrides: dict[str, Any], around: Surroundings) -> tuple[Any, PictureHandling]:
    from transformers import CONFIG_MAPPING

    asked = overrides.get("image_size")
    if model_type in CONFIG_MAPPING and "image_size" not in CONFIG_MAPPING[model_type]().to_dict():
        # Convolutional networks take any size; a request may still set one.
        overrides.pop("image_size", None)
    config = _config(model_type, overrides, around)
    size = asked if asked is not None else getattr(config, "image_size", _PIXELS)
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(side, int) and 8 <= side <= 1024 for side in pair):
        raise ComputationFailed(f"image_size is {size!r}; give one or two sides between 8 and 1024 pixels")
    depth = getattr(config, "num_channels", 3)
    if depth not in (1, 3):
        raise ComputationFailed(f"num_channels is {depth}; pictures have 1 (gray) or 3 (colours)")
    return config, PictureHandling(picture_preprocessing((pair[0], pair[1]), depth))


def _text_config(model_type: str, overrides: dict[str, Any], around: Surroundings) -> tuple[Any, Handling]:
    config = _config(model_type, overrides, around)
    sources = [around.items, *([around.transfer] if around.transfer is not None else [])]
    words = learned_words(Path(around.scratch), sources)
    config.vocab_size, config.pad_token_id = words.size, 0
    limit = getattr(config, "max_position_embeddings", None)
    length = min(limit - 2, MAX_LENGTH) if isinstance(limit, int) and limit > 8 else MAX_LENGTH
    return config, TextHandling(words.tokenizer, length)


def _check_size(auto: Any, config: Any, model_type: str) -> None:
    try:
        with torch.device("meta"):
            model = auto.from_config(config, trust_remote_code=False)
    except Exception as error:
        raise ComputationFailed(
            f"a {model_type!r} student cannot be built from this config: {str(error).splitlines()[0][:200]}"
        ) from None
    count = sum(parameter.numel() for parameter in model.parameters())
    if count > LARGEST:
        raise ComputationFailed(f"the student has {count:,} weights, more than {LARGEST:,}; choose a smaller config")
