"""Small files that ask for very much: of memory, of time, of room in the store."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from .sample_files import pa, parquet


def varint(number: int) -> bytes:
    """A number of Thrift's compact protocol."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def listed(element: bytes, count: int) -> bytes:
    """A list of equal structs."""
    return b"\xfc" + varint(count) + element * count


EMPTY_CHUNK = b"\x26\x00\x00"
"""A column of a row group that says nothing but where it begins."""
CHUNK = b"\x3c\x76\x00\x26\x00\x00\x00"
"""One that has a size and a place, both 0."""
COLUMN = b"\x48\x01a\x00"
"""An element of a schema with a name alone."""


def footer(*, chunks: int = 1, chunk: bytes = CHUNK, columns: int = 2, entries: int = 0) -> bytes:
    """A Parquet file that is a footer alone.

    Parameters
    ----------
    chunks
        How many columns its one row group has.
    entries
        Empty pairs of its metadata.
    """
    group = b"\x19" + listed(chunk, chunks) + b"\x16\x00\x16\x02\x00"
    pairs = b"\x19" + listed(b"\x00", entries) if entries else b""
    meta = b"\x15\x02\x19" + listed(COLUMN, columns) + b"\x16\x02\x19" + listed(group, 1) + pairs + b"\x00"
    return b"PAR1" + meta + struct.pack("<I", len(meta)) + b"PAR1"


def shared(value: Any, rows: int, column: str = "image") -> bytes:
    """A table all of whose rows are one value, which is stored once."""
    values = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([value]))
    return parquet({column: values}, compression="zstd", store_schema=False)


def blank(side: int) -> bytes:
    """A picture of one bit a pixel, which takes some kilobytes."""
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def tiff(*more: tuple[int, int, int], order: str = "<", big: bool = False, side: int = 16, tile: int = 16) -> bytes:
    """A grey TIFF of `side` x `side` pixels in one deflated tile.

    Parameters
    ----------
    more
        Tags that stand behind the others: number, type, value.
    """
    data = zlib.compress(bytes(tile * tile)) if tile <= 2**12 else zlib.compress(b"\0" * 100)
    tags = [
        (256, 4, side), (257, 4, side), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1),
        (322, 4, tile), (323, 4, tile), (324, 4, 0), (325, 4, len(data)), *more,
    ]  # fmt: skip
    head = 16 if big else 8
    size = 8 + 20 * len(tags) + 8 if big else 2 + 12 * len(tags) + 4
    tags[8] = (324, 4, head + size)
    entry = (lambda kind: {3: "HHQH6x", 4: "HHQI4x"}[kind]) if big else (lambda kind: {3: "HHIH2x", 4: "HHII"}[kind])
    directory = b"".join(struct.pack(order + entry(kind), tag, kind, 1, value) for tag, kind, value in tags)
    begin = b"II" if order == "<" else b"MM"
    if big:
        return (
            begin + struct.pack(order + "HHHQ", 43, 8, 0, 16)
            + struct.pack(order + "Q", len(tags)) + directory + bytes(8) + data
        )  # fmt: skip
    return begin + struct.pack(order + "HI", 42, 8) + struct.pack(order + "H", len(tags)) + directory + bytes(4) + data
