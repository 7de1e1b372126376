"""Hashes of a probe's items, by which equal and nearly equal items of two probes are found without reading either.

They lie beside the canonical file as an array of shape (N, 3), uint64: one of the item's bytes, and two of what remains
when it is saved again (a picture rescaled or recompressed, a text in another case, a vector in lower precision; the
third is of pictures only). The second is 0 where nothing is distinctive enough.
"""

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Hashes = NDArray[np.uint64]

_SIDE: Final = 8
_VARIED: Final = 8
"""Bits of a picture's hash that must be set, and must be clear: smooth pictures share their hashes with many others."""
_SHORTEST: Final = 12
"""Letters and digits that a text must have: "yes" is written by many."""
_STEPS: Final = 500
"""A vector is rounded to this part of its largest value."""
_BITS: Final = 5
"""Bits, of 128, in which nearly equal pictures may differ: 9 in 10 pictures that were rescaled and recompressed do not
differ in more, and 2 in 100 handwritten digits of 8 x 8 pixels differ from another one in no more."""
_HALF: Final = np.uint64(1)
_COMPARED: Final = 25_000_000
"""Pairs of pictures that are compared bit by bit; of more, only equal hashes count."""
_SHOWN: Final = 3


def hash_of_bytes(content: bytes) -> int:
    """64 bits of BLAKE2b."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def hashes_of_picture(grey: Image.Image) -> tuple[int, int]:
    """The difference hashes of a picture of mode L: which of 8 x 8 places are brighter than the next one."""
    across = _differences(grey)
    down = _differences(grey.transpose(Image.Transpose.TRANSPOSE))
    return (across, down) if across and down else (0, 0)


def _differences(grey: Image.Image) -> int:
    small = np.asarray(grey.resize((_SIDE + 1, _SIDE), Image.Resampling.BOX), dtype=np.int16)
    bits = small[:, :-1] > small[:, 1:]
    if not _VARIED <= int(bits.sum()) <= bits.size - _VARIED:
        return 0
    return int.from_bytes(np.packbits(bits).tobytes(), "little")


def hash_of_text(text: str) -> int:
    """The hash of a text's words: Unicode form NFKC, without case, punctuation and space."""
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())
    if sum(map(len, words)) < _SHORTEST:
        return 0
    return hash_of_bytes(" ".join(words).encode(errors="replace"))


def hash_of_vector(vector: NDArray[np.float32]) -> int:
    """The hash of a vector (D,), rounded to 1/500 of its largest value."""
    largest = float(np.abs(vector).max(initial=0))
    if largest == 0 or not np.isfinite(largest):
        return 0
    return hash_of_bytes(np.rint(vector.astype(np.float64) / largest * _STEPS).astype("<i2").tobytes())


@dataclass(frozen=True)
class Overlap:
    """Items of one probe that another one has, too.

    Attributes
    ----------
    equal, near
        Items of the first probe that the second has, and further ones that it has nearly.
    of
        Items of the first probe.
    examples
        Positions of the first three equal items (of near ones if none is equal): in the first and in the second probe.
    """

    equal: int
    near: int
    of: int
    examples: list[tuple[int, int]]

    def shown(self) -> str:
        """The examples, for a message."""
        return ", ".join(f"item {first} is item {second}" for first, second in self.examples)


def overlap(first: Hashes, second: Hashes, *, pictures: bool) -> Overlap:
    """Which items of `first` are in `second`.

    Parameters
    ----------
    first, second
        Shape (N, 3) and (M, 3).
    pictures
        Near hashes may differ in 5 bits.
    """
    equal, places = _found(first[:, 0], second[:, 0])
    near, near_places = _found(first[:, 1] ^ (first[:, 2] << _HALF), second[:, 1] ^ (second[:, 2] << _HALF))
    near &= first[:, 1] != 0
    if pictures and 0 < len(first) * len(second) <= _COMPARED:
        closest, near_places = _closest(first[:, 1:], second[:, 1:])
        near = (closest <= _BITS) & (first[:, 1] != 0)
    near &= ~equal
    kind, found = (equal, places) if equal.any() else (near, near_places)
    examples = [(int(place), int(found[place])) for place in np.flatnonzero(kind)[:_SHOWN]]
    return Overlap(int(equal.sum()), int(near.sum()), len(first), examples)


def _found(wanted: Hashes, among: Hashes) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Whether each hash is among others, and where."""
    if not len(among):
        return np.zeros(len(wanted), dtype=bool), np.zeros(len(wanted), dtype=np.int64)
    order = np.argsort(among, kind="stable")
    place = np.minimum(np.searchsorted(among[order], wanted), len(among) - 1)
    return among[order][place] == wanted, order[place]


def _closest(wanted: Hashes, among: Hashes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The smallest number of bits in which each hash differs from another that is not 0, and where that is."""
    bits = np.empty(len(wanted), dtype=np.int64)
    places = np.empty(len(wanted), dtype=np.int64)
    step = max(1, 2**22 // len(among))
    for begin in range(0, len(wanted), step):
        part = np.bitwise_count(wanted[begin : begin + step, None] ^ among[None]).sum(axis=2, dtype=np.int64)
        part[:, among[:, 0] == 0] = 128
        places[begin : begin + step] = part.argmin(axis=1)
        bits[begin : begin + step] = part.min(axis=1)
    return bits, places


def read_hashes(path: Path, items: int) -> Hashes | None:
    """The hashes of a stored probe; None if the file is not what was written."""
    try:
        found = cast("NDArray[np.uint64]", np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == (items, 3) and found.dtype == np.uint64 else None
