"""How much memory a Parquet file will take, from its page headers and not from what its footer claims.

A page of 2 GiB of zeros fits into some kilobytes, and the reader allocates what the page's header says. The headers
are Thrift (compact protocol), some fifty bytes each; the pages themselves are not read here.
"""

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from service.core.errors import InvalidProbe, TooLarge
from service.core.settings import Settings

from ...items import shown
from .footer import RowGroup
from .thrift import struct

_MAX_PAGE_BYTES: Final = 2**29
_MAX_HEADER_BYTES: Final = 2**20
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


def measure(source: Path, groups: list[RowGroup], metadata: Any, columns: list[str], settings: Settings) -> Pages:
    """Walk the pages of some leaf columns.

    Parameters
    ----------
    groups
        What we read in its footer.
    metadata
        What pyarrow read there: its FileMetaData.
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
    paths = _paths(metadata)
    if [group.rows for group in groups] != [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]:
        raise InvalidProbe("the file is damaged: its footer cannot be read")
    if any(len(group.chunks) != len(paths) for group in groups):
        raise InvalidProbe("the file is damaged: a row group lacks columns")
    most = 2 * (metadata.num_rows + metadata.num_row_groups) + 1000
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        for number, group in enumerate(groups):
            if group.rows == 0:  # not read
                continue
            for path, chunk in zip(paths, group.chunks, strict=True):
                begin, end = chunk.begin, chunk.end
                if not any(path == column or path.startswith(f"{column}.") for column in columns):
                    continue
                if not 0 <= begin <= end <= len(view):
                    raise InvalidProbe(f"the file is cut off or damaged: column {shown(path)} lies outside of it")
                while begin < end:
                    size, values, shared, begin = _page(view, begin, path)
                    dictionary = max(dictionary, size if shared else 0)
                    pages += 1
                    total += size
                    row_bytes = max(row_bytes, size // max(values, 1))
                    if size > _MAX_PAGE_BYTES:
                        raise TooLarge(
                            f"row group {number} has a page of {size:,} bytes in column {shown(path)}; at most "
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


def _paths(metadata: Any) -> list[str]:
    """Of the leaves. The reader goes by their order, and not by the paths that the chunks give themselves."""
    try:
        return [metadata.schema.column(index).path for index in range(metadata.num_columns)]
    except UnicodeDecodeError as error:
        raise InvalidProbe("the file is damaged: the name of a column is not UTF-8") from error


def _page(view: mmap.mmap, begin: int, column: str) -> tuple[int, int, bool, int]:
    """Bytes of a page in memory, its number of values, whether it is a dictionary, and where the next begins."""
    try:
        with memoryview(view) as whole, whole[begin : begin + _MAX_HEADER_BYTES] as part:
            header, length = struct(part, 0)
        position = begin + length
        uncompressed, compressed = int(header[_UNCOMPRESSED]), int(header[_COMPRESSED])
        values = next((int(header[kind][count]) for kind, count in _PAGE_KINDS.items() if kind in header), 0)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise InvalidProbe(f"the file is damaged: column {shown(column)} has an unreadable page header") from error
    if min(uncompressed, compressed, values) < 0:
        raise InvalidProbe(f"the file is damaged: column {shown(column)} has a page of negative size")
    size = max(uncompressed, values * 8 if _is_list(column) else 0)
    return size, values, _DICTIONARY in header, position + compressed


def _is_list(column: str) -> bool:
    return ".list." in column  # its values are numbers, which an encoding may pack far below a bit each
