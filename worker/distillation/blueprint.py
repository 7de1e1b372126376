"""What a student is to the trainer: something that encodes items, is built anew for a seed, and can be saved."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import nn

from preceptor.contract.teachers import Modality, Source

from .data import Encoded
from .inputs import ItemSource


@dataclass(frozen=True)
class Surroundings:
    """What a blueprint may look at when it is made.

    Attributes
    ----------
    items
        The labelled items it will be trained on: their dimension, their words, their picture size.
    transfer
        The transfer items, where there are any.
    classes
        S.
    device
        Where it will be trained, a torch device name.
    folder
        A `transformers` folder to start from, for the kind "registered".
    scratch
        A folder for files of its own: a tokenizer that it made.
    """

    items: ItemSource
    transfer: ItemSource | None
    classes: int
    device: str
    scratch: Path
    folder: Path | None = None


class Blueprint(Protocol):
    """A student's architecture.

    Attributes
    ----------
    name
        For the record.
    modality
        What it takes.
    learning_rate
        Its own default.
    light
        Whether it trains in seconds: the gate then affords more folds and choices.
    draws
        Whether a step may draw from torch's global generator, as dropout does. Students that do not can be trained
        side by side.
    """

    @property
    def name(self) -> str: ...
    @property
    def modality(self) -> Modality: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def light(self) -> bool: ...
    @property
    def draws(self) -> bool: ...

    def encode(self, source: ItemSource) -> Encoded:
        """Items as its inputs."""
        ...

    def build(self) -> nn.Module:
        """A new student whose ``forward(**inputs)`` gives logits, shape (B, S).

        Random initial weights come from torch's global generator, which the trainer has seeded.
        """
        ...

    def save(self, model: nn.Module, folder: Path, labels: list[str]) -> Source:
        """Write config, weights (safetensors) and preprocessing; return how the folder is registered."""
        ...
