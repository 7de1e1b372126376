"""Artifacts and durable records in an object store: a local folder by default, or S3, GCS, Azure.

The only module that knows obstore. Keys are made from ids and digests, never from a user's string.
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

from service.core.private_files import Workplace, remove_abandoned

from ..errors import NotFound, StoreFull, StoreUnavailable
from ..failure_log import log_cause
from ..private_files import private_folder
from .local_cache import LocalCache

_PARTIAL: Final = re.compile(r"#\d+$")
_PARTIAL_SECONDS: Final = 3600.0
RETRY_AFTER = {"Retry-After": "5"}


@dataclass(frozen=True)
class StoredObject:
    """What the store knows of an object: its key, its size in bytes and its entity tag."""

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
        Local folder for copies of remote objects, content-addressed by key and entity tag.
    scratch_bytes
        Limit of the copies; None for none. See `LocalCache`.

    Attributes
    ----------
    copies
        Those copies, and others of this machine.

    Every method raises `StoreFull` or `StoreUnavailable` where the store refuses.
    """

    def __init__(self, url: str, scratch: Path, scratch_bytes: int | None = None) -> None:
        self.url = url
        self.copies = LocalCache(scratch, scratch_bytes)
        self._scratch = scratch
        self._staging: Workplace | None = None
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
        """This process's folder for uploads in flight; on the store's own file system where the store is a folder.

        It goes with the process, however that ends.
        """
        if self._staging is None:
            try:
                self._staging = Workplace(self._parent_of_staging)
            except OSError as error:
                raise translated(error) from error
        return self._staging.folder

    @property
    def _parent_of_staging(self) -> Path:
        return (self._root / ".staging") if self._root is not None else (self._scratch / "staging")

    def close(self) -> None:
        """Remove what is in flight."""
        if self._staging is not None:
            self._staging.close()
            self._staging = None

    def remove_abandoned(self, older_than: float = _PARTIAL_SECONDS) -> int:
        """Remove what killed processes were writing, in a folder store. Blocks. Returns how many objects.

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
        """Write an object that must not exist yet. False, and nothing written, where it does."""
        try:
            await obstore.put_async(self._store, key, data, mode="create")
        except (AlreadyExistsError, FileExistsError):
            return False
        except (BaseError, OSError) as error:
            raise translated(error) from error
        return True

    async def adopt(self, key: str, path: Path) -> None:
        """Move a local file into the store: renamed where it lies on the same file system, else streamed."""
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
        """Copy a local file into the store, streaming; the file stays."""
        try:
            await obstore.put_async(self._store, key, path)
        except (BaseError, OSError) as error:
            raise translated(error) from error

    async def get(self, key: str) -> bytes | None:
        """The whole object, or None where there is none. For small documents."""
        try:
            result = await obstore.get_async(self._store, key)
            return bytes(await result.bytes_async())
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise translated(error) from error

    async def head(self, key: str) -> StoredObject | None:
        """Size and entity tag, or None where there is no such object."""
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
        """The keys under a prefix, in no order."""
        try:
            async for batch in obstore.list(self._store, prefix):  # pyright: ignore[reportUnknownMemberType]
                for entry in batch:
                    if not entry["path"].startswith(".staging"):
                        yield entry["path"]
        except (BaseError, OSError) as error:
            raise translated(error) from error

    async def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""
        try:
            await obstore.delete_async(self._store, key)
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise translated(error) from error

    async def delete_prefix(self, prefix: str) -> None:
        """Remove everything under a prefix, in a folder store its folders too."""
        async for key in self.list(prefix):
            await self.delete(key)
        if self._root is not None:
            await asyncio.to_thread(_remove_empty, self._root / prefix)

    async def local(self, key: str) -> Path | None:
        """A local file with the object's content: the object itself in a folder store, else a cached copy.

        The file must not be written to. None where there is no such object.
        """
        if self._root is not None:
            path = self._root / key
            return path if path.is_file() else None
        found = await self.head(key)
        return None if found is None else await self._copy(found)

    async def local_folder(self, prefix: str, names: Sequence[str]) -> Path:
        """A local folder that holds the objects `prefix + name` under their names.

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
                with suppress(FileNotFoundError):  # It went as soon as it was there: somebody else needs the room.
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
        """A local copy of an object; fetched where it is not there (any more)."""
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
        """Write and remove a small object: raises where the store does not take writes."""
        key = "health/check"
        await self.put(key, b"ok")
        await self.delete(key)


def _link(path: Path, link: Path) -> None:
    """The same file under another name: it stays when the first one goes."""
    if link.is_symlink():  # As versions before 0.1 made them; its file has gone.
        link.unlink(missing_ok=True)
    try:
        link.hardlink_to(path)
    except FileExistsError:
        return
    except FileNotFoundError:
        raise
    except OSError:  # A file system without such names.
        shutil.copyfile(path, link)


def _remove_empty(folder: Path) -> None:
    for path, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):  # Somebody has written into it since.
            Path(path).rmdir()


def translated(error: Exception) -> StoreFull | StoreUnavailable:
    """The error of ours that says what a failure of the store or the disk means."""
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
            "The store refuses Preceptor's credentials, or does not allow them enough. The operator finds the reason "
            "in the log",
            headers=RETRY_AFTER,
        )
    return StoreUnavailable("The store does not answer. Try again in some seconds", headers=RETRY_AFTER)


def _errno(error: Exception) -> int | None:
    return error.errno if isinstance(error, OSError) else None
