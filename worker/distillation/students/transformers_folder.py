"""Students that are `transformers` classifiers: encoding, and a folder that plain `transformers` loads again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn

from preceptor.contract.teachers import ImagePreprocessing, Modality, Source, TransformersSource
from worker.teachers.preprocessing.texts import TextEncoder

from ..data import Encoded, EncodedPictures, EncodedTexts, ExactReader
from ..inputs import ItemSource

TEXT_INPUTS: Final = ("input_ids", "attention_mask")


class PictureLogits(nn.Module):
    """A `transformers` picture classifier whose forward returns only the logits."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Logits, shape (B, S)."""
        return self.inner(pixel_values=pixel_values).logits


class TextLogits(nn.Module):
    """A `transformers` text classifier whose forward returns only the logits."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits, shape (B, S)."""
        return self.inner(input_ids=input_ids, attention_mask=attention_mask).logits


def picture_preprocessing(size: tuple[int, int], depth: int) -> ImagePreprocessing:
    """Stretched to `size`, values to -1..1: the preprocessing that `processor_config` describes for `transformers`."""
    return ImagePreprocessing(
        size=size, resize="exact", mean=[127.5], std=[127.5], channels="rgb" if depth == 3 else "gray"
    )


def processor_config(how: ImagePreprocessing) -> dict[str, Any]:
    """`preprocessor_config.json` equivalent to `how` (exact size, bilinear)."""
    depth = 3 if how.channels == "rgb" else 1
    mean = how.mean * depth if len(how.mean) == 1 else how.mean
    std = how.std * depth if len(how.std) == 1 else how.std
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": how.size[0], "width": how.size[1]},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [value / 255 for value in mean],
        "image_std": [value / 255 for value in std],
        "do_convert_rgb": depth == 3,
    }


class PictureHandling:
    """Reads pictures for a student and writes its processor."""

    modality: Modality = "image"

    def __init__(self, how: ImagePreprocessing) -> None:
        self.how = how

    def encode(self, source: ItemSource, device: torch.device) -> Encoded:
        """Pictures at the student's size."""
        return EncodedPictures(source, ExactReader(self.how), device)

    def save(self, folder: Path) -> None:
        """`preprocessor_config.json`."""
        (folder / "preprocessor_config.json").write_text(
            json.dumps(processor_config(self.how), indent=2), encoding="utf-8"
        )


class Handling(Protocol):
    """Reads items for a student and writes the preprocessing."""

    @property
    def modality(self) -> Modality: ...
    def encode(self, source: ItemSource, device: torch.device) -> Encoded:
        """Items as inputs."""
        ...

    def save(self, folder: Path) -> None:
        """Write the processor's or tokenizer's files."""
        ...


class TextHandling:
    """Reads texts for a student and writes its tokenizer.

    Parameters
    ----------
    tokenizer
        A `tokenizer.json`; a `tokenizer_config.json` beside it is copied with it.
    """

    modality: Modality = "text"

    def __init__(self, tokenizer: Path, max_length: int, pad_id: int | None = None) -> None:
        self._tokenizer = tokenizer
        self.encoder = TextEncoder(tokenizer, max_length=max_length, pad_id=pad_id)

    def encode(self, source: ItemSource, device: torch.device) -> Encoded:
        """Token numbers."""
        return EncodedTexts(source, self.encoder, TEXT_INPUTS, device)

    def save(self, folder: Path) -> None:
        """`tokenizer.json` and `tokenizer_config.json`."""
        shutil.copyfile(self._tokenizer, folder / "tokenizer.json")
        beside = self._tokenizer.with_name("tokenizer_config.json")
        if beside.is_file():
            shutil.copyfile(beside, folder / "tokenizer_config.json")


class TransformersBlueprint:
    """A `transformers` classifier, built by a function.

    Parameters
    ----------
    make
        Builds a new model; the labels of its config are set when it is saved.
    draws
        False for an architecture without dropout.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], nn.Module],
        handling: Handling,
        *,
        learning_rate: float,
        device: str,
        draws: bool = True,
    ) -> None:
        self.name = name
        self.light = False
        self.draws = draws
        self.learning_rate = learning_rate
        self.modality: Modality = handling.modality
        self._make, self._handling = make, handling
        self._device = torch.device(device)

    def encode(self, source: ItemSource) -> Encoded:
        """Items as the model's inputs."""
        return self._handling.encode(source, self._device)

    def build(self) -> nn.Module:
        """A new model."""
        wrap = PictureLogits if self.modality == "image" else TextLogits
        return wrap(self._make()).to(self._device)

    def save(self, model: nn.Module, folder: Path, labels: list[str]) -> Source:
        """`config.json` with the labels, `model.safetensors`, and the processor or tokenizer."""
        import transformers

        transformers.utils.logging.disable_progress_bar()
        inner: Any = model.get_submodule("inner")
        inner.config.id2label = dict(enumerate(labels))
        inner.config.label2id = {label: number for number, label in enumerate(labels)}
        inner.config.problem_type = "single_label_classification"
        inner.save_pretrained(folder)
        self._handling.save(folder)
        return TransformersSource()
