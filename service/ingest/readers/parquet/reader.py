"""Parquet after the Hugging Face convention: `image` ({bytes, path}) or `text`, and `label`; or `features`."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.parquet
from numpy.typing import NDArray

from preceptor.contract.probes import ProbeModality
from service.core.errors import InvalidProbe, PreceptorError, TooLarge
from service.core.settings import Settings

from ...columns import FEATURE_COLUMNS, IMAGE_COLUMNS, LABEL_COLUMNS, TEXT_COLUMNS, ChosenColumns, canonical, chosen
from ...items import Item, RawItem, RawLabel, Stream, check_expansion, shown
from .footer import row_groups
from .pages import measure

pa = cast(Any, pyarrow)
pc = cast(Any, pyarrow.compute)
pq = cast(Any, pyarrow.parquet)

_COLUMNS: Final[dict[str, ProbeModality]] = {
    **dict.fromkeys(IMAGE_COLUMNS, "image"),
    **dict.fromkeys(TEXT_COLUMNS, "text"),
    **dict.fromkeys(FEATURE_COLUMNS, "features"),
}
_CERTAIN: Final = 6
"""The first names of a column of labels are used for nothing else; the others come after what metadata declare."""
_BATCH_BYTES: Final = 2**22
_COPIED_BYTES: Final = 2**26
_BATCH_ROWS: Final = 1024
_READ_AHEAD: Final = 2**20


@dataclass(frozen=True)
class _Table:
    """The columns that are read, and how.

    Attributes
    ----------
    leaves
        Paths of the content and of the label (where there is one), in this order.
    rows
        Rows read at a time: few where a row may be large.
    """

    source: Path
    column: str
    label: str | None
    modality: ProbeModality
    leaves: list[str]
    rows: int


def read(source: Path, settings: Settings) -> Stream:
    """Open a Parquet file. See `service.ingest.items.Reader`."""
    groups = row_groups(source)
    file = _opened(source)
    try:
        schema = file.schema_arrow
    except MemoryError:
        raise
    except Exception as error:  # a hostile schema fails in many ways
        raise InvalidProbe(f"the file's schema cannot be read: {_first_line(error)}") from error
    if file.metadata.num_rows > settings.max_probe_items:
        raise TooLarge(f"the file has {file.metadata.num_rows:,} rows; at most {settings.max_probe_items:,} are taken")
    if file.metadata.num_rows == 0:
        raise InvalidProbe("the file has no items; a probe needs at least one")
    names: list[str] = schema.names
    place = chosen(names, tuple(_COLUMNS))
    if place is None:
        raise InvalidProbe(
            f"the file has the columns {shown(names)}; wanted is one of {', '.join(_COLUMNS)}, and label where "
            "the items are labelled"
        )
    column, label = names[place], _label_column(schema)
    for name in (column, label):
        if name is not None and names.count(name) > 1:
            raise InvalidProbe(f"the file has the column {name!r} twice; keep one")
    modality = _COLUMNS[canonical(column)]
    leaf = _checked_leaf(schema.field(column).type, column, modality)
    if label is not None:
        _check_label(schema.field(label).type, label)
    leaves = [leaf] if label is None else [leaf, label]
    pages = measure(source, groups, file.metadata, leaves, settings)
    check_expansion(source.stat().st_size, pages.bytes, "the file")
    columns = ChosenColumns(column, label)
    columns.pass_over(name for name in names if name not in (column, label))
    # One value of a dictionary that all rows share is copied for each row of a batch.
    rows = min(_BATCH_ROWS, _BATCH_BYTES // max(pages.row_bytes, 1), _COPIED_BYTES // max(pages.dictionary, 1))
    table = _Table(source, column, label, modality, leaves, max(1, rows))
    return Stream(
        modality,
        _items(table),
        labels=(lambda: _labels(table)) if label is not None else None,
        dimension=_dimension(table, settings) if modality == "features" else None,
        label_names=_class_names(schema, label),
        columns=columns,
    )


def _label_column(schema: Any) -> str | None:
    """The column of labels: one of the usual names, else one that the metadata declare to be of class labels."""
    names: list[str] = schema.names
    place = chosen(names, LABEL_COLUMNS[:_CERTAIN])
    if place is None:
        declared = [name for name in names if _declared(schema, name).get("_type") == "ClassLabel"]
        if declared:
            return declared[0]
        place = chosen(names, LABEL_COLUMNS[_CERTAIN:])
    return None if place is None else names[place]


def _declared(schema: Any, column: str) -> dict[str, Any]:
    """What the metadata of `datasets` say of a column; empty if nothing."""
    try:
        found = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"][column]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _opened(source: Path, **options: Any) -> Any:
    try:
        return pq.ParquetFile(str(source), **options)
    except MemoryError:  # pyarrow's is one of these
        raise
    except Exception as error:  # parsing of hostile bytes
        raise InvalidProbe(f"the file is not readable Parquet: {_first_line(error)}. Is it complete?") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")


def _checked_leaf(kind: Any, column: str, modality: ProbeModality) -> str:
    """The path of the leaf that holds the content."""
    leaf = column
    if modality == "image":
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            leaf, inner = f"{column}.bytes", kind.field("bytes").type
        else:
            inner = kind
        fits = pa.types.is_binary(inner) or pa.types.is_large_binary(inner) or pa.types.is_binary_view(inner)
        wanted = "binary (encoded pictures), or a struct with such a field `bytes`"
    elif modality == "text":
        fits, wanted = _is_text(kind), "string"
    else:
        fits = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        fits = fits and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))
        wanted = "a list of numbers"
    if not fits:
        raise InvalidProbe(f"column {column!r} must be {wanted}, not {shown(str(kind))}")
    return leaf


def _check_label(kind: Any, label: str) -> None:
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind)  # pandas stores numbers with gaps as floats
    if not (_is_text(kind) or number or pa.types.is_null(kind)):
        raise InvalidProbe(
            f"column {label!r} must hold one class name or class number an item, not {shown(str(kind))}. Convert it, "
            "or rename it if it holds no labels"
        )


def _is_text(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _dimension(table: _Table, settings: Settings) -> int:
    for item in _items(table):
        size = len(cast("NDArray[np.float32]", item.content))
        if size > settings.max_feature_dimension:
            raise TooLarge(
                f"{table.column}: the first vector has {size:,} values; at most {settings.max_feature_dimension:,} are "
                "taken. Reduce the dimension first (a projection keeps most)"
            )
        if size == 0:
            raise InvalidProbe(f"{table.column}: the first vector is empty")
        return size
    raise InvalidProbe("the file has no items; a probe needs at least one")


def _class_names(schema: Any, label: str | None) -> list[str] | None:
    if label is None:
        return None
    names = _declared(schema, label).get("names")
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidProbe("the class names in the file's `huggingface` metadata are not a list of strings")
    return names


def _batches(table: _Table, leaves: list[str]) -> Iterator[Any]:
    file = _opened(table.source, buffer_size=_READ_AHEAD)
    try:
        with file:
            for group in range(file.num_row_groups):  # a reader of all groups keeps their dictionaries to its end
                if file.metadata.row_group(group).num_rows == 0:
                    continue
                yield from file.iter_batches(
                    batch_size=table.rows, row_groups=[group], columns=leaves, use_threads=False
                )
    except (PreceptorError, MemoryError):
        raise
    except Exception as error:  # decoders of hostile bytes raise what they like
        raise InvalidProbe(f"the file is damaged: {_first_line(error)}") from error


def _labels(table: _Table) -> Iterator[tuple[RawLabel, str]]:
    assert table.label is not None
    number = 0
    for batch in _batches(table, [table.label]):
        column = batch.column(0)
        for place in range(len(column)):
            where = f"row {number}"
            yield _label(column[place], table.label, where), where
            number += 1


def _items(table: _Table) -> Iterator[Item]:
    number = 0
    for batch in _batches(table, table.leaves):
        content = batch.column(batch.schema.get_field_index(table.column))
        if pa.types.is_struct(content.type):
            content = pc.struct_field(content, "bytes")
        label = batch.column(batch.schema.get_field_index(table.label)) if table.label is not None else None
        for place in range(len(content)):
            where = f"row {number}"
            value = _content(table, content[place], where)
            yield Item(value, _label(label[place], str(table.label), where) if label is not None else None, where)
            number += 1


def _label(scalar: Any, label: str, where: str) -> RawLabel:
    try:
        value = scalar.as_py()
    except UnicodeDecodeError as error:
        raise InvalidProbe(f"{where}: the label is not UTF-8 (byte {error.start})") from error
    if isinstance(value, float) and not (value.is_integer() or math.isnan(value)):
        raise InvalidProbe(
            f"column {label!r} must hold one class name or class number an item, not a {scalar.type} with a fraction: "
            f"{where} has {value}. Convert it, or rename it if it holds no labels"
        )
    return value


def _content(table: _Table, scalar: Any, where: str) -> RawItem:
    try:
        value = scalar.values if table.modality == "features" else scalar.as_py()
    except UnicodeDecodeError as error:
        raise InvalidProbe(f"{where}: the text is not UTF-8 (byte {error.start})") from error
    if value is None:
        if table.modality == "image":
            raise InvalidProbe(f"{where}: the picture has no bytes (only a path?); store the file's bytes with it")
        raise InvalidProbe(f"{where}: {table.column} is missing. Fill it, or drop the row")
    if table.modality != "features":
        return value
    if value.null_count:
        raise InvalidProbe(f"{where}: the vector has {value.null_count} missing values. Fill them, or drop the row")
    with np.errstate(over="ignore"):
        vector = value.to_numpy(zero_copy_only=False).astype(np.float32)
    finite = np.isfinite(vector)
    if not finite.all():
        place = int(np.argmin(finite))
        raise InvalidProbe(
            f"{where}: {table.column}[{place}] is {value[place].as_py()}: every value must be finite as float32. Drop "
            "or replace such rows"
        )
    return vector
