"""From an upload to a canonical file: one pass for the labels where they must be known first, one for the items."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import ValidationError

from preceptor.contract.labels import MAX_LABELS, LabelSetBody
from preceptor.contract.probes import ProbeFormat
from service.state.errors import InvalidProbe, TooLarge
from service.state.probe_file import ProbeWriter
from service.state.settings import Settings

from .formats import READERS, found_format
from .items import Item, RawLabel, Stream
from .pictures import check_picture

_UNLABELLED: Final = -1


@dataclass(frozen=True)
class IngestedProbe:
    """A probe on disk, not yet registered.

    Attributes
    ----------
    digest
        SHA-256 of the content, in hex; equal for equal content in any format.
    description
        The fields of `preceptor.contract.probes.Probe` but for its id and time.
    """

    digest: str
    description: dict[str, Any]
    path: Path


def ingest(
    source: Path,
    *,
    filename: str | None,
    format: ProbeFormat | None,
    labels: list[str] | None,
    settings: Settings,
    target: Path,
) -> IngestedProbe:
    """Turn an upload into a canonical file. Blocking.

    Parameters
    ----------
    source
        The upload.
    filename, format
        How the format is told; its first bytes where both are None.
    labels
        Class names in label order. String labels must be among them, numbers index them.
    target
        The file to write; it is removed where an error is raised.

    Raises
    ------
    InvalidProbe, TooLarge, UnsupportedType
        The text says what is wrong, where, and what to do.
    """
    kind = found_format(source, filename, format)
    reader = READERS[kind]
    stream = reader(source, settings)
    names, labelled = _class_names(reader(source, settings), labels)
    position = None if names is None else {name: number for number, name in enumerate(names)}
    with ProbeWriter(target, stream.modality, labelled=labelled, dimension=stream.dimension) as writer:
        for item in stream.items:
            if writer.count >= settings.max_probe_items:
                raise TooLarge(f"the probe has more than {settings.max_probe_items:,} items")
            _check(item, stream, settings)
            writer.add(item.content, _number(item, position, names) if labelled else None)
        if writer.count == 0:
            raise InvalidProbe("the file has no items")
        if not labelled:
            names = names if labels is not None else None
        counts = None
        if labelled:
            classes = len(names) if names is not None else max(writer.class_counts) + 1
            counts = [writer.class_counts.get(number, 0) for number in range(classes)]
        digest = writer.finish(names)
    return IngestedProbe(
        digest,
        {
            "modality": stream.modality,
            "items": writer.count,
            "labelled": labelled,
            "labels": names,
            "counts": counts,
            "dimension": stream.dimension,
            "format": kind,
            "size": target.stat().st_size,
        },
        target,
    )


def _class_names(stream: Stream, given: list[str] | None) -> tuple[list[str] | None, bool]:
    """Class names in label order, and whether the items are labelled. Reads the labels where nothing names them."""
    declared = given or stream.label_names
    if not stream.labelled:
        return (_label_set(declared) if declared else None), False
    seen: dict[RawLabel, str] = {}
    missing: str | None = None
    for item in stream.items:
        label = None if item.label == _UNLABELLED or item.label is None else item.label
        if label is None:
            missing = missing or item.where
        elif label not in seen:
            seen[label] = item.where
            if len(seen) > MAX_LABELS:
                raise TooLarge(f"the labels have more than {MAX_LABELS:,} different values")
        if missing and seen:
            raise InvalidProbe(
                f"some items have a label and some have none ({missing}). Upload the labelled and the unlabelled "
                "ones as two probes"
            )
    if not seen:
        return (_label_set(declared) if declared else None), False
    texts = sorted(label for label in seen if isinstance(label, str))
    numbers = [label for label in seen if isinstance(label, int)]
    if texts and numbers:
        raise InvalidProbe(
            f"labels must be all names or all numbers: {seen[texts[0]]} has {texts[0]!r}, {seen[numbers[0]]} has "
            f"{numbers[0]}"
        )
    if numbers and min(numbers) < 0:
        raise InvalidProbe(f"{seen[min(numbers)]} has the class number {min(numbers)}; numbers start at 0")
    names = _label_set(declared) if declared else None
    if texts:
        names = names or _label_set(texts)
        if unknown := [text for text in texts if text.strip() not in names]:
            raise InvalidProbe(f"{seen[unknown[0]]} has the label {unknown[0]!r}, which is not among the class names")
    elif names is not None and max(numbers) >= len(names):
        raise InvalidProbe(
            f"{seen[max(numbers)]} has class number {max(numbers)}, but there are {len(names)} class names (0 to "
            f"{len(names) - 1})"
        )
    elif names is None and max(numbers) >= MAX_LABELS:
        raise InvalidProbe(
            f"{seen[max(numbers)]} has class number {max(numbers)}; at most {MAX_LABELS} classes are taken"
        )
    if len(seen) < 2 and names is None:
        raise InvalidProbe("all items have the same class; with one class there is nothing to tell apart")
    return names, True


def _label_set(names: list[str]) -> list[str]:
    try:
        return LabelSetBody(labels=names).labels
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidProbe(f"class names: {str(first['msg']).removeprefix('Value error, ')}") from error


def _number(item: Item, position: dict[str, int] | None, names: list[str] | None) -> int:
    if isinstance(item.label, int):
        return item.label
    assert position is not None
    assert names is not None
    return position[str(item.label).strip()]


def _check(item: Item, stream: Stream, settings: Settings) -> None:
    content = item.content
    if isinstance(content, bytes):
        if len(content) > settings.max_item_bytes:
            raise TooLarge(
                f"{item.where}: {len(content):,} bytes; at most {settings.max_item_bytes:,} are taken for one item"
            )
        check_picture(content, item.where, settings)
    elif isinstance(content, str):
        if len(content) > settings.max_text_length:
            raise TooLarge(
                f"{item.where}: {len(content):,} characters; at most {settings.max_text_length:,} are taken"
            )
        try:
            content.encode()
        except UnicodeEncodeError as error:
            raise InvalidProbe(f"{item.where}: the text has a lone surrogate and is not valid Unicode") from error
    elif isinstance(content, np.ndarray) and content.shape != (stream.dimension,):
        raise InvalidProbe(
            f"{item.where}: the vector has {content.shape[0]:,} values, the first has {stream.dimension}"
        )
