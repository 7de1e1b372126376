"""Zip archives from strangers: no member is read before its name, size and kind were looked at."""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Literal

from service.core.errors import InvalidProbe, TooLarge
from service.core.settings import Settings

from ..items import check_expansion, shown

_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # zipfile reads the others without a bound
_DIRECTORY_BYTES: Final = {"npz": 2**20, "zip": 2**24}  # some 150,000 files; each costs a kilobyte of memory
_DAMAGED: Final = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    OverflowError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)


class _Guarded(io.BufferedReader):
    """A file that refuses the one read of a whole directory that is too large to be held."""

    most: int | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        if self.most is not None and size is not None and size > self.most:
            raise TooLarge(
                f"the archive's directory has {size:,} bytes; at most {self.most:,} are taken. Send Parquet for so "
                "many items"
            )
        return super().read(size)


@contextmanager
def opened(source: Path, settings: Settings, kind: Literal["npz", "zip"]) -> Iterator[zipfile.ZipFile]:
    """An archive whose directory passes the limits.

    Raises
    ------
    InvalidProbe, TooLarge
    """
    with _Guarded(io.FileIO(source)) as file:
        file.most = _DIRECTORY_BYTES[kind]
        try:
            archive = zipfile.ZipFile(file)
        except _DAMAGED as error:
            raise InvalidProbe(f"the file is not a readable {kind} archive: {_told(error)}. Is it complete?") from error
        file.most = None
        with archive:
            _check(archive, source.stat().st_size, settings)
            yield archive


def _check(archive: zipfile.ZipFile, size: int, settings: Settings) -> None:
    members = archive.infolist()
    expanded = sum(member.file_size for member in members)
    if expanded > settings.max_probe_expanded_bytes:
        raise TooLarge(
            f"the archive expands to {expanded:,} bytes; at most {settings.max_probe_expanded_bytes:,} are taken"
        )
    check_expansion(size, expanded, "the archive")
    if sum(member.compress_size for member in members) > size:
        raise InvalidProbe("the archive's members overlap, or it is cut off; rebuild it")
    names: set[str] = set()
    for member in members:
        if not member.filename:
            raise InvalidProbe("the archive has a member without a name; rebuild it")
        if member.filename in names:
            raise InvalidProbe(f"{shown(member.filename)} stands in the archive twice; rebuild it")
        names.add(member.filename)
        if member.flag_bits & 0x1:
            raise InvalidProbe(f"{shown(member.filename)} is encrypted; send an archive without a password")
        if member.compress_type not in _METHODS:
            raise InvalidProbe(
                f"{shown(member.filename)} is compressed with method {member.compress_type}; only stored and deflated "
                "members are read. Rebuild the archive"
            )


@contextmanager
def member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[IO[bytes]]:
    """One member, as a stream.

    Raises
    ------
    InvalidProbe
        It is damaged; also raised where that shows only while it is read.
    """
    try:
        with archive.open(info) as file:
            yield file
    except _DAMAGED as error:
        raise InvalidProbe(
            f"{shown(info.filename)} in the archive is damaged: {_told(error)}. Is the file complete?"
        ) from error


def _told(error: Exception) -> str:
    return str(error)[:200]  # zipfile quotes names in full


def exactly(file: IO[bytes], size: int, what: str) -> bytes:
    """`size` bytes of a stream.

    Raises
    ------
    InvalidProbe
        It ends before.
    """
    data = file.read(size)
    while len(data) < size:
        more = file.read(size - len(data))
        if not more:
            raise InvalidProbe(f"{what} ends too early: the file is cut off. Send it again")
        data += more
    return data
