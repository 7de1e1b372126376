"""`.npz`: `images`, `features`, `texts`, or `labels` alone. Read row by row; no object is ever unpickled."""

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from math import prod
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image

from preceptor.contract.labels import MAX_LABELS
from service.state.errors import InvalidProbe, TooLarge, UnsupportedType
from service.state.settings import Settings

from .archive import exactly, member, opened
from .items import Item, RawItem, RawLabel, Stream

_CONTENT: Final = ("images", "x", "features", "texts")
_LABELS: Final = ("labels", "y")
_KNOWN: Final = (*_CONTENT, *_LABELS, "label_names", "items")
_CHUNK_BYTES: Final = 2**22
_NAMES_BYTES: Final = 64 * 2**20


@dataclass(frozen=True)
class Header:
    """What an array's header says."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        """Bytes of one item."""
        return self.dtype.itemsize * prod(self.shape[1:])


def read(source: Path, settings: Settings) -> Stream:
    """Open an `.npz`. See `service.ingest.items.Reader`."""
    with opened(source, settings, "npz") as archive:
        infos = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        headers = {name: _header(archive, info, name) for name, info in infos.items() if info.filename.endswith(".npy")}
        unknown = sorted(set(infos) - set(_KNOWN))
        content = [name for name in _CONTENT if name in headers]
        labels = [name for name in _LABELS if name in headers]
        if len(content) > 1 or len(labels) > 1:
            raise InvalidProbe(f"give one of {', '.join(_CONTENT)} and one of labels, y; found {sorted(headers)}")
        if not content and not labels and "items" not in headers:
            raise InvalidProbe(
                f"the npz has arrays {unknown or sorted(headers)}; wanted is one of images, features, texts (or labels "
                "alone, where the items stay with you)"
            )
        names = _names(archive, infos, headers)
        count = _count(archive, infos, headers, content, labels, settings)
        kind = headers[content[0]] if content else None
        label_header = headers[labels[0]] if labels else None
        if label_header is not None and (label_header.shape != (count,) or label_header.dtype.kind not in "iuU"):
            raise InvalidProbe(
                f"{label_header.name} must be whole numbers or strings of shape ({count},), not "
                f"{label_header.dtype} {label_header.shape}"
            )
    modality, dimension = _modality(kind)
    if dimension is not None and dimension > settings.max_feature_dimension:
        raise TooLarge(f"features have dimension {dimension:,}; at most {settings.max_feature_dimension:,} is taken")
    return Stream(
        modality=modality,
        labelled=label_header is not None,
        items=_items(source, settings, kind, label_header, count),
        dimension=dimension,
        label_names=names,
    )


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Header:
    with member(archive, info) as file:
        return read_header(file, name)


def read_header(file: IO[bytes], name: str) -> Header:
    """The header of a numpy array in a stream, which then stands at its data.

    Raises
    ------
    InvalidProbe, UnsupportedType
    """
    try:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read_header(file)
    except InvalidProbe:
        raise
    except Exception as error:
        raise InvalidProbe(f"{name!r} is not a readable numpy array: {str(error).splitlines()[0][:200]}") from error
    if dtype.hasobject:
        raise UnsupportedType(
            f"{name!r} holds Python objects, which would have to be unpickled, and no pickle is ever loaded. Save "
            "plain numbers or strings: numpy.asarray(texts, dtype=str)"
        )
    if fortran and len(shape) > 1:
        raise InvalidProbe(f"{name!r} is in Fortran order; save numpy.ascontiguousarray({name})")
    return Header(name, tuple(int(side) for side in shape), dtype)


def _modality(kind: Header | None) -> tuple[Any, int | None]:
    if kind is None:
        return "opaque", None
    if kind.name in ("images", "x"):
        picture = len(kind.shape) == 3 or (len(kind.shape) == 4 and kind.shape[3] in (1, 3, 4))
        if not picture or kind.dtype != np.uint8 or not all(kind.shape[1:]):
            raise InvalidProbe(
                f"{kind.name} must be uint8 of shape (items, height, width[, 1, 3 or 4]), not {kind.dtype} "
                f"{kind.shape}. Values 0..1 are turned to bytes by (255 * {kind.name}).round().astype('uint8')"
            )
        return "image", None
    if kind.name == "texts":
        if len(kind.shape) != 1 or kind.dtype.kind != "U":
            raise InvalidProbe(f"texts must be strings of shape (items,), not {kind.dtype} {kind.shape}")
        return "text", None
    if len(kind.shape) != 2 or kind.dtype.kind not in "fiub" or kind.shape[1] < 1:
        raise InvalidProbe(f"features must be numbers of shape (items, dimension), not {kind.dtype} {kind.shape}")
    return "features", kind.shape[1]


def _count(
    archive: zipfile.ZipFile,
    infos: dict[str, zipfile.ZipInfo],
    headers: dict[str, Header],
    content: list[str],
    labels: list[str],
    settings: Settings,
) -> int:
    named = (content + labels)[:1]
    if named:
        shape = headers[named[0]].shape
        count = shape[0] if shape else 0
    else:
        header = headers["items"]
        if prod(header.shape) != 1 or header.dtype.kind not in "iu":
            raise InvalidProbe("items must be one whole number: how many items there are")
        count = int(_whole(archive, infos["items"], header)[0])
    if count > settings.max_probe_items:
        raise TooLarge(f"the probe has {count:,} items; at most {settings.max_probe_items:,} are taken")
    return count


def _names(archive: zipfile.ZipFile, infos: dict[str, zipfile.ZipInfo], headers: dict[str, Header]) -> list[str] | None:
    header = headers.get("label_names")
    if header is None:
        return None
    if header.dtype.kind != "U" or len(header.shape) != 1:
        raise InvalidProbe(f"label_names must be strings of shape (classes,), not {header.dtype} {header.shape}")
    if header.shape[0] > MAX_LABELS or header.shape[0] * header.dtype.itemsize > _NAMES_BYTES:
        raise TooLarge(f"label_names has {header.shape[0]:,} entries; at most {MAX_LABELS:,} short names are taken")
    return [str(name) for name in _whole(archive, infos["label_names"], header)]


def _whole(archive: zipfile.ZipFile, info: zipfile.ZipInfo, header: Header) -> NDArray[Any]:
    with member(archive, info) as file:
        read_header(file, header.name)
        data = exactly(file, header.dtype.itemsize * prod(header.shape), header.name)
    return np.frombuffer(data, header.dtype)


def _items(source: Path, settings: Settings, kind: Header | None, label: Header | None, count: int) -> Iterator[Item]:
    with opened(source, settings, "npz") as archive, ExitStack() as stack:
        rows = _rows(stack, archive, kind, settings) if kind is not None else None
        labels = _rows(stack, archive, label, settings) if label is not None else None
        for number in range(count):
            content: RawItem = None
            if rows is not None and kind is not None:
                content = _content(kind, next(rows), number)
            given: RawLabel = None
            if labels is not None:
                value = next(labels)[()]
                given = str(value) if isinstance(value, str) else int(value)
            yield Item(content, given, f"row {number}")


def _rows(stack: ExitStack, archive: zipfile.ZipFile, header: Header, settings: Settings) -> Iterator[NDArray[Any]]:
    info = archive.getinfo(f"{header.name}.npy")
    file = stack.enter_context(member(archive, info))
    read_header(file, header.name)
    size = header.row_bytes
    if size > settings.max_item_bytes:
        raise TooLarge(f"one item of {header.name} has {size:,} bytes; at most {settings.max_item_bytes:,} are taken")
    step = max(1, _CHUNK_BYTES // max(size, 1))
    for begin in range(0, header.shape[0], step):
        rows = min(step, header.shape[0] - begin)
        data = exactly(file, rows * size, header.name)
        yield from np.frombuffer(data, header.dtype).reshape(rows, *header.shape[1:])


def _content(kind: Header, row: NDArray[Any], number: int) -> RawItem:
    if kind.name == "texts":
        return str(row[()])
    if kind.name == "features":
        vector = row.astype(np.float32)
        if not np.isfinite(vector).all():
            place = int(np.flatnonzero(~np.isfinite(vector))[0])
            raise InvalidProbe(
                f"features[{number}, {place}] is {row[place]}: every value must be finite (as float32). Drop "
                "or replace such rows"
            )
        return vector
    if row.ndim == 3 and row.shape[2] == 1:
        row = row[:, :, 0]
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(row)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
