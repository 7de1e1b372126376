"""Start from a registered `transformers` model (also a promoted student); its head is new."""

import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from preceptor.contract.teachers import Modality
from worker.errors import ComputationFailed, InvalidItems
from worker.teachers.config_files import read_options
from worker.teachers.preprocessing.images import decode
from worker.teachers.preprocessing.picture_processor import load_processor
from worker.teachers.sources.transformers import check_config

from ..blueprint import Surroundings
from ..data import Encoded, EncodedPictures
from ..inputs import ItemSource
from .transformers_folder import Handling, TextHandling, TransformersBlueprint
from .transformers_model import auto_class
from .words import MAX_LENGTH

_PROCESSORS: Final = ("preprocessor_config.json", "processor_config.json")


class ProcessorReader:
    """Pictures through the model's own processor."""

    dtype = np.dtype(np.float32)

    def __init__(self, folder: Path, gray: bool) -> None:
        self._processor: Any = load_processor(folder)
        self._channels = "gray" if gray else "rgb"
        blank = np.zeros((32, 32) if gray else (32, 32, 3), dtype=np.uint8)
        made = self._processor(images=[blank], return_tensors="np")["pixel_values"]
        self.shape: tuple[int, int, int] = tuple(made.shape[1:])

    def read(self, pictures: list[bytes], names: list[int]) -> NDArray[np.float32]:
        """See `PictureReader.read`."""
        decoded = []
        for data, name in zip(pictures, names, strict=True):
            try:
                decoded.append(decode(data, channels=self._channels))
            except InvalidItems as error:
                raise ComputationFailed(f"item {name}: {error.detail}") from None
        return np.asarray(self._processor(images=decoded, return_tensors="np")["pixel_values"], np.float32)

    def finish(self, values: Tensor) -> Tensor:
        """Nothing remains to be done."""
        return values


class RegisteredPictures:
    """Pictures in the registered model's format."""

    modality: Modality = "image"

    def __init__(self, folder: Path, gray: bool) -> None:
        self._folder = folder
        self._reader = ProcessorReader(folder, gray)

    def encode(self, source: ItemSource, device: torch.device) -> Encoded:
        """Pictures through the model's processor."""
        return EncodedPictures(source, self._reader, device)

    def save(self, folder: Path) -> None:
        """The processor's files."""
        for name in _PROCESSORS:
            if (self._folder / name).is_file():
                shutil.copyfile(self._folder / name, folder / name)


def registered_blueprint(around: Surroundings, settings: dict[str, Any]) -> TransformersBlueprint:
    """The blueprint of a folder.

    Raises
    ------
    ComputationFailed
        The folder is not a `transformers` folder, or not a classifier of the data's modality.
    """
    folder, modality = around.folder, around.items.modality
    if folder is None or not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        raise ComputationFailed(
            "a student can start only from a model registered with the source 'transformers' (config.json and "
            "safetensors); choose such a model, or a built-in student"
        )
    if modality == "features":
        raise ComputationFailed("a transformers model takes pictures or texts, not feature vectors")
    from transformers import AutoConfig

    check_config(read_options(folder / "config.json"))
    config: Any = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    auto = auto_class(modality)
    if type(config) not in auto._model_mapping:
        raise ComputationFailed(f"a {config.model_type!r} model is no {modality} classifier of transformers")
    kept: dict[str, Tensor] = auto.from_pretrained(
        folder,
        config=config,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        dtype=torch.float32,
    ).state_dict()
    head = _head(auto, config)
    body = {name: tensor for name, tensor in kept.items() if name not in head}
    config.num_labels = around.classes

    def make() -> nn.Module:
        model = auto.from_config(config, trust_remote_code=False)
        absent, foreign = model.load_state_dict(body, strict=False)
        if foreign or set(absent) != head:
            raise ComputationFailed("the registered model's weights do not fit its config; register it again")
        return model

    handling: Handling
    if modality == "image":
        handling = RegisteredPictures(folder, getattr(config, "num_channels", 3) == 1)
    else:
        handling = TextHandling(folder / "tokenizer.json", MAX_LENGTH, config.pad_token_id)
    return TransformersBlueprint(
        f"{config.model_type} (registered)", make, handling, learning_rate=2e-4, device=around.device
    )


def _head(auto: Any, config: Any) -> set[str]:
    """The weights whose shape depends on the number of labels: these are the head, independent of its name."""
    shapes: list[dict[str, torch.Size]] = []
    labels = config.num_labels
    for count in (labels, labels + 1):
        config.num_labels = count
        with torch.device("meta"):
            model = auto.from_config(config, trust_remote_code=False)
        shapes.append({name: tensor.shape for name, tensor in model.state_dict().items()})
    config.num_labels = labels
    return {name for name, shape in shapes[0].items() if shapes[1][name] != shape}
