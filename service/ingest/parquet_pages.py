"""How much memory a Parquet file will take, from its page headers and not from what its footer claims.

A page of 2 GiB of zeros fits into some kilobytes, and the reader allocates what the page's header says. The headers
are Thrift (compact protocol), some fifty bytes each; the pages themselves are not read here.
"""

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from service.state.errors import InvalidProbe, TooLarge
from service.state.settings import Settings

_MAX_PAGE_BYTES: Final = 2**29
_DEPTH: Final = 8
_TRUE, _FALSE, _BYTE, _I64, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 6, 7, 8, 9, 10, 12
_UNCOMPRESSED, _COMPRESSED = 2, 3  # fields of PageHeader
_DICTIONARY: Final = 7
_PAGE_KINDS: Final = {
    5: 1,
    _DICTIONARY: 1,
    8: 1,
}  # its data, dictionary and second data header, and their count of values


@dataclass(frozen=True)
class Pages:
    """What the pages of the wanted columns hold.

    Attributes
    ----------
    bytes
        After decompression, all together.
    row_bytes
        The most that a row takes on average in one page.
    dictionary
        Of the largest dictionary page: any row may be all of it.
    """

    bytes: int
    row_bytes: int
    dictionary: int


def measure(source: Path, metadata: Any, columns: list[str], settings: Settings) -> Pages:
    """Walk the pages of some leaf columns.

    Parameters
    ----------
    metadata
        pyarrow's FileMetaData of the file.
    columns
        Paths of leaves; a path stands for the leaves below it too.

    Raises
    ------
    InvalidProbe
        The file is damaged.
    TooLarge
        A page, or all pages together, expand too far.
    """
    total = row_bytes = dictionary = pages = 0
    most = 2 * (metadata.num_rows + metadata.num_row_groups) + 1000
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        for group in range(metadata.num_row_groups):
            if metadata.row_group(group).num_rows == 0:  # not read
                continue
            for index in range(metadata.num_columns):
                chunk = metadata.row_group(group).column(index)
                path: str = chunk.path_in_schema
                if not any(path == column or path.startswith(f"{column}.") for column in columns):
                    continue
                begin: int = chunk.data_page_offset
                if chunk.has_dictionary_page and 0 < (chunk.dictionary_page_offset or 0) < begin:
                    begin = chunk.dictionary_page_offset
                end = begin + chunk.total_compressed_size
                if not 0 <= begin <= end <= len(view):
                    raise InvalidProbe(f"the file is cut off or damaged: column {path!r} lies outside of it")
                while begin < end:
                    size, values, shared, begin = _page(view, begin, path)
                    dictionary = max(dictionary, size if shared else 0)
                    pages += 1
                    total += size
                    row_bytes = max(row_bytes, size // max(values, 1))
                    if size > _MAX_PAGE_BYTES:
                        raise TooLarge(
                            f"row group {group} has a page of {size:,} bytes in column {path!r}; at most "
                            f"{_MAX_PAGE_BYTES:,} are taken. Write smaller row groups (row_group_size=100)"
                        )
                    if total > settings.max_probe_expanded_bytes:
                        raise TooLarge(
                            f"the file expands to more than {settings.max_probe_expanded_bytes:,} bytes; send a "
                            "smaller sample"
                        )
                    if pages > most:
                        raise InvalidProbe(f"the file has more pages than its {metadata.num_rows:,} rows need")
    return Pages(total, row_bytes, dictionary)


def _page(view: mmap.mmap, begin: int, column: str) -> tuple[int, int, bool, int]:
    """Bytes of a page in memory, its number of values, whether it is a dictionary, and where the next begins."""
    try:
        header, position = _struct(view, begin, 0)
        uncompressed, compressed = int(header[_UNCOMPRESSED]), int(header[_COMPRESSED])
        values = next((int(header[kind][count]) for kind, count in _PAGE_KINDS.items() if kind in header), 0)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise InvalidProbe(f"the file is damaged: column {column!r} has an unreadable page header") from error
    if min(uncompressed, compressed, values) < 0:
        raise InvalidProbe(f"the file is damaged: column {column!r} has a page of negative size")
    size = max(uncompressed, values * 8 if _is_list(column) else 0)
    return size, values, _DICTIONARY in header, position + compressed


def _is_list(column: str) -> bool:
    return ".list." in column  # its values are numbers, which an encoding may pack far below a bit each


def _varint(view: mmap.mmap, position: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("a number without an end")


def _struct(view: mmap.mmap, position: int, depth: int) -> tuple[dict[int, Any], int]:
    if depth > _DEPTH:
        raise ValueError("nested too deeply")
    fields: dict[int, Any] = {}
    number = 0
    while kind := view[position]:
        position += 1
        if kind >> 4:
            number += kind >> 4
        else:
            raw, position = _varint(view, position)
            number = (raw >> 1) ^ -(raw & 1)
        fields[number], position = _value(view, position, kind & 0x0F, depth)
    return fields, position + 1


def _value(view: mmap.mmap, position: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (_TRUE, _FALSE):
        return kind == _TRUE, position
    if kind == _BYTE:
        return view[position], position + 1
    if _BYTE < kind <= _I64:
        raw, position = _varint(view, position)
        return (raw >> 1) ^ -(raw & 1), position
    if kind == _DOUBLE:
        return None, position + 8
    if kind == _BINARY:
        size, position = _varint(view, position)
        return None, position + size
    if kind == _STRUCT:
        return _struct(view, position, depth + 1)
    if kind in (_LIST, _SET):
        size, inner = view[position] >> 4, view[position] & 0x0F
        position += 1
        if size == 15:
            size, position = _varint(view, position)
        for _ in range(size):
            position = position + 1 if inner in (_TRUE, _FALSE) else _value(view, position, inner, depth + 1)[1]
        return None, position
    raise ValueError(f"type {kind}")  # maps do not stand in page headers
