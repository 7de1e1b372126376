"""Spoils zip archives: their members, names, methods, sizes, and the directory that describes them."""

import io
import re
import struct
import warnings
import zipfile
from collections.abc import Callable
from random import Random
from typing import Final

from .byte_mutations import damaged, noise

_DATE: Final = (1980, 1, 1, 0, 0, 0)
_NAMES: Final = (
    "../up.png", "/root.png", "a\\b.png", "C:/x.png", "a/" * 300 + "x.png", "x\x00y.npy", "\u202egnp.exe", "a/.png",
    "a//b.png", "a/b.zip", "data.pkl", "", ".", "..", "labels.npy", "features.npy", "texts.npy", "items.npy", "é/1.png",
    "__MACOSX/a/1.png", "a/Thumbs.db", "n" * 65_000, "b/2.txt", "predictions.npy", "label_names.npy", "a/\n.png",
)  # fmt: skip
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_CENTRAL: Final = b"PK\x01\x02"
_SIGNATURES: Final = (b"PK\x03\x04", _CENTRAL, b"PK\x05\x06")
Spoil = Callable[[str, bytes, Random], bytes]


def members_of(data: bytes) -> list[tuple[str, bytes]]:
    """Names and contents of a valid archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def packed(members: list[tuple[str, bytes]], rng: Random, *, stored: bool = False) -> bytes:
    """An archive of any members, also of the same name; methods are chosen at random unless `stored`."""
    buffer = io.BytesIO()
    odd = rng.random() < 0.1
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name, _DATE)
            info.compress_type = rng.choice(_METHODS if odd else _METHODS[: 1 if stored else 2])
            if rng.random() < 0.03:
                info.create_system = 3
                info.external_attr = rng.choice((0o120777, 0o010644, 0o060644, 0o040755)) << 16
            if rng.random() < 0.03:
                info.flag_bits |= rng.choice((0x1, 0x8, 0x800, 0x2000))
            archive.writestr(info, content)
    return buffer.getvalue()


def spoilt_zip(data: bytes, rng: Random, inner: Spoil, *, stored: bool = False) -> bytes:
    """An archive with some of its members, names or headers spoilt; `inner` spoils one member's content."""
    members = members_of(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(len(members)) if members else 0
        kind = rng.randrange(12)
        if not members or kind == 0:
            members.append((rng.choice(_NAMES), noise(rng)))
        elif kind == 1:
            del members[place]
        elif kind == 2:
            members.insert(rng.randrange(len(members) + 1), members[place])
        elif kind == 3:
            members[place] = (rng.choice(_NAMES), members[place][1])
        elif kind == 4:
            members[place] = (members[place][0], data)  # an archive inside the archive
        elif kind == 5:
            members[place] = (members[place][0], bytes(rng.choice((10**5, 3 * 10**6, 3 * 10**7))))
        elif kind == 6:
            rng.shuffle(members)
        else:
            name, content = members[place]
            members[place] = (name, inner(name, content, rng))
    try:
        found = _silently_packed(members, rng, stored=stored)
    except (ValueError, UnicodeError, struct.error):  # a name that cannot be written at all
        return damaged(data, rng)
    kind = rng.randrange(10)
    if kind < 3:
        found = _header_field(found, rng)
    return damaged(found, rng) if kind == 9 else found


def _silently_packed(members: list[tuple[str, bytes]], rng: Random, *, stored: bool) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # zipfile warns of names that stand twice
        return packed(members, rng, stored=stored)


def _header_field(data: bytes, rng: Random) -> bytes:
    """Sets a field of a local header, of the directory or of its end to an extreme."""
    found = bytearray(data)
    signature = rng.choice(_SIGNATURES)
    places = [match.start() for match in re.finditer(re.escape(signature), data)]
    if not places:
        return data
    at = rng.choice(places) + 4 + rng.randrange(42 if signature == _CENTRAL else 22)
    width = rng.choice((2, 2, 4))
    value = rng.choice((0, 1, 8, 0xFFFF, 0xFFFFFFFF, 0x7FFFFFFF, len(data), rng.randrange(2**32)))
    found[at : at + width] = (value % 2 ** (8 * width)).to_bytes(width, "little")
    return bytes(found)
