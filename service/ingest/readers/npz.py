"""`.npz`: `images`, `features`, `texts`, or `labels` alone. Read row by row; no object is ever unpickled."""

import sys
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from preceptor.contract.labels import MAX_LABEL_LENGTH, MAX_LABELS
from preceptor.contract.probes import ProbeModality
from service.core.errors import InvalidProbe, TooLarge
from service.core.settings import Settings

from ..images import as_png
from ..items import Item, RawItem, RawLabel, Stream, shown
from .npy_header import Header, read_header
from .zip_archive import exactly, member, opened

_CONTENT: Final[dict[str, ProbeModality]] = {"images": "image", "x": "image", "features": "features", "texts": "text"}
_LABELS: Final = ("labels", "y")
_KNOWN: Final = (*_CONTENT, *_LABELS, "label_names", "items")
_CHUNK_BYTES: Final = 2**22
_NAMES_BYTES: Final = 64 * 2**20
_LABEL_BYTES: Final = 2**16


@dataclass(frozen=True)
class _Arrays:
    """The arrays of an archive: `content` and `labels` are those that the upload has, by whatever name."""

    content: Header | None
    labels: Header | None
    names: list[str] | None
    count: int


def read(source: Path, settings: Settings) -> Stream:
    """Open an `.npz`. See `service.ingest.items.Reader`."""
    arrays = _arrays(source, settings)
    content, labels = arrays.content, arrays.labels
    if arrays.count > settings.max_probe_items:
        raise TooLarge(f"the probe has {arrays.count:,} items; at most {settings.max_probe_items:,} are taken")
    if labels is not None and (labels.shape != (arrays.count,) or labels.dtype.kind not in "iuU"):
        raise InvalidProbe(
            f"{labels.name} must be whole numbers or strings of shape ({arrays.count},), one an item, not "
            f"{labels.dtype} {labels.shape}"
        )
    if labels is not None and labels.row_bytes > _LABEL_BYTES:
        raise TooLarge(
            f"{labels.name} is stored as strings of {labels.row_bytes // 4:,} characters; a class name has at most "
            f"{MAX_LABEL_LENGTH}. Where the names are shorter: numpy.array({labels.name}.tolist())"
        )
    modality: ProbeModality = "opaque" if content is None else _CONTENT[content.name]
    if content is not None:
        _check(content, modality, settings)

    def read_labels() -> Iterator[tuple[RawLabel, str]]:
        assert labels is not None
        with opened(source, settings, "npz") as archive, ExitStack() as stack:
            for number, row in enumerate(_rows(stack, archive, labels)):
                yield _label(row), f"row {number}"

    return Stream(
        modality,
        _items(source, settings, arrays),
        labels=read_labels if labels is not None else None,
        dimension=content.shape[1] if content is not None and modality == "features" else None,
        label_names=arrays.names,
    )


def _arrays(source: Path, settings: Settings) -> _Arrays:
    with opened(source, settings, "npz") as archive:
        members = [info for info in archive.infolist() if not info.is_dir()]
        infos = {info.filename.removesuffix(".npy"): info for info in members if info.filename.endswith(".npy")}
        content = [name for name in _CONTENT if name in infos]
        labels = [name for name in _LABELS if name in infos]
        unknown = sorted(
            {*infos} - {*_KNOWN} | {info.filename for info in members if not info.filename.endswith(".npy")}
        )
        if unknown or not (content or labels or "items" in infos):
            raise InvalidProbe(
                f"the npz has the arrays {_listed(sorted(infos))}. Wanted is one of images, features, texts, with "
                "labels and label_names where the items are labelled; or labels alone, or items (their number) alone, "
                f"where the items stay with you{f'. Not known: {_listed(unknown)}' if unknown else ''}"
            )
        if len(content) > 1 or len(labels) > 1:
            raise InvalidProbe(
                f"the npz has the arrays {content + labels}; give one of {', '.join(_CONTENT)} and one of "
                f"{', '.join(_LABELS)}"
            )
        headers: dict[str, Header] = {}
        for name, info in infos.items():
            with member(archive, info) as file:
                headers[name] = read_header(file, name, info.file_size)
        counts = {name: headers[name].shape[0] if headers[name].shape else 0 for name in (content + labels)[:1]}
        if "items" in headers:
            counts["items"] = _declared_count(archive, headers["items"])
        if len(set(counts.values())) > 1:
            raise InvalidProbe(f"the npz disagrees with itself on the number of items: {counts}")
        return _Arrays(
            headers[content[0]] if content else None,
            headers[labels[0]] if labels else None,
            _label_names(archive, headers["label_names"]) if "label_names" in headers else None,
            next(iter(counts.values())),
        )


def _listed(names: list[str]) -> str:
    return f"[{', '.join(shown(name) for name in names[:8])}]"


def _declared_count(archive: zipfile.ZipFile, header: Header) -> int:
    if header.shape not in ((), (1,)) or header.dtype.kind not in "iu":
        raise InvalidProbe(
            f"items must be one whole number (how many items there are), not {header.dtype} {header.shape}. The items "
            f"themselves go into one of {', '.join(_CONTENT)}"
        )
    with ExitStack() as stack:
        count = int(next(_rows(stack, archive, header)))
    if count < 0:
        raise InvalidProbe(f"items is {count}; it is the number of items")
    return count


def _label_names(archive: zipfile.ZipFile, header: Header) -> list[str]:
    if header.dtype.kind != "U" or len(header.shape) != 1:
        raise InvalidProbe(f"label_names must be strings of shape (classes,), not {header.dtype} {header.shape}")
    if header.shape[0] > MAX_LABELS or header.data_bytes > _NAMES_BYTES:
        raise TooLarge(
            f"label_names has {header.shape[0]:,} entries in {header.data_bytes:,} bytes; at most {MAX_LABELS:,} short "
            "names are taken"
        )
    with ExitStack() as stack:
        return [str(name) for name in _rows(stack, archive, header)]


def _check(content: Header, modality: ProbeModality, settings: Settings) -> None:
    name, shape, dtype = content.name, content.shape, content.dtype
    if modality == "image":
        if not (len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3, 4))) or not all(shape[1:]):
            raise InvalidProbe(
                f"{name} must be pictures of shape (items, height, width[, 1, 3 or 4]), not {shape}. Vectors go into "
                "features; channels come last: numpy.moveaxis(images, 1, -1)"
            )
        if dtype != np.uint8:
            raise InvalidProbe(
                f"{name} must be uint8 (0 to 255), not {dtype}. Values from 0 to 1 are turned into bytes by "
                f"(255 * {name}).round().astype('uint8'), values from -1 to 1 by (127.5 * ({name} + 1))"
            )
        if shape[1] * shape[2] > settings.max_image_pixels:
            raise TooLarge(
                f"{name} has pictures of {shape[2]:,} x {shape[1]:,} pixels; at most {settings.max_image_pixels:,} are "
                "taken. Scale them down"
            )
        if prod(shape[:3]) > settings.max_probe_pixels:
            raise TooLarge(
                f"{name} has {prod(shape[:3]):,} pixels in all; at most {settings.max_probe_pixels:,} are taken. Scale "
                "the pictures down, or send a smaller sample"
            )
    elif modality == "text":
        if len(shape) != 1 or dtype.kind != "U":
            raise InvalidProbe(f"texts must be strings of shape (items,), not {dtype} {shape}")
    elif len(shape) != 2 or dtype.kind not in "fiub" or shape[1] < 1:
        raise InvalidProbe(f"features must be real numbers of shape (items, dimension), not {dtype} {shape}")
    elif shape[1] > settings.max_feature_dimension:
        raise TooLarge(
            f"features have dimension {shape[1]:,}; at most {settings.max_feature_dimension:,} is taken. Reduce it "
            "first (a projection keeps most)"
        )
    if content.row_bytes > settings.max_item_bytes:
        raise TooLarge(
            f"one item of {name} has {content.row_bytes:,} bytes; at most {settings.max_item_bytes:,} are taken"
        )


def _items(source: Path, settings: Settings, arrays: _Arrays) -> Iterator[Item]:
    with opened(source, settings, "npz") as archive, ExitStack() as stack:
        rows = _rows(stack, archive, arrays.content) if arrays.content is not None else None
        labels = _rows(stack, archive, arrays.labels) if arrays.labels is not None else None
        for number in range(arrays.count):
            content = picture = None
            if rows is not None and arrays.content is not None:
                if _CONTENT[arrays.content.name] == "image":
                    picture = _picture(next(rows))
                    content = as_png(picture)
                else:
                    content = _content(arrays.content, next(rows), number)
            yield Item(content, _label(next(labels)) if labels is not None else None, f"row {number}", picture)


def _rows(stack: ExitStack, archive: zipfile.ZipFile, header: Header) -> Iterator[Any]:
    """The rows of an array, as arrays or scalars; a few megabytes are held at a time."""
    info = archive.getinfo(f"{header.name}.npy")
    file = stack.enter_context(member(archive, info))
    read_header(file, header.name, info.file_size)
    count = header.shape[0] if header.shape else 1
    step = max(1, _CHUNK_BYTES // max(header.row_bytes, 1))
    for begin in range(0, count, step):
        rows = min(step, count - begin)
        data = exactly(file, rows * header.row_bytes, header.name)
        if header.row_bytes == 0:  # strings of no character
            yield from [""] * rows
        else:
            if header.dtype.kind == "U":
                _check_code_points(data, header)
            yield from np.frombuffer(data, header.dtype).reshape(rows, *header.shape[1:])


def _check_code_points(data: bytes, header: Header) -> None:
    """numpy itself fails on such strings, with an error that cannot be distinguished."""
    points = np.frombuffer(data, np.dtype(np.uint32).newbyteorder(header.dtype.byteorder))
    if points.max() > sys.maxunicode:
        raise InvalidProbe(
            f"{header.name!r} holds the code point {points.max():#x}, which is no Unicode: the array is damaged. Save "
            "it again"
        )


def _label(row: Any) -> RawLabel:
    return str(row) if isinstance(row, str) else int(row)


def _content(header: Header, row: Any, number: int) -> RawItem:
    modality = _CONTENT[header.name]
    if modality == "text":
        return str(row)
    with np.errstate(over="ignore"):
        vector = row.astype(np.float32)
    finite = np.isfinite(vector)
    if not finite.all():
        place = int(np.argmin(finite))
        raise InvalidProbe(
            f"features[{number}, {place}] is {row[place]}: every value must be finite as float32. Drop or replace such "
            "rows"
        )
    return vector


def _picture(pixels: NDArray[np.uint8]) -> Image.Image:
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(pixels))
