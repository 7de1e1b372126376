"""Size of the tiles of a TIFF, read without an imaging library.

A decoder allocates a whole tile, even if the picture in it is small. Of two tags with the same number, some libraries
use the first and others the last, so a file with duplicate tags has no reliable size.
Own code: Pillow reports the picture's size, not that of its tiles, before it decodes one.
"""

import struct
from typing import Final

_BIG: Final = 0x2B
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_NUMBERS: Final = {1: "B", 3: "H", 4: "I", 16: "Q"}


def tile_pixels(data: bytes) -> int:
    """Pixels of one tile of the first picture in a file; 0 if it is not tiled.

    Parameters
    ----------
    data
        A TIFF or BigTIFF file.

    Raises
    ------
    ValueError
        The directory is damaged or has duplicate tags.
    """
    order = "<" if data.startswith(b"II") else ">"
    big = _BIG in data[2:4]
    head, count, entry = ("8xQ", "Q", "HHQ8s") if big else ("4xI", "H", "HHI4s")
    try:
        (begin,) = struct.unpack_from(order + head, data)
        (entries,) = struct.unpack_from(order + count, data, begin)
        begin += struct.calcsize(order + count)
        size = struct.calcsize(order + entry)
        directory = data[begin : begin + entries * size]
        if len(directory) != entries * size:
            raise ValueError("its directory is cut off")
        found: dict[int, tuple[int, int, bytes]] = {}
        for tag, kind, values, value in struct.iter_unpack(order + entry, directory):
            if tag in found:
                raise ValueError(f"its directory names {tag} twice")
            found[tag] = (kind, values, value)
        sides = [_number(order, *found[tag]) for tag in (_TILE_WIDTH, _TILE_LENGTH) if tag in found]
    except struct.error as error:
        raise ValueError("its directory is cut off") from error
    return sides[0] * sides[-1] if sides else 0


def _number(order: str, kind: int, values: int, value: bytes) -> int:
    if kind not in _NUMBERS or values != 1 or struct.calcsize(order + _NUMBERS[kind]) > len(value):
        raise ValueError("the size of its tiles is no number")
    return struct.unpack_from(order + _NUMBERS[kind], value)[0]
