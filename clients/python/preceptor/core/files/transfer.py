"""Bytes on their way between disk and service, a chunk at a time, so that memory stays bounded."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from .disk import disk_failures

CHUNK: Final = 1 << 18
"""Bytes read at once; large enough that Python's cost a chunk does not show, small enough for any memory."""


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """How far one file is. After a retry `done` starts again.

    Attributes
    ----------
    name
        The file.
    done, total
        Bytes.
    """

    name: str
    done: int
    total: int


OnTransfer: TypeAlias = Callable[[Transfer], None]


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A request body that can be sent again: each attempt opens it anew."""

    name: str
    source: Path | bytes
    size: int
    progress: OnTransfer | None = None

    @classmethod
    def of(cls, source: Path | bytes, name: str, progress: OnTransfer | None = None) -> "Upload":
        if isinstance(source, bytes):
            size = len(source)
        else:
            with disk_failures():
                size = source.stat().st_size
        return cls(name=name, source=source, size=size, progress=progress)

    def open(self) -> BinaryIO:
        return io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source.open("rb")

    def report(self, done: int) -> None:
        if self.progress:
            self.progress(Transfer(name=self.name, done=done, total=self.size))
