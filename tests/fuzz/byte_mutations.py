"""Damage to any file: flipped bits, cut ends, spliced parts, lengths set to extremes."""

from random import Random
from typing import Final

LARGEST: Final = 4 * 2**20
_EXTREMES: Final = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**64 - 1,
)


def damaged(data: bytes, rng: Random, others: list[bytes] | None = None) -> bytes:
    """A file with one to six kinds of damage; `others` lend parts of themselves."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        found = _once(found, rng, others or [])
    return bytes(found[:LARGEST])


def _once(data: bytearray, rng: Random, others: list[bytes]) -> bytearray:
    place = _place(data, rng)
    length = rng.choice((1, 2, 4, 8, 16, 64, 300))
    kind = rng.randrange(11)
    if kind == 0 and data:
        data[place % len(data)] ^= 1 << rng.randrange(8)
    elif kind == 1 and data:
        data[place % len(data)] = rng.randrange(256)
    elif kind in (2, 3):
        width = rng.choice((1, 2, 4, 8))
        number = rng.choice(_EXTREMES) if kind == 2 else rng.randrange(2 ** (8 * width))
        data[place : place + width] = (number % 2 ** (8 * width)).to_bytes(width, rng.choice(("little", "big")))
    elif kind == 4:
        del data[place:]
    elif kind == 5:
        del data[place : place + length]
    elif kind == 6:
        data[place:place] = data[place : place + length] * rng.choice((1, 1, 3, 200))
    elif kind == 7:
        data[place:place] = rng.randbytes(length)
    elif kind == 8 and others:
        other = rng.choice(others)
        start = rng.randrange(len(other) + 1)
        data[place : place + rng.choice((0, length))] = other[start : start + rng.choice((length, 2000, 100_000))]
    elif kind == 9:
        data[place : place + length] = bytes([rng.choice((0, 0x20, 0xFF))]) * length
    else:
        target = _place(data, rng)
        data[target : target + length] = data[place : place + length]
    return data


def _place(data: bytearray, rng: Random) -> int:
    """Anywhere; often near the start or the end, where headers and directories lie."""
    if not data:
        return 0
    where = rng.randrange(4)
    if where == 0:
        return min(rng.randrange(64), len(data))
    if where == 1:
        return max(len(data) - rng.randrange(200), 0)
    return rng.randrange(len(data) + 1)


def noise(rng: Random) -> bytes:
    """Bytes without any structure."""
    return rng.randbytes(rng.choice((0, 1, 7, 64, 1000)))
