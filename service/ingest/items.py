"""What a reader of a format gives: a stream of items, and what it knows of them before the first."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from preceptor.contract.probes import ProbeModality
from service.core.errors import TooLarge
from service.core.settings import Settings

from .columns import ChosenColumns

MAX_RATIO: Final = 200
"""Texts reach 10, pictures 1; deflate cannot pass 1032, and a table may name one value as often as it likes."""
_FREE_BYTES: Final = 2**26


def check_expansion(uploaded: int, expanded: int, what: str) -> None:
    """The bound on expansion, of every format: asked before anything is read, and again as items come.

    Parameters
    ----------
    uploaded, expanded
        Bytes.
    what
        What expands, for the message.

    Raises
    ------
    TooLarge
        No upload of pictures, texts or vectors expands so far.
    """
    if expanded > _FREE_BYTES and expanded > MAX_RATIO * uploaded:
        raise TooLarge(
            f"{what}: {uploaded:,} bytes expand to {expanded:,}, which is more than {MAX_RATIO}-fold and looks like a "
            "decompression bomb. Send the items themselves, each once, and not how to make them"
        )


RawLabel = int | float | str | None
RawItem = bytes | str | NDArray[np.float32] | None


@dataclass(frozen=True)
class Item:
    """One item as the upload has it.

    Attributes
    ----------
    content
        An encoded picture, a text, a vector (float32, shape (D,)), or None (opaque).
    label
        A class name, a class number (a float where the upload has one), or None.
    where
        Where it stands, for messages: "row 7", "line 8", "'cats/1.png'".
    picture
        The decoded picture, if the reader made the content from it.
    """

    content: RawItem
    label: RawLabel
    where: str
    picture: Image.Image | None = None


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
    folders
        Labels are names of folders, which are never words for a missing value.
    columns
        Of a table: which columns are read and which are not. Complete once the labels were read.
    encoding
        Of a text file.
    warnings
        What may be wrong with the upload. Complete once the items were read.
    """

    modality: ProbeModality
    items: Iterator[Item]
    labels: Callable[[], Iterator[tuple[RawLabel, str]]] | None = None
    dimension: int | None = None
    label_names: list[str] | None = None
    untyped: bool = False
    folders: bool = False
    columns: ChosenColumns | None = None
    encoding: str | None = None
    warnings: list[str] = field(default_factory=list[str])


class Reader(Protocol):
    """Opens one format. Raises errors of `service.core.errors` that say what is wrong and where."""

    def __call__(self, source: Path, settings: Settings) -> Stream: ...


def shown(value: object) -> str:
    """A value from an upload as a message may quote it: escaped, and never long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:76]}...{text[-1]}"
