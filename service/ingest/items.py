"""What a reader of a format gives: a stream of items, and what it knows of them before the first."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from preceptor.contract.probes import ProbeModality
from service.state.settings import Settings

RawLabel = int | str | None
RawItem = bytes | str | NDArray[np.float32] | None


@dataclass(frozen=True)
class Item:
    """One item as the upload has it.

    Attributes
    ----------
    content
        An encoded picture, a text, a vector (float32, shape (D,)), or None (opaque).
    label
        A class name, a class number, or None.
    where
        Where it stands, for messages: "row 7", "line 8", "cats/1.png".
    """

    content: RawItem
    label: RawLabel
    where: str


@dataclass
class Stream:
    """An opened upload.

    Attributes
    ----------
    label_names
        Class names that the upload itself declares, in label order.
    labelled
        Whether every item carries a label.
    """

    modality: ProbeModality
    labelled: bool
    items: Iterator[Item]
    dimension: int | None = None
    label_names: list[str] | None = None


class Reader(Protocol):
    """Opens one format. Raises errors of `service.state.errors` that say what is wrong and where."""

    def __call__(self, source: Path, settings: Settings) -> Stream: ...
