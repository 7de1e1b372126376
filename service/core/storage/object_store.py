"""Artifacts and durable records in an object store: a local folder by default, or S3, GCS, Azure.

The only module that imports obstore. Keys are made from ids and digests, never from user input.
"""

import asyncio
import errno
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlparse

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import ObjectStore, from_url

from service.core.private_files import ProcessFolder, remove_abandoned

from ..errors import NotFound, StoreFull, StoreUnavailable
from ..observability.failure_log import log_cause
from ..private_files import private_folder
from .local_cache import LocalCache

_PARTIAL: Final = re.compile(r"#\d+$")
_PARTIAL_SECONDS: Final = 3600.0
RETRY_AFTER = {"Retry-After": "5"}


@dataclass(frozen=True)
class StoredObject:
    """Metadata of an object: its key, its size in bytes and its entity tag."""

    key: str
    size: int
    etag: str


class Store:
    """An object store under one URL.

    Parameters
    ----------
    url
        `file:///path` or an obstore URL of a bucket.
    scratch
        Local folder for copies of remote objects, addressed by key and entity tag.
    scratch_bytes
        Maximum size of the copies; None for no limit. See `LocalCache`.

    Attributes
    ----------
    copies
        The local cache of these copies and others of this machine.

    Every method raises `StoreFull` or `StoreUnavailable` if the store rejects an operation.
    """

    def __init__(self, url: str, scratch: Path, scratch_bytes: int | None = None) -> None:
        self.url = url
        self.copies = LocalCache(scratch, scratch_bytes)
        self._scratch = scratch
        self._staging: ProcessFolder | None = None
        parsed = urlparse(url)
        self._root = Path(unquote(parsed.path)) if parsed.scheme == "file" else None
        try:
            if self._root is not None:
                private_folder(self._root)
            self._store: ObjectStore = from_url(url)
        except (OSError, BaseError, ValueError) as error:
            raise translated(error) from error

    @property
    def staging(self) -> Path:
        """This process's folder for uploads in progress; on the store's file system if the store is a folder.

        It is removed with the process, however the process ends.
        """
        if self._staging is None:
            try:
                self._staging = ProcessFolder(self._parent_of_staging)
            except OSError as error:
                raise translated(error) from error
        return self._staging.folder

    @property
    def _parent_of_staging(self) -> Path:
        return (self._root / ".staging") if self._root is not None else (self._scratch / "staging")

    def close(self) -> None:
        """Remove the files of uploads in progress."""
        if self._staging is not None:
            self._staging.close()
            self._staging = None

    def remove_abandoned(self, older_than: float = _PARTIAL_SECONDS) -> int:
        """Remove partial files of killed processes from a folder store. Blocks. Returns the number of objects.

        Parameters
        ----------
        older_than
            Seconds without a write.
        """
        remove_abandoned(self._parent_of_staging)
        if self._root is None:
            return 0
        removed = 0
        before = time.time() - older_than
        for folder, _, names in os.walk(self._root):
            for name in names:
                # obstore writes to `<object>#<number>` and renames it. No key of ours contains "#".
                if _PARTIAL.search(name):
                    path = Path(folder) / name
                    with suppress(OSError):
                        if path.stat().st_mtime < before:
                            path.unlink()
                            removed += 1
        return removed

    async def put(self, key: str, data: bytes) -> None:
        """Write an object; readers see the old or the new one, never a part."""
        try:
            await obstore.put_async(self._store, key, data)
        except (BaseError, OSError) as error:
            raise translated(error) from error

    async def create(self, key: str, data: bytes) -> bool:
        """Write an object that must not exist. If it exists, write nothing and return False."""
        try:
            await obstore.put_async(self._store, key, data, mode="create")
        except (AlreadyExistsError, FileExistsError):
            return False
        except (BaseError, OSError) as error:
            raise translated(error) from error
        return True

    async def adopt(self, key: str, path: Path) -> None:
        """Move a local file into the store: renamed on the same file system, otherwise streamed."""
        try:
            if self._root is not None:
                target = self._root / key
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    path.replace(target)
                    return
                except OSError as error:
                    if error.errno != errno.EXDEV:
                        raise
            await obstore.put_async(self._store, key, path)
            path.unlink()
        except (BaseError, OSError) as error:
            raise translated(error) from error

    async def copy_in(self, key: str, path: Path) -> None:
        """Copy a local file into the store by streaming; the file is kept."""
        try:
            await obstore.put_async(self._store, key, path)
        except (BaseError, OSError) as error:
            raise translated(error) from error

    async def get(self, key: str) -> bytes | None:
        """The whole object, or None if it does not exist. For small documents."""
        try:
            result = await obstore.get_async(self._store, key)
            return bytes(await result.bytes_async())
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise translated(error) from error

    async def head(self, key: str) -> StoredObject | None:
        """Size and entity tag, or None if the object does not exist."""
        try:
            meta = await obstore.head_async(self._store, key)
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise translated(error) from error
        return StoredObject(key, meta["size"], (meta["e_tag"] or "").strip('"'))

    async def stream(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Bytes `start` to `end` (exclusive) in chunks of at most 1 MiB."""
        position = start
        while position < end:
            step = min(end - position, 2**20)
            try:
                chunk = await obstore.get_range_async(self._store, key, start=position, length=step)
            except (BaseError, OSError) as error:
                raise translated(error) from error
            yield bytes(chunk)
            position += step

    async def list(self, prefix: str) -> AsyncIterator[str]:
        """The keys with a prefix, in no particular order."""
        try:
            async for batch in obstore.list(self._store, prefix):  # pyright: ignore[reportUnknownMemberType]
                for entry in batch:
                    if not entry["path"].startswith(".staging"):
                        yield entry["path"]
        except (BaseError, OSError) as error:
            raise translated(error) from error

    async def delete(self, key: str) -> None:
        """Remove an object, if it exists."""
        try:
            await obstore.delete_async(self._store, key)
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise translated(error) from error

    async def delete_prefix(self, prefix: str) -> None:
        """Remove all objects with a prefix, and in a folder store their folders."""
        async for key in self.list(prefix):
            await self.delete(key)
        if self._root is not None:
            await asyncio.to_thread(_remove_empty, self._root / prefix)

    async def local(self, key: str) -> Path | None:
        """A local file with the object's content: the object itself in a folder store, otherwise a cached copy.

        The file must not be changed. None if the object does not exist.
        """
        if self._root is not None:
            path = self._root / key
            return path if path.is_file() else None
        found = await self.head(key)
        return None if found is None else await self._copy(found)

    async def local_folder(self, prefix: str, names: Sequence[str]) -> Path:
        """A local folder that contains the objects `prefix + name` under their names.

        Raises
        ------
        NotFound
            One of them is missing.
        """
        found: dict[str, StoredObject] = {}
        for name in names:
            known = await self._known(prefix + name)
            if known is None:
                raise NotFound(f"{name} is no longer in the store")
            found[name] = known
        if self._root is not None:
            return self._root / prefix
        identity = "\0".join(self._identity(known) for known in found.values())
        folder = private_folder(self.copies.use("folders", hashlib.sha256(identity.encode()).hexdigest()))
        for name, known in found.items():
            while not (folder / name).is_file():
                with suppress(FileNotFoundError):  # Another process removed it at once to free space.
                    _link(await self._copy(known), folder / name)
                private_folder(folder)
        return folder

    async def _known(self, key: str) -> StoredObject | None:
        if self._root is None:
            return await self.head(key)
        return StoredObject(key, 0, "") if (self._root / key).is_file() else None

    def _identity(self, found: StoredObject) -> str:
        return hashlib.sha256(f"{self.url}\0{found.key}\0{found.etag}\0{found.size}".encode()).hexdigest()

    async def _copy(self, found: StoredObject) -> Path:
        """A local copy of an object; fetched if there is none, or no longer one."""
        target = self.copies.use("objects", self._identity(found))
        if not target.is_file():
            descriptor, partial = tempfile.mkstemp(dir=target.parent, prefix=".new-")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    async for chunk in self.stream(found.key, 0, found.size):
                        file.write(chunk)
                Path(partial).replace(target)
            except BaseException:
                Path(partial).unlink(missing_ok=True)
                raise
            await asyncio.to_thread(self.copies.trim)
        return target

    async def check(self) -> None:
        """Write and remove a small object; raises if the store does not accept writes."""
        key = "health/check"
        await self.put(key, b"ok")
        await self.delete(key)


def _link(path: Path, link: Path) -> None:
    """Hard link to a file: the content is kept when the original name is removed."""
    if link.is_symlink():  # Created by versions before 0.1; its target no longer exists.
        link.unlink(missing_ok=True)
    try:
        link.hardlink_to(path)
    except FileExistsError:
        return
    except FileNotFoundError:
        raise
    except OSError:  # A file system without hard links.
        shutil.copyfile(path, link)


def _remove_empty(folder: Path) -> None:
    for path, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):  # Not empty: something was written into it since.
            Path(path).rmdir()


def translated(error: Exception) -> StoreFull | StoreUnavailable:
    """Convert an error of the store or the disk into the error for the caller."""
    log_cause("the store", error)
    text = str(error)
    if "os error 28" in text or "os error 122" in text or _errno(error) in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull("The store has no room left. Free or add space, then try again", headers=RETRY_AFTER)
    if "os error 30" in text or "os error 13" in text or _errno(error) in (errno.EACCES, errno.EROFS):
        return StoreUnavailable(
            "The store cannot be written to (read-only, or no permission). Make it writable, then try again",
            headers=RETRY_AFTER,
        )
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return StoreUnavailable(
            "The store rejects Preceptor's credentials, or their permissions are not sufficient. The service's log "
            "states the reason",
            headers=RETRY_AFTER,
        )
    return StoreUnavailable("The store does not answer. Try again in a few seconds", headers=RETRY_AFTER)


def _errno(error: Exception) -> int | None:
    return error.errno if isinstance(error, OSError) else None
