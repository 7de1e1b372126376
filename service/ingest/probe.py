"""From an upload to a canonical file: the labels are read once for their names, then the items, one by one."""

from array import array
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from preceptor.contract.probes import ProbeFormat
from service.core.errors import InvalidProbe, TooLarge
from service.core.settings import Settings
from service.core.storage.item_hashes import Hashes, hash_of_text, hash_of_vector, hashes_of_picture
from service.core.storage.probe_file import ProbeWriter

from .images import Pictures, as_grey, check_picture
from .items import Item, Stream, check_expansion, shown
from .labels import Classes, classes_of
from .readers.formats import READERS, found_format

_SOME: Final = 20
"""Items from which it is odd that most have a class to themselves."""


@dataclass(frozen=True)
class IngestedProbe:
    """A probe on disk, not yet registered.

    Attributes
    ----------
    digest
        SHA-256 of the content, in hex; equal for equal content in any format.
    description
        The fields of `preceptor.contract.probes.Probe` that describe the content.
    notes
        Those that describe the upload: `columns`, `encoding` and `warnings`.
    hashes
        Of the items (`service.core.storage.item_hashes`); None if they were not uploaded.
    """

    digest: str
    description: dict[str, Any]
    path: Path
    notes: dict[str, Any]
    hashes: Hashes | None = None


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
        How the format is determined; by the first bytes if both are None.
    labels
        Class names in label order. String labels must be among them; numbers index them, unless the file names
        its own classes.
    target
        The file to write; it is removed where an error is raised.

    Raises
    ------
    InvalidProbe, TooLarge, UnsupportedType
        The text says what is wrong, where, and what to do.
    StoreFull, StoreUnavailable
        `target` cannot be written.
    """
    kind = found_format(source, filename, format)
    stream = READERS[kind](source, settings)
    classes = classes_of(stream, labels)
    size = pixels = 0
    pictures, nearly = Pictures(), array("Q")
    uploaded = source.stat().st_size
    with ProbeWriter(target, stream.modality, labelled=classes.labelled, dimension=stream.dimension) as writer:
        for item in stream.items:
            if writer.count >= settings.max_probe_items:
                raise TooLarge(f"the probe has more than {settings.max_probe_items:,} items; send a smaller sample")
            size += _checked(item, stream, settings)
            content, near = item.content, (0, 0)
            if isinstance(content, bytes):
                if item.picture is None:
                    found = check_picture(content, item.where, settings, pixels, pictures)
                    content, grey = found.data, found.grey
                    pixels += found.pixels
                else:
                    grey = as_grey(item.picture)
                    pictures.see(grey, item.where)
                near = hashes_of_picture(grey)
            elif isinstance(content, str):
                near = hash_of_text(content), 0
            elif content is not None:
                near = hash_of_vector(content), 0
            nearly.extend(near)
            if size > settings.max_probe_expanded_bytes:
                raise TooLarge(
                    f"the items expand to more than {settings.max_probe_expanded_bytes:,} bytes ({item.where}); send a "
                    "smaller sample"
                )
            check_expansion(uploaded, size, f"{item.where} and the items before it")
            writer.add(content, classes.numbers[item.label] if classes.labelled else None)
        if writer.count == 0:
            raise InvalidProbe("the file has no items; a probe needs at least one")
        stream.warnings.extend(pictures.finish())
        digest = writer.finish(classes.names)
    counts = None
    if classes.labelled:
        number = len(classes.names) if classes.names is not None else max(writer.class_counts) + 1
        counts = [writer.class_counts.get(place, 0) for place in range(number)]
    repeated = (
        0 if stream.modality == "opaque" else writer.count - len(np.unique(np.frombuffer(writer.hashes, np.uint64)))
    )
    return IngestedProbe(
        digest,
        {
            "modality": stream.modality,
            "items": writer.count,
            "labelled": classes.labelled,
            "labels": classes.names,
            "counts": counts,
            "dimension": stream.dimension,
            "format": kind,
            "size": target.stat().st_size,
        },
        target,
        {
            "columns": None if stream.columns is None else asdict(stream.columns),
            "encoding": stream.encoding,
            "warnings": _warnings(stream, classes, writer.count, repeated),
        },
        None
        if stream.modality == "opaque"
        else np.column_stack([writer.hashes, np.frombuffer(nearly, np.uint64).reshape(-1, 2)]).astype(np.uint64),
    )


def _warnings(stream: Stream, classes: Classes, items: int, repeated: int) -> list[str]:
    """What may be wrong with an upload that was read."""
    found = (
        [] if stream.columns is None else stream.columns.warnings(stream.label_names is not None or classes.labelled)
    )
    found += classes.warnings
    if not stream.folders and stream.label_names is None and items >= _SOME and len(classes.numbers) > items / 2:
        where = "" if stream.columns is None else f" in column {shown(stream.columns.label)}"
        found.append(
            f"{items:,} items have {len(classes.numbers):,} different labels{where}. Is it the column of labels?"
        )
    if classes.labelled and repeated:
        found.append(
            f"{repeated:,} of {items:,} items are equal to an earlier item. If a part of this probe is held out, it is "
            "not independent of the rest: send every item once"
        )
    return [*found, *stream.warnings]


def _checked(item: Item, stream: Stream, settings: Settings) -> int:
    """Refuse an item over a limit. Returns its bytes."""
    content = item.content
    if isinstance(content, bytes):
        if len(content) > settings.max_item_bytes:
            raise TooLarge(
                f"{item.where}: {len(content):,} bytes; at most {settings.max_item_bytes:,} are taken for one item"
            )
        return len(content)
    if isinstance(content, str):
        if len(content) > settings.max_text_length:
            raise TooLarge(
                f"{item.where}: the text has {len(content):,} characters; at most {settings.max_text_length:,} are "
                "taken. Cut it, or split it into several items"
            )
        try:
            return len(content.encode())
        except UnicodeEncodeError as error:
            raise InvalidProbe(
                f"{item.where}: character {error.start} of the text is half of a surrogate pair, which is not valid "
                "Unicode. Remove or replace it"
            ) from error
    if isinstance(content, np.ndarray):
        if content.shape != (stream.dimension,):
            raise InvalidProbe(
                f"{item.where}: the vector has {len(content):,} values and the first has {stream.dimension:,}; all "
                "must be equally long"
            )
        return content.nbytes
    return 0
