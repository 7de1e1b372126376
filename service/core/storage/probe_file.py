"""The canonical file of a probe: one Parquet layout, independent of the upload's format.

A column `image` (encoded image files), `text`, `features` (float32 vectors of fixed size) or, for an opaque probe,
none; a column `label` (int32) if the probe is labelled. The schema's metadata describes the columns.
"""

import contextlib
import hashlib
import json
import struct
import threading
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast

import numpy as np
import pyarrow  # pyright: ignore[reportMissingTypeStubs]
import pyarrow.parquet  # pyright: ignore[reportMissingTypeStubs]
from numpy.typing import NDArray

from preceptor.contract.probes import ProbeModality

from ..errors import InvalidProbe
from .item_hashes import hash_of_bytes
from .object_store import translated

pa = cast(Any, pyarrow)  # pyarrow ships no types; only this module is affected
pq = cast(Any, pyarrow.parquet)

FORMAT: Final = "preceptor-probe-1"
_GROUP_BYTES: Final = 2**20  # small, because training draws items at random and reads a whole group for each
_GROUP_ROWS: Final = 4096
_ARROW_FAILURES: Final = (pa.ArrowException, OSError)
_COLUMNS: Final[dict[str, str | None]] = {"image": "image", "text": "text", "features": "features", "opaque": None}


@dataclass(frozen=True)
class Batch:
    """Consecutive or selected items of a probe; at most one of `images`, `texts`, `features` is set.

    Attributes
    ----------
    start
        Position of the first item in the probe, or in the selection.
    images
        Encoded image files.
    features
        Shape (B, D), float32.
    labels
        Class numbers, shape (B,), int64; None if the probe is unlabelled.
    """

    start: int
    size: int
    images: list[bytes] | None = None
    texts: list[str] | None = None
    features: NDArray[np.float32] | None = None
    labels: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return self.size


class ProbeWriter:
    """Writes items one by one into a canonical file, and hashes their content.

    Parameters
    ----------
    path
        The file to write.
    modality
        Modality of all items.
    labelled
        Whether every item has a class number.
    dimension
        Length of a feature vector; None for other modalities.

    The digest covers the logical content (modality, items, class numbers, class names), not the bytes of the file.
    Used as a context manager, it removes the file if an error is raised.
    """

    def __init__(self, path: Path, modality: ProbeModality, *, labelled: bool, dimension: int | None = None) -> None:
        self._path = path
        self._modality: ProbeModality = modality
        self._labelled = labelled
        self._dimension = dimension
        fields: list[Any] = []
        if modality == "image":
            fields.append(pa.field("image", pa.binary(), nullable=False))
        elif modality == "text":
            fields.append(pa.field("text", pa.string(), nullable=False))
        elif modality == "features":
            fields.append(pa.field("features", pa.list_(pa.float32(), dimension), nullable=False))
        else:
            fields.append(pa.field("position", pa.int64(), nullable=False))
        if labelled:
            fields.append(pa.field("label", pa.int32(), nullable=False))
        self._schema = pa.schema(fields)
        try:
            self._writer = pq.ParquetWriter(
                str(path),
                self._schema,
                compression="none" if modality == "image" else "zstd",
                use_dictionary=["label"],
                write_statistics=False,
            )
        except _ARROW_FAILURES as error:
            raise translated(error) from error
        self._items: list[Any] = []
        self._labels: list[int] = []
        self._bytes = 0
        self._hash = hashlib.sha256(f"{FORMAT}\0{modality}\0{dimension}\0{labelled}\0".encode())
        self.count = 0
        self.class_counts: dict[int, int] = {}
        self.hashes = array("Q")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            with contextlib.suppress(*_ARROW_FAILURES):  # the first error is the relevant one
                self._writer.close()
            self._path.unlink(missing_ok=True)

    def add(self, item: bytes | str | NDArray[np.float32] | None, label: int | None) -> None:
        """Append one item: an encoded image, a text, a vector of length `dimension`, or None (opaque).

        Raises
        ------
        StoreFull, StoreUnavailable
        """
        if isinstance(item, str):
            content = item.encode()
        elif isinstance(item, bytes):
            content = item
        elif item is None:
            content = b""
        else:
            item = np.ascontiguousarray(item, dtype="<f4")
            content = item.tobytes()
        self._hash.update(struct.pack("<Qi", len(content), -1 if label is None else label))
        self._hash.update(content)
        self.hashes.append(hash_of_bytes(content))
        self._items.append(self.count if item is None else item)
        if self._labelled:
            assert label is not None
            self._labels.append(label)
            self.class_counts[label] = self.class_counts.get(label, 0) + 1
        self.count += 1
        self._bytes += len(content)
        if self._bytes >= _GROUP_BYTES or len(self._items) >= _GROUP_ROWS:
            self._flush()

    def finish(self, label_names: Sequence[str] | None) -> str:
        """Write the remaining items and the metadata. Returns the SHA-256 of the content, in hex.

        Raises
        ------
        StoreFull, StoreUnavailable
        """
        self._flush()
        names = None if label_names is None else list(label_names)
        self._hash.update(json.dumps(names, ensure_ascii=False).encode())
        meaning = {
            "format": FORMAT,
            "modality": self._modality,
            "items": self.count,
            "dimension": self._dimension,
            "labelled": self._labelled,
            "label_names": names,
        }
        try:
            self._writer.add_key_value_metadata({"preceptor": json.dumps(meaning, ensure_ascii=False)})
            self._writer.close()
        except _ARROW_FAILURES as error:
            raise translated(error) from error
        return self._hash.hexdigest()

    def _flush(self) -> None:
        if not self._items:
            return
        if self._modality == "features":
            flat = np.concatenate(self._items)
            column = pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), self._dimension)
        else:
            column = pa.array(self._items, self._schema.field(0).type)
        columns = [column]
        if self._labelled:
            columns.append(pa.array(self._labels, pa.int32()))
        try:
            self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        except _ARROW_FAILURES as error:
            raise translated(error) from error
        self._items = []
        self._labels = []
        self._bytes = 0


class ProbeData:
    """An opened canonical file. Items are read on demand; labels are kept in memory.

    Attributes
    ----------
    modality, items, dimension, label_names
        Properties of the probe.
    labels
        Class numbers, shape (N,), int64; None if the probe is unlabelled.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = pq.ParquetFile(str(path))
            meaning = json.loads(self._file.metadata.metadata[b"preceptor"])
            if meaning["format"] != FORMAT or meaning["items"] != self._file.metadata.num_rows:
                raise ValueError(f"{meaning['format']}, {meaning['items']} of {self._file.metadata.num_rows} items")
            self.modality: ProbeModality = meaning["modality"]
            self.items: int = int(meaning["items"])
            self.dimension: int | None = meaning["dimension"]
            self.label_names: list[str] | None = meaning["label_names"]
            self._column = _COLUMNS[self.modality]
            _check_columns(self._file.schema_arrow, self._column, self.dimension)
            labels = self._file.read(columns=["label"]).column(0).to_numpy() if meaning["labelled"] else None
            self.labels: NDArray[np.int64] | None = None if labels is None else self._numbers(labels)
            rows: list[int] = [
                self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups)
            ]
        except Exception as error:
            raise InvalidProbe(f"the stored probe cannot be read: {error}. Delete it and upload it again") from error
        self._starts: NDArray[np.int64] = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
        self._reading = threading.Lock()  # Arrow's reader is not safe for threads

    def _numbers(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """The class numbers, after checking their count, type and range."""
        if labels.dtype != np.int32 or labels.shape != (self.items,):
            raise ValueError(f"{len(labels)} class numbers of type {labels.dtype} for {self.items} items")
        if self.label_names is not None and self.items:
            lowest, highest = int(labels.min()), int(labels.max())
            if not 0 <= lowest <= highest < len(self.label_names):
                raise ValueError(f"class numbers {lowest} to {highest} of {len(self.label_names)} classes")
        return labels.astype(np.int64)

    def __reduce__(self) -> tuple[type["ProbeData"], tuple[Path]]:
        # Each process opens the file itself.
        return ProbeData, (self._path,)

    def batches(self, size: int, indices: Sequence[int] | NDArray[np.int64] | None = None) -> Iterator[Batch]:
        """The items, or those at `indices` in that order, in batches of at most `size`.

        Raises
        ------
        InvalidProbe
            The items were not uploaded (opaque), or the file is damaged.
        IndexError
            `indices` exceed the probe.
        """
        if self._column is None:
            raise InvalidProbe("the probe is opaque: its items were not uploaded, so no model can be run on them")
        wanted = np.arange(self.items) if indices is None else np.asarray(indices, dtype=np.int64)
        if len(wanted) and not 0 <= int(wanted.min()) <= int(wanted.max()) < self.items:
            raise IndexError(f"the probe has {self.items:,} items; requested {wanted.min()} to {wanted.max()}")
        return self._batches(size, wanted)

    def _batches(self, size: int, wanted: NDArray[np.int64]) -> Iterator[Batch]:
        held = -1
        column: Any = None
        for start in range(0, len(wanted), size):
            rows = wanted[start : start + size]
            found: list[Any] = [None] * len(rows)
            for place in np.argsort(rows, kind="stable").tolist():  # reads each row group once per batch
                row = int(rows[place])
                group = int(np.searchsorted(self._starts, row, side="right")) - 1
                if group != held:
                    column = self._read(group)
                    held = group
                item = column[row - int(self._starts[group])]
                found[place] = item if self.modality == "features" else _value(item, row)
            yield self._batch(start, rows, found)

    def _read(self, group: int) -> Any:
        try:
            with self._reading:
                table = self._file.read_row_group(group, columns=[self._column], use_threads=False)
            column = table.column(0).combine_chunks()
            if self.modality == "features":
                column = column.flatten().to_numpy().reshape(-1, self.dimension)
            held = int(self._starts[group + 1] - self._starts[group])
            if len(column) != held:
                raise ValueError(f"{len(column)} of {held} items")
        except (*_ARROW_FAILURES, ValueError) as error:
            raise InvalidProbe(f"the stored probe is damaged: {error}. Delete it and upload it again") from error
        return column

    def _batch(self, start: int, rows: NDArray[np.int64], found: list[Any]) -> Batch:
        labels = None if self.labels is None else self.labels[rows]
        if self.modality == "image":
            return Batch(start, len(rows), images=found, labels=labels)
        if self.modality == "text":
            return Batch(start, len(rows), texts=found, labels=labels)
        return Batch(start, len(rows), features=np.stack(found), labels=labels)


def _check_columns(schema: Any, column: str | None, dimension: int | None) -> None:
    """Raise ValueError if the columns differ from those that `ProbeWriter` writes."""
    if column is None:
        return
    found = schema.field(column).type
    right = {"image": pa.types.is_binary, "text": pa.types.is_string, "features": pa.types.is_fixed_size_list}[column]
    if not right(found):
        raise ValueError(f"the column {column!r} is of type {found}")
    if column == "features" and (found.list_size != dimension or found.value_type != pa.float32()):
        raise ValueError(f"the column {column!r} is of type {found}, expected {dimension} numbers")


def _value(item: Any, row: int) -> bytes | str:
    try:
        value = item.as_py()
    except UnicodeDecodeError as error:
        raise InvalidProbe(f"the stored probe is damaged: item {row}: {error}. Upload it again") from error
    if value is None:
        raise InvalidProbe(f"the stored probe is damaged: item {row} is missing. Delete it and upload it again")
    return value


def open_probe(path: Path) -> ProbeData:
    """Open a canonical file.

    Raises
    ------
    InvalidProbe
        It is not a canonical file.
    """
    return ProbeData(path)
