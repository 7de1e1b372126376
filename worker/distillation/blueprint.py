"""The interface of a student to the trainer: it encodes items, builds a new model for a seed, and saves it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import nn

from preceptor.contract.teachers import Modality, Source

from .data import Encoded
from .inputs import ItemSource


@dataclass(frozen=True)
class Surroundings:
    """The inputs from which a blueprint is made.

    Attributes
    ----------
    items
        The labelled items of the training: they set dimension, vocabulary and picture size.
    transfer
        The transfer items, or None.
    classes
        S.
    device
        Device of the training, a torch device name.
    folder
        A `transformers` folder to start from, for the kind "registered".
    scratch
        A folder for temporary files, such as a new tokenizer.
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
        Modality of its items.
    learning_rate
        The student's default.
    light
        Whether it trains in seconds: the gate then uses more folds and choices.
    draws
        Whether a step may draw from torch's global generator, as dropout does. Students that do not can be trained
        in parallel.
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

        Random initial weights come from torch's global generator, seeded by the trainer.
        """
        ...

    def save(self, model: nn.Module, folder: Path, labels: list[str]) -> Source:
        """Write config, weights (safetensors) and preprocessing; return the source for the folder's registration."""
        ...
