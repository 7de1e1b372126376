"""Where the column chunks of a Parquet file lie, read from its footer without pyarrow.

pyarrow's `ColumnChunkMetaData` ends the whole process on some damaged footers (an error of its C++ part that its
Python part lets through, as for statistics of a wrong size), so it is never made from an upload.
"""

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from service.core.errors import InvalidProbe, TooLarge

from . import thrift

_MAGIC: Final = b"PAR1"
_MAX_FOOTER_BYTES: Final = 2**24
# A column of a row group takes 3 bytes of a footer and 700 of pyarrow's memory, an empty entry 1 and 100. Honest
# footers have 10 to 20 entries for each of them, in some 150 bytes.
_MAX_CHUNKS: Final = 2**17
_MAX_ELEMENTS: Final = 2**21
_MAX_SCHEMA: Final = 10_000
_SCHEMA: Final = 2  # of FileMetaData
_GROUPS: Final = 4  # of FileMetaData
_COLUMNS, _ROWS = 1, 3  # of RowGroup
_META: Final = 3  # of ColumnChunk
_COMPRESSED, _DATA, _DICTIONARY = 7, 9, 11  # of ColumnMetaData
# pyarrow reads the elements of these lists as what they should be, whatever type the list gives them: where that is
# another, it would see another file than we do.
_STRUCTS: Final[dict[str, tuple[int, ...]]] = {"file": (2, 5, 7), "group": (4,), "column": (8, 13)}
_ENCODINGS, _PATH = 2, 3  # of ColumnMetaData: numbers and texts
_WANTED: Final[thrift.Wanted] = {
    **{field: {} for field in _STRUCTS["file"]},
    _GROUPS: {
        **{field: {} for field in _STRUCTS["group"]},
        _COLUMNS: {
            _META: {
                **{field: {} for field in _STRUCTS["column"]},
                **dict.fromkeys((_ENCODINGS, _PATH, _COMPRESSED, _DATA, _DICTIONARY)),
            }
        },
        _ROWS: None,
    },
}


@dataclass(frozen=True)
class Chunk:
    """A column's part of a row group.

    Attributes
    ----------
    begin, end
        Bytes of the file.
    """

    begin: int
    end: int


@dataclass(frozen=True)
class RowGroup:
    """A row group's number of rows, and its columns in the order of the schema's leaves."""

    rows: int
    chunks: list[Chunk]


def row_groups(source: Path) -> list[RowGroup]:
    """What the footer says. To be asked before pyarrow, which takes up to 240 times its bytes of memory.

    Raises
    ------
    InvalidProbe
        The footer is damaged.
    TooLarge
        It has more than 16 MiB, or more parts than any sample has.
    """
    if source.stat().st_size < 12:
        raise InvalidProbe("the file is not readable Parquet: it is too short. Is it complete?")
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        end = len(view) - 8
        length = int.from_bytes(view[max(end, 0) : end + 4], "little")
        if view[end + 4 :] != _MAGIC or not 0 < length <= end:
            raise InvalidProbe(
                "the file is not readable Parquet: its footer is not where it should be. Is it complete?"
            )
        if length > _MAX_FOOTER_BYTES:
            raise TooLarge(
                f"the file's footer has {length:,} bytes; at most {_MAX_FOOTER_BYTES:,} are taken. Write larger row "
                "groups, and only the columns that are needed"
            )
        try:
            with memoryview(view) as whole, whole[end - length : end] as part:
                footer, position = thrift.struct(part, 0, _WANTED, budget=thrift.Budget(_MAX_ELEMENTS))
            if position != length:
                raise ValueError("bytes behind the footer")
            _check_lists(footer, (*_STRUCTS["file"], _GROUPS), dict)
            groups = [_group(group) for group in footer[_GROUPS]]
            columns = len(footer[_SCHEMA])
        except thrift.TooMany as error:
            raise TooLarge(
                f"the file's footer has more than {_MAX_ELEMENTS:,} entries. Write larger row groups, and only the "
                "columns that are needed"
            ) from error
        except (IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise InvalidProbe("the file is damaged: its footer is not readable") from error
    chunks = sum(len(group.chunks) for group in groups)
    if chunks > _MAX_CHUNKS or columns > _MAX_SCHEMA:
        raise TooLarge(
            f"the file's footer has {columns:,} columns in {len(groups):,} row groups; at most {_MAX_SCHEMA:,} are "
            f"taken, and {_MAX_CHUNKS:,} of all row groups together. Write larger row groups, and only the columns "
            "that are needed"
        )
    return groups


def _group(fields: dict[int, Any]) -> RowGroup:
    _check_lists(fields, (*_STRUCTS["group"], _COLUMNS), dict)
    return RowGroup(_number(fields[_ROWS]), [_chunk(column[_META]) for column in fields[_COLUMNS]])


def _chunk(fields: Any) -> Chunk:
    if not isinstance(fields, dict):
        raise TypeError("a column of another type")
    _check_lists(fields, _STRUCTS["column"], dict)
    _check_lists(fields, (_ENCODINGS,), int)
    _check_lists(fields, (_PATH,), bytes)
    begin = _number(fields[_DATA])
    size = _number(fields[_COMPRESSED])
    if 0 < (dictionary := _number(fields.get(_DICTIONARY, 0))) < begin:
        begin = dictionary
    return Chunk(begin, begin + size)


def _check_lists(fields: dict[int, Any], numbers: tuple[int, ...], kind: type) -> None:
    if not all(type(element) is kind for number in numbers for element in fields.get(number, ())):
        raise TypeError("a list of another type")


def _number(value: Any) -> int:
    if type(value) is not int:  # a reader that checks the field's type would pass over it
        raise TypeError(f"not a number: {value!r}")
    return value
