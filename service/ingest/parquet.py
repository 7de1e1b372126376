"""Parquet after the Hugging Face convention: `image` ({bytes, path}) or `text`, and `label`; or `features`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import pyarrow
import pyarrow.parquet

from preceptor.contract.probes import ProbeModality
from service.state.errors import InvalidProbe, TooLarge
from service.state.settings import Settings

from .items import Item, RawItem, Stream

pa = cast(Any, pyarrow)
pq = cast(Any, pyarrow.parquet)

_COLUMNS: Final[dict[str, ProbeModality]] = {
    "image": "image",
    "img": "image",
    "text": "text",
    "sentence": "text",
    "features": "features",
    "embedding": "features",
}
_LABELS: Final = ("label", "labels", "intent", "class", "fine_label")
_ROWS: Final = 64


def read(source: Path, settings: Settings) -> Stream:
    """Open a Parquet file. See `service.ingest.items.Reader`."""
    file = _opened(source)
    schema = file.schema_arrow
    rows = int(file.metadata.num_rows)
    if rows > settings.max_probe_items:
        raise TooLarge(f"the file has {rows:,} rows; at most {settings.max_probe_items:,} are taken")
    expanded = sum(file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups))
    if expanded > settings.max_probe_expanded_bytes:
        raise TooLarge(
            f"the file expands to {expanded:,} bytes; at most {settings.max_probe_expanded_bytes:,} are taken"
        )
    largest = max((file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups)), default=0)
    if largest > settings.max_probe_expanded_bytes // 4 and largest > 2**30:
        raise TooLarge(f"a row group has {largest:,} bytes; write smaller ones (row_group_size=1000)")
    column = next((name for name in _COLUMNS if name in schema.names), None)
    if column is None:
        raise InvalidProbe(f"no column image, text or features; the file has {schema.names[:10]}")
    label = next((name for name in _LABELS if name in schema.names), None)
    modality = _COLUMNS[column]
    dimension = _dimension(file, column, settings) if modality == "features" else None
    _check_type(schema.field(column).type, column, modality)
    return Stream(
        modality,
        label is not None,
        _items(source, column, label, modality),
        dimension=dimension,
        label_names=_class_names(schema, label),
    )


def _opened(source: Path) -> Any:
    try:
        return pq.ParquetFile(str(source))
    except Exception as error:
        raise InvalidProbe(f"the file is not readable Parquet: {str(error).splitlines()[0][:200]}") from error


def _check_type(kind: Any, column: str, modality: ProbeModality) -> None:
    if modality == "image":
        fits = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
        if pa.types.is_struct(kind):
            names = [kind.field(i).name for i in range(kind.num_fields)]
            fits = "bytes" in names
        wanted = "binary, or a struct with `bytes`"
    elif modality == "text":
        fits = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        wanted = "string"
    else:
        fits = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        fits = fits and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))
        wanted = "list of numbers"
    if not fits:
        raise InvalidProbe(f"column {column!r} must be {wanted}, not {kind}")


def _dimension(file: Any, column: str, settings: Settings) -> int:
    for item in _values(file, [column]):
        first = item[0]
        size = len(first) if isinstance(first, list) else 0
        if not 1 <= size <= settings.max_feature_dimension:
            raise InvalidProbe(
                f"{column}: the first vector has {size:,} values; 1 to {settings.max_feature_dimension:,} are taken"
            )
        return size
    raise InvalidProbe("the file has no rows")


def _class_names(schema: Any, label: str | None) -> list[str] | None:
    if label is None:
        return None
    try:
        described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = described["info"]["features"][label]["names"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidProbe("the class names in the file's `huggingface` metadata are not a list of strings")
    return names


def _values(file: Any, columns: list[str]) -> Iterator[list[Any]]:
    try:
        for batch in file.iter_batches(batch_size=_ROWS, columns=columns):
            lists = [batch.column(batch.schema.get_field_index(name)).to_pylist() for name in columns]
            yield from (list(row) for row in zip(*lists, strict=True))
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError, ValueError) as error:
        raise InvalidProbe(f"the file is damaged: {str(error).splitlines()[0][:200]}") from error


def _items(source: Path, column: str, label: str | None, modality: ProbeModality) -> Iterator[Item]:
    columns = [column] if label is None else [column, label]
    for number, row in enumerate(_values(_opened(source), columns)):
        where = f"row {number}"
        value = row[0]
        content: RawItem
        if modality == "image":
            value = value.get("bytes") if isinstance(value, dict) else value
            if not isinstance(value, bytes):
                raise InvalidProbe(f"{where}: the picture has no bytes (only a path?); store the file's bytes")
            content = value
        elif modality == "text":
            if not isinstance(value, str):
                raise InvalidProbe(f"{where}: the text is missing")
            content = value
        else:
            if not isinstance(value, list) or any(entry is None for entry in value):
                raise InvalidProbe(f"{where}: the vector is missing or has gaps")
            content = np.asarray(value, dtype=np.float32)
            if not np.isfinite(content).all():
                raise InvalidProbe(f"{where}: every value must be finite (as float32)")
        given = row[1] if label is not None else None
        if given is not None and (isinstance(given, bool) or not isinstance(given, int | str)):
            raise InvalidProbe(f"{where}: a label must be a class name or number, not {type(given).__name__}")
        yield Item(content, given, where)
