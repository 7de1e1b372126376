"""What a reader of a format gives: a stream of items, and what it knows of them before the first."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from preceptor.contract.probes import ProbeModality
from service.core.settings import Settings

MAX_RATIO: Final = 200
"""Texts reach 10, pictures 1; deflate cannot pass 1032, and a table may name one value as often as it likes."""
_FREE_BYTES: Final = 2**26


def expands_too_far(uploaded: int, expanded: int) -> bool:
    """Whether no honest upload of so many bytes turns into so many."""
    return expanded > _FREE_BYTES and expanded > MAX_RATIO * uploaded


RawLabel = int | str | None
RawItem = bytes | str | NDArray[np.float32] | None

IMAGE_COLUMNS: Final = ("image", "img")
TEXT_COLUMNS: Final = ("text", "sentence")
FEATURE_COLUMNS: Final = ("features", "embedding")
LABEL_COLUMNS: Final = ("label", "labels", "intent", "class", "fine_label")
"""Names that a column may have in tables (Parquet, CSV, JSON lines); the first that is there counts."""


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
        Where it stands, for messages: "row 7", "line 8", "'cats/1.png'".
    """

    content: RawItem
    label: RawLabel
    where: str


@dataclass(frozen=True)
class Stream:
    """An opened upload.

    Attributes
    ----------
    items
        To be read once.
    labels
        Reads the labels alone, each with its place, from the start; None where there is no column of labels.
    label_names
        Class names that the upload itself declares, in label order.
    untyped
        The format cannot tell numbers from texts (CSV), so labels come as texts that may be numbers.
    decoded
        The reader made the pictures itself from pixels, so they need no check.
    """

    modality: ProbeModality
    items: Iterator[Item]
    labels: Callable[[], Iterator[tuple[RawLabel, str]]] | None = None
    dimension: int | None = None
    label_names: list[str] | None = None
    untyped: bool = False
    decoded: bool = False


class Reader(Protocol):
    """Opens one format. Raises errors of `service.core.errors` that say what is wrong and where."""

    def __call__(self, source: Path, settings: Settings) -> Stream: ...


def shown(value: object) -> str:
    """A value from an upload as a message may quote it: escaped, and never long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:76]}...{text[-1]}"
