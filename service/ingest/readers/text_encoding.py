"""The encoding of a text file: UTF-8, or UTF-16 with its byte order mark; others are rejected by name."""

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from service.core.errors import InvalidProbe

_MARKS: Final = (
    (codecs.BOM_UTF8, "UTF-8"),
    (codecs.BOM_UTF32_LE, "UTF-32"),  # begins as UTF-16 does
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_UNUSED: Final = frozenset(b"\x81\x8d\x8f\x90\x9d")
"""Bytes that Windows-1252 does not use."""


class Lines(Protocol):
    """Lines of a file, as UTF-8."""

    def readline(self, size: int, /) -> bytes:
        """The next line, at most `size` bytes (of UTF-16, `size` characters) of it; nothing at the end."""
        ...


class _Transcoded:
    """The lines of a UTF-16 file as UTF-8."""

    def __init__(self, file: BinaryIO) -> None:
        self._text = io.TextIOWrapper(file, encoding="utf-16", newline="\n")
        self._number = 0

    def readline(self, size: int, /) -> bytes:
        self._number += 1
        try:
            return self._text.readline(size).encode()
        except UnicodeError as error:
            raise InvalidProbe(
                f"the file is UTF-16, and damaged at or after line {self._number}: save it again, best as UTF-8"
            ) from error


def encoding_of(head: bytes) -> str:
    """UTF-8, UTF-16 or UTF-32, by the byte order mark, or by zeros where text has none."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    if not head or max(head[:4]) < ord(" "):  # zeros, but no text
        return "UTF-8"
    if head[:3] == b"\x00\x00\x00" or (len(head) > 3 and head[1:4] == b"\x00\x00\x00"):
        return "UTF-32"
    return "UTF-16" if b"\x00" in head[:2] else "UTF-8"


@contextmanager
def opened_lines(source: Path) -> Iterator[tuple[Lines, str]]:
    """The lines of a text file, and its encoding: UTF-8 or UTF-16.

    Raises
    ------
    InvalidProbe
        It is UTF-32, or UTF-16 without its byte order mark.
    """
    with source.open("rb") as file:
        head = file.read(4)
        name = encoding_of(head)
        if name == "UTF-32" or (name == "UTF-16" and not head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))):
            raise InvalidProbe(
                f"the file is {name}{'' if name == 'UTF-32' else ' without a byte order mark'}; save it as UTF-8"
            )
        file.seek(len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0)
        if name == "UTF-16":
            yield _Transcoded(file), name
        else:
            yield file, name


def decoded(data: bytes) -> str:
    """A whole text file: UTF-8, or UTF-16 with its byte order mark.

    Raises
    ------
    UnicodeDecodeError
    """
    return data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")


def looks_like(error: UnicodeDecodeError) -> str:
    """What bytes that are not UTF-8 may be, in words for a message."""
    data = error.object
    byte = f"0x{data[error.start]:02X}"
    if encoding_of(data[:4]) != "UTF-8" or b"\x00" in data[:64]:
        return f"{byte} may be UTF-16"
    if _UNUSED.isdisjoint(data):
        return f"{byte} may be Latin-1 or Windows-1252"
    return f"{byte} is of another encoding"
