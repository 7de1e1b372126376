"""Zip archives from strangers: no member is read before its name, size and kind were looked at."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from service.state.errors import InvalidProbe, TooLarge
from service.state.settings import Settings

_MAX_MEMBERS_PER_ITEM: Final = 2
_DAMAGED = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)


@contextmanager
def opened(source: Path, settings: Settings, kind: str) -> Iterator[zipfile.ZipFile]:
    """An archive whose directory passes the limits.

    Raises
    ------
    InvalidProbe, TooLarge
    """
    try:
        archive = zipfile.ZipFile(source)
    except (*_DAMAGED, UnicodeDecodeError) as error:
        raise InvalidProbe(f"the file is not a readable {kind} archive: {error}") from error
    with archive:
        members = archive.infolist()
        most = settings.max_probe_items * _MAX_MEMBERS_PER_ITEM + 1000
        if len(members) > most:
            raise TooLarge(f"the archive has {len(members):,} members; at most {most:,} are taken")
        expanded = sum(member.file_size for member in members)
        if expanded > settings.max_probe_expanded_bytes:
            raise TooLarge(
                f"the archive expands to {expanded:,} bytes; at most {settings.max_probe_expanded_bytes:,} are taken"
            )
        for member in members:
            if member.flag_bits & 0x1:
                raise InvalidProbe(f"{member.filename!r} is encrypted; send an archive without a password")
        yield archive


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
    except InvalidProbe:
        raise
    except zipfile.BadZipFile as error:
        raise InvalidProbe(f"{info.filename!r} in the archive is damaged: {error}") from error
    except (EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise InvalidProbe(f"{info.filename!r} in the archive cannot be read: {error}") from error
    except Exception as error:
        if type(error).__module__ in ("zlib", "lzma", "bz2", "_lzma"):
            raise InvalidProbe(f"{info.filename!r} in the archive is damaged: {error}") from error
        raise


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
            raise InvalidProbe(f"{what} ends too early: the file is cut off")
        data += more
    return data
