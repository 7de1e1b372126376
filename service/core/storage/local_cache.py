"""Local copies of remote data: objects of a bucket, models of the Hub. Their total size has a limit.

The jobs of all processes on a machine share the copies. A job lists the copies that it uses in a file that it holds a
lock on; the kernel releases the lock of a killed process. At the limit, unused copies are removed, least recently used
first, and fetched again when needed.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import structlog

from ..private_files import private_folder

Kind = Literal["objects", "folders", "hub"]

_KINDS: Final[tuple[Kind, ...]] = ("objects", "folders", "hub")
_GRACE: Final = 60.0
"""Seconds after its last use in which a copy is kept without being listed: the service reads some immediately."""
_ABANDONED: Final = 24 * 3600.0
"""Age in seconds after which an unfinished copy counts as left behind by a killed process."""

_used: ContextVar["_Use | None"] = ContextVar("used copies", default=None)
log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class _Use:
    """The open file in which a job lists the copies that it uses."""

    descriptor: int


class LocalCache:
    """The copies in one folder.

    Parameters
    ----------
    folder
        Shared by all processes of this machine.
    most_bytes
        Maximum total size; None for no limit.
    grace
        Seconds after its last use during which a copy is not removed.
    """

    def __init__(self, folder: Path, most_bytes: int | None = None, *, grace: float = _GRACE) -> None:
        self.folder = folder
        self._most = most_bytes
        self._grace = grace

    @contextmanager
    def in_use(self) -> Generator[None]:
        """Keep everything that is looked up inside until the end."""
        descriptor, name = tempfile.mkstemp(dir=private_folder(self.folder / "uses"), prefix=".new-")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        path = Path(name)
        path = path.rename(path.with_name(path.name.removeprefix(".new-")))  # If unlocked, its job has ended.
        mark = _used.set(_Use(descriptor))
        try:
            yield
        finally:
            _used.reset(mark)
            path.unlink(missing_ok=True)
            os.close(descriptor)

    def use(self, kind: Kind, name: str) -> Path:
        """The path of a copy, now listed as used. The copy may not exist; the caller must check after this call.

        A copy that exists then is not removed while the job runs.
        """
        path = self.folder / kind / name
        private_folder(path.parent)
        with self._locked():
            use = _used.get()
            if use is not None:
                os.write(use.descriptor, f"{kind}/{name}\n".encode())
            with suppress(FileNotFoundError):
                os.utime(path)
        return path

    def trim(self, gone: Collection[str] = ()) -> int:
        """Remove copies above the limit. Blocks. Returns the number of removed copies.

        Parameters
        ----------
        gone
            Ids of deleted teachers; their models of the Hub are always removed.
        """
        if self._most is None and not gone:
            return 0
        found = sorted(self._copies(), key=lambda copy: copy.used)
        total = sum(copy.size for copy in found)
        removed = 0
        for copy in found:
            deleted = copy.path.parent.name == "hub" and copy.path.name in gone
            if not deleted and (self._most is None or total <= self._most):
                continue
            if self._remove(copy.path, at_once=deleted):
                total -= copy.size
                removed += 1
        if removed:
            log.info("copies removed", count=removed, bytes_left=total)
        return removed

    def hub_copies(self) -> list[str]:
        """Ids of the teachers that have a local copy of their Hub model."""
        return _names(self.folder / "hub")

    def _copies(self) -> list["_Copy"]:
        copies: list[_Copy] = []
        for kind in _KINDS:
            for name in _names(self.folder / kind):
                path = self.folder / kind / name
                with suppress(FileNotFoundError):
                    copies.append(_Copy(path, path.stat().st_mtime, _size(path)))
        return copies

    def _remove(self, path: Path, *, at_once: bool) -> bool:
        grace = 0.0 if at_once else self._grace
        if path.name.startswith("."):  # Being written, or left behind by a killed process.
            grace = _ABANDONED
        with self._locked():
            try:
                if time.time() - path.stat().st_mtime < grace or f"{path.parent.name}/{path.name}" in self._uses():
                    return False
                trash = private_folder(self.folder / "trash")
                path.rename(trash / f"{path.parent.name}-{path.name}-{time.time_ns()}")
            except FileNotFoundError:
                return False
        for left in trash.iterdir():  # Includes trash of a process that was killed here.
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
        return True

    def _uses(self) -> set[str]:
        used: set[str] = set()
        for name in _names(self.folder / "uses"):
            path = self.folder / "uses" / name
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                used.update(path.read_text().splitlines())
            else:
                if not name.startswith("."):  # A dot file is about to be locked.
                    path.unlink(missing_ok=True)
            finally:
                os.close(descriptor)
        return used

    @contextmanager
    def _locked(self) -> Generator[None]:
        """A lock over all processes for look-ups and removals. Held briefly: slow work is done outside."""
        descriptor = os.open(private_folder(self.folder) / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class _Copy:
    path: Path
    used: float
    size: int


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []


def _size(path: Path) -> int:
    """Bytes on disk; the size of a file with several hard links is divided among them."""
    size = 0
    if not path.is_dir():
        found = path.stat()
        return _share(found)
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(FileNotFoundError):
                size += _share(os.lstat(Path(folder) / name))
    return size


def _share(found: os.stat_result) -> int:
    return max(found.st_size, found.st_blocks * 512) // max(1, found.st_nlink)
